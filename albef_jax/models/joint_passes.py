"""Several texts with one image in one pass: what ITM and MLM read, side by side.

The student reads each image once, and each fusion layer projects its keys and values once. The
texts that go with an image (its own, a hard negative, its own with masked words, and its own again
for a negative image) are rows beside each other, so a sharded batch stays where it is.
Shape letters: B pairs in G groups of g, T text tokens, N image tokens, D width, C masked slots of a
group, R rows an image.
"""

import jax.numpy as jnp
from jaxtyping import Array, Float, Int

from albef_jax.models import albef
from albef_jax.models.albef import Params
from albef_jax.models.config import ModelConfig
from albef_jax.models.take_rows import take_in_group
from albef_jax.models.token_selection import TokenSelection


def encode_clean_and_masked(
    config: ModelConfig,
    params: Params,
    text_ids: Int[Array, "B T"],
    masked_ids: Int[Array, "B T"],
    text_mask: Int[Array, "B T"],
    dropout_key: Array | None,
) -> tuple[Float[Array, "B T D"], Float[Array, "B T D"]]:
    """Embeddings of the captions as they are and with masked words, in one call."""
    batch, length = text_ids.shape
    ids = jnp.stack([text_ids, masked_ids], axis=1).reshape(-1, length)
    mask = jnp.repeat(text_mask, 2, axis=0)
    embeds = albef.encode_text(config, params, ids, mask, dropout_key)
    embeds = embeds.reshape(batch, 2, length, -1)
    return embeds[:, 0], embeds[:, 1]


def fuse_matches(
    config: ModelConfig,
    params: Params,
    text_embeds: Float[Array, "B T D"],
    text_mask: Int[Array, "B T"],
    image_embeds: Float[Array, "B N E"],
    negative_image: Int[Array, "G g"],
    negative_text: Int[Array, "G g"],
    dropout_key: Array | None,
) -> Float[Array, "B 3 D"]:
    """Fused class tokens of the pair, of the text with its negative image, and of the negative
    text with the image.

    Args:
        negative_image, negative_text: positions in the group.
    """
    other_text = take_in_group(text_embeds, negative_text)
    other_mask = take_in_group(text_mask, negative_text)
    fused_cls = albef.fuse_class(
        config,
        params,
        jnp.stack([text_embeds, other_text, text_embeds], axis=1),
        jnp.stack([text_mask, other_mask, text_mask], axis=1),
        image_embeds,
        negative_image=negative_image,
        dropout_key=dropout_key,
    )
    return fused_cls[:, (0, 2, 1)]


def fuse_matches_and_masked(
    config: ModelConfig,
    params: Params,
    text_embeds: Float[Array, "B T D"],
    masked_embeds: Float[Array, "B T D"],
    text_mask: Int[Array, "B T"],
    image_embeds: Float[Array, "B N E"],
    masked_tokens: TokenSelection,
    negative_image: Int[Array, "G g"],
    negative_text: Int[Array, "G g"],
    dropout_key: Array | None,
) -> tuple[Float[Array, "B 3 D"], Float[Array, "G C D"]]:
    """`fuse_matches` with a fourth row, the masked text with the image.

    Args:
        masked_tokens: which tokens of the masked texts to read.
        negative_image, negative_text: positions in the group.

    Returns:
        Class tokens of pair, negative image and negative text; and the masked tokens.
    """
    other_text = take_in_group(text_embeds, negative_text)
    other_mask = take_in_group(text_mask, negative_text)
    batch, length, width = text_embeds.shape
    read = albef.fuse_and_read(
        config,
        params,
        jnp.stack([text_embeds, other_text, masked_embeds, text_embeds], axis=1),
        jnp.stack([text_mask, other_mask, text_mask, text_mask], axis=1),
        image_embeds,
        _class_and_masked(masked_tokens, length),
        negative_image=negative_image,
        dropout_key=dropout_key,
    )
    matches, masked = jnp.split(read, [3 * batch // len(read)], axis=1)
    return matches.reshape(batch, 3, width), masked


def _class_and_masked(masked: TokenSelection, length: int) -> TokenSelection:
    """Of four rows an image: the class tokens of rows 0, 3 and 1, then row 2's masked tokens.

    The rows of a group are numbered `(pair, row, token)`, which turns "token 0 of row 3" into a
    position that `TokenSelection.token` can hold; `slot` is the way back. A token that is not read
    gets its row's class slot, since any slot will do.
    """
    groups, size = len(masked.slot), masked.slot.shape[1] // length
    position = jnp.arange(size * 4 * length).reshape(size, 4, length)
    class_tokens = position[:, (0, 3, 1), 0].reshape(-1)
    masked_tokens = position[:, 2].reshape(-1)[masked.token]
    token = jnp.concatenate([jnp.tile(class_tokens, (groups, 1)), masked_tokens], axis=1)

    def class_slot(number: int) -> Array:
        own = 3 * jnp.arange(size) + number
        return jnp.broadcast_to(own[:, None], (groups, size, length))

    masked_slot = len(class_tokens) + masked.slot.reshape(groups, size, length)
    slot = jnp.stack([class_slot(0), class_slot(2), masked_slot, class_slot(1)], axis=2)
    return TokenSelection(token, slot.reshape(groups, -1))
