"""The whole model as plain functions over a parameter tree.

`init` makes the tree; every other function computes one thing with it. The momentum teacher is a
second tree (`teacher_params`) through the same functions, never a second module. A `dropout_key`
of None means no dropout.
Shape letters: B images, R texts an image, T text tokens, N image tokens, E embed_dim,
D text width, V vocabulary.
"""

from dataclasses import dataclass, replace
from typing import Any, cast

import jax
import jax.numpy as jnp
from flax import linen as nn
from jaxtyping import Array, Float, Int

from albef_jax.models import attention, bert
from albef_jax.models.config import ModelConfig
from albef_jax.models.linear import gelu_linear
from albef_jax.models.primitives import wide
from albef_jax.models.scan import recomputed
from albef_jax.models.token_selection import TokenSelection, class_tokens
from albef_jax.models.vit import ImageEncoder

Params = dict[str, Any]

# The student's alone: the official teacher has neither (LEDGER, ITC).
STUDENT_ONLY = ("itm_head", "temperature")


class MlmHead(nn.Module):
    """Transform, GELU, norm; then the tied word embeddings as the vocabulary matrix."""

    config: ModelConfig

    @nn.compact
    def __call__(self, hidden: Array, embedding: Float[Array, "V D"]) -> Float[Array, "... V"]:
        """Logits in float32."""
        cfg = self.config
        x = gelu_linear(bert.linear(cfg, cfg.text_width, "transform"), hidden)
        x = bert.norm(cfg, "norm")(x).astype(cfg.dtype)
        bias = self.param("bias", nn.initializers.zeros, (cfg.vocab_size,))
        logits = jnp.einsum(
            "...d,vd->...v", x, embedding.astype(cfg.dtype), preferred_element_type=wide(x.dtype)
        )
        return logits + bias


def linear(width: int) -> nn.Dense:
    """The projections and the heads, in float32 whatever the model's dtype."""
    return nn.Dense(width, dtype=jnp.float32, kernel_init=nn.initializers.lecun_uniform())


def init(config: ModelConfig, key: Array) -> Params:
    """A fresh parameter tree in float32.

    Weights of the towers as `initial`, of the heads uniform by their fan-in, biases zero.
    """
    keys = iter(jax.random.split(key, 7))
    length, width = 4, config.text_width
    image = jnp.zeros((1, config.image_size, config.image_size, 3))
    text_ids, bias = jnp.zeros((1, length), jnp.int32), jnp.zeros((1, 1, 1, length))
    hidden = jnp.zeros((1, 1, length, width))
    image_embeds = jnp.zeros((1, config.image_tokens, config.encoder_width))
    table = jnp.zeros((config.vocab_size, width))
    plain = {
        "image_encoder": (ImageEncoder(config), (image,)),
        "text_encoder": (bert.TextEncoder(config), (text_ids, bias)),
        "fusion_encoder": (bert.FusionEncoder(config), (hidden, bias, image_embeds)),
        "mlm_head": (MlmHead(config), (hidden, table)),
        "image_proj": (linear(config.embed_dim), (image_embeds,)),
        "text_proj": (linear(config.embed_dim), (hidden,)),
        "itm_head": (linear(2), (hidden,)),
    }
    params = {
        name: module.init(next(keys), *inputs)["params"] for name, (module, inputs) in plain.items()
    }
    return {**params, "temperature": jnp.float32(config.temperature)}


def teacher_params(params: Params) -> Params:
    """A copy of `shared`."""
    return jax.tree.map(jnp.copy, shared(params))


def shared(params: Params) -> Params:
    """What the momentum teacher has of the student: all but `STUDENT_ONLY`."""
    return {name: tree for name, tree in params.items() if name not in STUDENT_ONLY}


def count_parameters(params: Params) -> int:
    """Number of scalars in the tree; tied weights count once."""
    return sum(leaf.size for leaf in jax.tree.leaves(params))


def rngs(dropout_key: Array | None) -> dict[str, Array] | None:
    """Random streams of a module call."""
    return None if dropout_key is None else {"dropout": dropout_key}


def split_key(dropout_key: Array | None) -> tuple[Array | None, Array | None]:
    """Two keys of one, or twice None."""
    if dropout_key is None:
        return None, None
    first, second = jax.random.split(dropout_key)
    return first, second


@jax.tree_util.register_dataclass
@dataclass(frozen=True)
class ImageTokens:
    """What a frozen image encoder made of images: takes the place of their pixels."""

    tokens: Float[Array, "*B N D"]


Images = Float[Array, "*B H W 3"] | ImageTokens


def encode_image(
    config: ModelConfig,
    params: Params,
    image: Images,
    collect: bool = False,
):
    """Image tokens `[B, N, image_width]`, class token first; see `ImageEncoder` for `collect`."""
    if isinstance(image, ImageTokens):
        return image.tokens
    tower, frozen = params["image_encoder"], config.frozen_image_layers
    if not frozen or collect:
        return ImageEncoder(config, collect).apply({"params": tower}, image)
    first, last = _cut(tower, "blocks", frozen)
    fewer = ImageEncoder(replace(config, image_depth=frozen))
    tokens = fewer.apply({"params": first}, image, method="before_norm")
    tokens = jax.lax.stop_gradient(tokens)
    others = ImageEncoder(replace(config, image_depth=config.image_depth - frozen))
    method = "from_tokens" if others.config.image_depth else "final_norm"
    return others.apply({"params": last}, tokens, method=method)


def _cut(tower: Params, stack: str, first: int) -> tuple[Params, Params]:
    """A tower with its first layers, and with the others."""
    early = jax.tree.map(lambda leaf: leaf[:first], tower[stack])
    late = jax.tree.map(lambda leaf: leaf[first:], tower[stack])
    return {**tower, stack: early}, {**tower, stack: late}


def encode_text(
    config: ModelConfig,
    params: Params,
    text_ids: Int[Array, "B T"],
    text_mask: Int[Array, "B T"],
    dropout_key: Array | None = None,
    causal: bool = False,
    collect: bool = False,
):
    """Text tokens `[B, T, D]` after the text layers; see `TextEncoder` for `collect`."""
    bias, tower = attention.self_bias(text_mask, causal), params["text_encoder"]
    frozen, deterministic = config.frozen_text_layers, dropout_key is None
    if not frozen or collect:
        module = bert.TextEncoder(config, deterministic, collect)
        return module.apply({"params": tower}, text_ids, bias, rngs=rngs(dropout_key))
    first, last = _cut(tower, "layers", frozen)
    fewer = bert.TextEncoder(replace(config, text_depth=frozen))
    x = jax.lax.stop_gradient(fewer.apply({"params": first}, text_ids, bias))
    if frozen == config.text_depth:
        return x
    others = bert.TextLayers(replace(config, text_depth=config.text_depth - frozen), deterministic)
    return others.apply({"params": {"layers": last["layers"]}}, x, bias, rngs=rngs(dropout_key))


def fuse(
    config: ModelConfig,
    params: Params,
    text_embeds: Float[Array, "B R T D"],
    text_mask: Int[Array, "B R T"],
    image_embeds: Float[Array, "B N E"] | None,
    *,
    image_mask: Int[Array, "B N"] | None = None,
    negative_image: Int[Array, "G g"] | None = None,
    keys_values: bert.KeysValues | None = None,
    dropout_key: Array | None = None,
    causal: bool = False,
    collect: bool = False,
):
    """Fused tokens `[B, R, T, D]`; `negative_image` as in `CrossAttention`.

    `keys_values [L, ...]` of `image_keys_values` may take the place of `image_embeds`.
    """
    module = bert.FusionEncoder(config, dropout_key is None, collect)
    bias = attention.self_bias(text_mask.reshape(-1, text_mask.shape[-1]), causal)
    image_bias = None if image_mask is None else attention.cross_bias(image_mask)
    return module.apply(
        {"params": params["fusion_encoder"]},
        text_embeds,
        bias,
        image_embeds,
        image_bias,
        negative_image,
        keys_values=keys_values,
        rngs=rngs(dropout_key),
    )


def fuse_and_read(
    config: ModelConfig,
    params: Params,
    text_embeds: Float[Array, "B R T D"],
    text_mask: Int[Array, "B R T"],
    image_embeds: Float[Array, "B N E"] | None,
    selection: TokenSelection,
    *,
    negative_image: Int[Array, "G g"] | None = None,
    keys_values: bert.KeysValues | None = None,
    dropout_key: Array | None = None,
) -> Float[Array, "G C D"]:
    """The tokens of `selection` as `fuse` would give them; the last layer computes no others."""
    keys = split_key(dropout_key)
    bias = attention.self_bias(text_mask.reshape(-1, text_mask.shape[-1]), causal=False)
    layers = params["fusion_encoder"]["layers"], keys_values
    first = jax.tree.map(lambda leaf: leaf[:-1], layers)
    last = jax.tree.map(lambda leaf: leaf[-1], layers)
    inputs = bias, image_embeds, None, negative_image, None
    x: Any = text_embeds
    if config.fusion_depth > 1:
        fewer = replace(config, fusion_depth=config.fusion_depth - 1)
        encoder = bert.FusionEncoder(fewer, dropout_key is None)
        x = encoder.apply(
            {"params": {"layers": first[0]}}, x, *inputs, first[1], rngs=rngs(keys[0])
        )
    layer_class = recomputed(bert.FusionLayer, config.remat_fusion, looped=False)
    layer = layer_class(config, dropout_key is None)
    x = layer.apply({"params": last[0]}, x, *inputs, last[1], None, selection, rngs=rngs(keys[1]))
    return cast(Array, x)


def fuse_class(
    config: ModelConfig,
    params: Params,
    text_embeds: Float[Array, "B R T D"],
    text_mask: Int[Array, "B R T"],
    image_embeds: Float[Array, "B N E"] | None,
    **options: Any,
) -> Float[Array, "B R D"]:
    """Fused class tokens: all that the heads of matching and of classification read.

    Args:
        options: those of `fuse_and_read`.
    """
    selection = class_tokens(*text_mask.shape)
    return fuse_and_read(config, params, text_embeds, text_mask, image_embeds, selection, **options)


def fuse_pairs(
    config: ModelConfig,
    params: Params,
    image: Images,
    text_ids: Int[Array, "B T"],
    text_mask: Int[Array, "B T"],
    dropout_key: Array | None = None,
    class_only: bool = False,
) -> Float[Array, "B *T D"]:
    """Fused tokens of images with one text each, from pixels and token ids.

    Returns:
        `[B, T, D]`, or with `class_only` the class tokens `[B, D]`.
    """
    text_key, fusion_key = split_key(dropout_key)
    image_embeds = encode_image(config, params, image)
    text_embeds = encode_text(config, params, text_ids, text_mask, text_key)
    run = fuse_class if class_only else fuse
    fused = run(
        config,
        params,
        text_embeds[:, None],
        text_mask[:, None],
        image_embeds,
        dropout_key=fusion_key,
    )
    return jnp.squeeze(fused, axis=1)


def image_keys_values(
    config: ModelConfig, params: Params, image_embeds: Float[Array, "B N E"]
) -> bert.KeysValues:
    """What every fusion layer makes of the images, `[L, B, N, H, K]` each: worth keeping where
    many texts are matched with few images."""
    return bert.keys_values_of_layers(config, params["fusion_encoder"]["layers"], image_embeds)


def _unit(x: Float[Array, "B E"]) -> Float[Array, "B E"]:
    return x / jnp.maximum(jnp.linalg.norm(x, axis=-1, keepdims=True), 1e-12)


def image_feature(params: Params, image_embeds: Float[Array, "B N D"]) -> Float[Array, "B E"]:
    """The unit vector that ITC compares: class token, projected."""
    projection = params["image_proj"]
    return _unit(image_embeds[:, 0] @ projection["kernel"] + projection["bias"])


def text_feature(
    params: Params,
    text_embeds: Float[Array, "B T D"],
    text_mask: Int[Array, "B T"] | None = None,
) -> Float[Array, "B E"]:
    """As `image_feature`, for texts.

    Args:
        text_mask: if given, the mean over a text's tokens is projected; see `pooled_tokens`.
    """
    projection = params["text_proj"]
    pooled = text_embeds[:, 0]
    if text_mask is not None:
        share = text_mask / jnp.sum(text_mask, axis=1, keepdims=True)
        pooled = jnp.einsum("bt,btd->bd", share, text_embeds)
    return _unit(pooled @ projection["kernel"] + projection["bias"])


def pooled_tokens(config: ModelConfig, text_mask: Array) -> Array | None:
    """The tokens whose mean is a text's feature; None for the class token."""
    return text_mask if config.text_pooling == "mean" else None


def itm_logits(params: Params, fused_cls: Float[Array, "... D"]) -> Float[Array, "... 2"]:
    """Match logits of fused class tokens; column 1 is "they belong together"."""
    head = params["itm_head"]
    return fused_cls @ head["kernel"] + head["bias"]


def mlm_logits(
    config: ModelConfig, params: Params, fused: Float[Array, "... D"]
) -> Float[Array, "... V"]:
    """Vocabulary logits of fused tokens."""
    embedding = params["text_encoder"]["embeddings"]["word"]["embedding"]
    logits = MlmHead(config).apply({"params": params["mlm_head"]}, fused, embedding)
    return cast(Array, logits)
