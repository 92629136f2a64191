"""The device programs of a loaded model, compiled on first use and run in batches.

Shape letters: B images or texts, N image tokens, T text tokens, E width of the contrastive space, D
widths, h patches a side.
"""

from collections.abc import Callable, Iterator
from functools import cached_property, partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from albef_jax.inference.answer_decoding import Answerer
from albef_jax.inference.heat_maps.gradcam import match_maps
from albef_jax.inference.inputs import padded
from albef_jax.inference.outputs import NotFinite
from albef_jax.models import albef
from albef_jax.models.albef import Params
from albef_jax.models.classifiers import entailment_logits
from albef_jax.models.config import ModelConfig
from albef_jax.models.primitives import normalize

# The parts of a model that features depend on.
ENCODERS = ("image_encoder", "text_encoder", "image_proj", "text_proj")


class Programs:
    """The programs of a model: each maps parameters and a batch to a tuple of arrays.

    A batch has those that a program needs of `image`, uint8 `[B, S, S, 3]`, and `text_ids` and
    `text_mask`, int32 `[B, T]`.
    """

    def __init__(self, config: ModelConfig):
        self._config = config
        self._kept: dict[tuple, Callable] = {}

    @cached_property
    def encode_image(self) -> Callable:
        """Features `[B, E]` and tokens `[B, N, D]`."""

        @jax.jit
        def encode(params, batch):
            tokens = albef.encode_image(self._config, params, normalize(batch["image"]))
            return albef.image_feature(params, tokens), tokens.astype(jnp.float32)

        return encode

    @cached_property
    def encode_text(self) -> Callable:
        """Features `[B, E]` and tokens `[B, T, D]`."""

        @jax.jit
        def encode(params, batch):
            config, mask = self._config, batch["text_mask"]
            tokens = albef.encode_text(config, params, batch["text_ids"], mask)
            feature = albef.text_feature(params, tokens, albef.pooled_tokens(config, mask))
            return feature, tokens.astype(jnp.float32)

        return encode

    @cached_property
    def match(self) -> Callable:
        """Cosines and probabilities of a match, `[B]` each."""

        @jax.jit
        def match(params, batch):
            config, mask = self._config, batch["text_mask"]
            image = albef.encode_image(config, params, normalize(batch["image"]))
            text = albef.encode_text(config, params, batch["text_ids"], mask)
            fused = albef.fuse_class(config, params, text[:, None], mask[:, None], image)
            features = (
                albef.image_feature(params, image),
                albef.text_feature(params, text, albef.pooled_tokens(config, mask)),
            )
            logits = albef.itm_logits(params, fused[:, 0])
            return jnp.sum(features[0] * features[1], axis=-1), jax.nn.softmax(logits)[:, 1]

        return match

    @cached_property
    def entail(self) -> Callable:
        """Probabilities of the three labels `[B, 3]`."""

        @jax.jit
        def entail(params, batch):
            inputs = normalize(batch["image"]), batch["text_ids"], batch["text_mask"]
            return (jax.nn.softmax(entailment_logits(self._config, params, *inputs)),)

        return entail

    def heat(self, layer: int) -> Callable:
        """Heat maps `[B, T, h, h]` and match logits `[B, 2]`."""

        def heat(params, batch):
            inputs = normalize(batch["image"]), batch["text_ids"], batch["text_mask"]
            return match_maps(self._config, params, *inputs, layer)

        return self._once(("heat", layer), lambda: jax.jit(heat))

    def answer(self, key: tuple, **options: Any) -> Callable:
        """Answers ranked or generated; `options` are those of `Answerer`, `key` identifies them."""
        build = partial(Answerer, self._config, **options)
        return self._once(("answer", *key), lambda: build().compile())

    def _once(self, key: tuple, build: Callable[[], Callable]) -> Callable:
        if key not in self._kept:
            self._kept[key] = build()
        return self._kept[key]


def batched(
    program: Callable, params: Params, arrays: dict[str, np.ndarray], largest: int
) -> tuple[np.ndarray, ...]:
    """The program's outputs over all rows; batches have few sizes, so it compiles rarely.

    Args:
        arrays: as many rows each.
        largest: rows that go to the device at once.

    Raises:
        NotFinite: the result holds NaN or infinity, which would be ranked without an error.
    """
    size = len(next(iter(arrays.values())))
    parts = []
    for start, rows in _batches(size, largest):
        batch = {name: array[start : start + rows] for name, array in arrays.items()}
        real = len(next(iter(batch.values())))
        outputs = jax.device_get(program(params, padded(batch, rows)))
        parts.append([output[:real] for output in outputs])
        if not all(np.isfinite(output).all() for output in parts[-1]):
            raise NotFinite(damaged_weights(params))
    return tuple(np.concatenate(column) for column in zip(*parts, strict=True))


def damaged_weights(params: Params) -> list[str]:
    """The names of weights that hold NaN or infinity."""
    return [
        jax.tree_util.keystr(path, simple=True, separator="/")
        for path, leaf in jax.tree_util.tree_leaves_with_path(params)
        if not jnp.isfinite(leaf).all()
    ]


def _batches(size: int, largest: int) -> Iterator[tuple[int, int]]:
    """Start and padded rows of each batch: whole ones, and a last one of a power of two."""
    for start in range(0, size, largest):
        left = min(largest, size - start)
        yield start, min(largest, 1 << (left - 1).bit_length())
