"""The pre-training objective as it is usually written: one pass after another, all of each.

The reference that the fused objective is compared with, in tests and in `benchmarks.train_step`:
four fusion passes an image, each with its own keys and values, the vocabulary head at every token,
targets `[B, g + Q]` and `[B, T, V]` in full. One contrast group, as on one official GPU.
Shape letters: B pairs, T text tokens, Q queue length, V vocabulary.
"""

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from albef_jax.losses.alignment import Keys
from albef_jax.losses.matching import Negatives
from albef_jax.losses.pretraining import Inputs
from albef_jax.models import albef
from albef_jax.models.albef import Params
from albef_jax.models.config import ModelConfig


def plain_loss(
    config: ModelConfig,
    params: Params,
    teacher: Params,
    inputs: Inputs,
    keys: Keys,
    negatives: Negatives,
    alpha: Float[Array, ""] | float,
    dropout: tuple[Array | None, Array | None] = (None, None),
) -> tuple[dict[str, Float[Array, ""]], tuple[Float[Array, "B E"], Float[Array, "B E"]]]:
    """The losses, named as in `losses.pretraining.losses`, and the teacher's features of
    images and texts, for the queue."""
    ours = _Passes(config, params, inputs, dropout[0])
    theirs = jax.lax.stop_gradient(_Passes(config, teacher, inputs, dropout[1]).read())
    mine = ours.read()
    itc = _contrast(mine, theirs, keys, params["temperature"], alpha)
    mlm = _masked_words(mine[2], theirs[2], inputs, alpha)
    itm = ours.match(negatives)
    losses = {"loss": itc + mlm + itm, "loss_itc": itc, "loss_mlm": mlm, "loss_itm": itm}
    return losses, theirs[:2]


class _Passes:
    """A model's passes over one batch."""

    def __init__(
        self, config: ModelConfig, params: Params, inputs: Inputs, dropout_key: Array | None
    ):
        self._model = config, params
        self._inputs = inputs
        self._keys = None if dropout_key is None else iter(jax.random.split(dropout_key, 5))
        self._image = albef.encode_image(*self._model, inputs.image)
        self._text = self._encode(inputs.text_ids)

    def _key(self) -> Array | None:
        return None if self._keys is None else next(self._keys)

    def _encode(self, text_ids: Array) -> Array:
        return albef.encode_text(*self._model, text_ids, self._inputs.text_mask, self._key())

    def _fuse(self, text: Array, mask: Array, image: Array) -> Array:
        return albef.fuse(
            *self._model, text[:, None], mask[:, None], image, dropout_key=self._key()
        )[:, 0]

    def read(self) -> tuple[Array, Array, Array]:
        """Features of images and texts, and vocabulary logits `[B, T, V]`."""
        config, params = self._model
        masked = self._encode(self._inputs.masked.text_ids)
        fused = self._fuse(masked, self._inputs.text_mask, self._image)
        return (
            albef.image_feature(params, self._image),
            albef.text_feature(
                params, self._text, albef.pooled_tokens(config, self._inputs.text_mask)
            ),
            albef.mlm_logits(config, params, fused),
        )

    def match(self, negatives: Negatives) -> Float[Array, ""]:
        """The ITM loss: one pass for the pairs, one for both kinds of negatives."""
        mask, batch = self._inputs.text_mask, len(self._text)
        other_image, other_text = (index.reshape(-1) for index in negatives[:2])
        positive = self._fuse(self._text, mask, self._image)
        negative = self._fuse(
            jnp.concatenate([self._text, self._text[other_text]]),
            jnp.concatenate([mask, mask[other_text]]),
            jnp.concatenate([self._image[other_image], self._image]),
        )
        logits = albef.itm_logits(self._model[1], jnp.concatenate([positive[:, 0], negative[:, 0]]))
        labels = jnp.repeat(jnp.array([1, 0, 0]), batch)
        return -jnp.mean(jax.nn.log_softmax(logits)[jnp.arange(3 * batch), labels])


def _contrast(mine, theirs, keys: Keys, temperature, alpha) -> Float[Array, ""]:
    """Both directions against all keys, with target matrices."""
    total = jnp.zeros(())
    for query, key, queue in ((0, 1, keys.text), (1, 0, keys.image)):
        columns = jnp.concatenate([theirs[key], queue]).T
        soft = jax.nn.softmax(theirs[query] @ columns / jax.lax.stop_gradient(temperature))
        targets = alpha * soft + (1 - alpha) * jnp.eye(len(soft), soft.shape[1])
        logits = mine[query] @ columns / temperature
        total -= jnp.mean(jnp.sum(targets * jax.nn.log_softmax(logits), axis=1)) / 2
    return total


def _masked_words(logits, teacher_logits, inputs: Inputs, alpha) -> Float[Array, ""]:
    """Over whole captions; places without a label are thrown away at the end."""
    hard = jax.nn.one_hot(inputs.text_ids, logits.shape[-1], dtype=logits.dtype)
    targets = alpha * jax.nn.softmax(teacher_logits) + (1 - alpha) * hard
    losses = -jnp.sum(targets * jax.nn.log_softmax(logits), axis=-1)
    selected = inputs.masked.selected
    return jnp.sum(jnp.where(selected, losses, 0)) / jnp.maximum(jnp.sum(selected), 1)
