"""The text encoder and the fusion encoder: post-norm BERT layers (paper section 3.1).

A fusion layer serves several texts of one image with one set of image keys and values: its hidden
state is `[B, R, T, D]`, R texts ("rows") an image. Self-attention stays inside a text;
cross-attention puts the rows side by side as `R * T` queries. One row is the official layer.
Shape letters: B images, R rows, T text tokens, N image tokens, D text width, E image width.
"""

from collections.abc import Mapping
from functools import partial
from typing import Any, NamedTuple

import jax.numpy as jnp
from flax import linen as nn
from jaxtyping import Array, Float, Int

from albef_jax.models.attention import (
    Dropout,
    attend,
    attention_probabilities,
    heads_first,
    split_heads,
    text_attention,
)
from albef_jax.models.config import ModelConfig
from albef_jax.models.linear import Linear, gelu_linear, joint_linear
from albef_jax.models.primitives import initial, wide
from albef_jax.models.scan import stack
from albef_jax.models.take_rows import take_in_group
from albef_jax.models.token_selection import TokenSelection, gather, scatter

EPSILON = 1e-12


def linear(config: ModelConfig, width: int, name: str) -> Linear:
    """A linear layer with BERT's initialisation, computing in the model's dtype."""
    return Linear(width, config.text_width, config.dtype, config.reduce_dtype, name=name)


def norm(config: ModelConfig, name: str) -> nn.LayerNorm:
    """LayerNorm in float32 with BERT's epsilon."""
    return nn.LayerNorm(epsilon=EPSILON, dtype=wide(config.dtype), name=name)


class Embeddings(nn.Module):
    """Word, position and segment embeddings, summed and normalised."""

    config: ModelConfig
    deterministic: bool

    @nn.compact
    def __call__(
        self, text_ids: Int[Array, "B T"], first: Int[Array, ""] | int = 0
    ) -> Float[Array, "B T D"]:
        """Embed tokens; every token is of segment 0, and the first one at position `first`."""
        cfg = self.config

        def table(rows: int, name: str) -> nn.Embed:
            return nn.Embed(rows, cfg.text_width, embedding_init=initial(cfg.text_width), name=name)

        x = table(cfg.vocab_size, "word")(text_ids)
        x = x + table(cfg.max_positions, "position")(first + jnp.arange(text_ids.shape[1]))
        x = x + table(2, "type")(jnp.zeros((1,), jnp.int32))
        x = nn.Dropout(cfg.dropout)(norm(cfg, "norm")(x), deterministic=self.deterministic)
        return x.astype(cfg.dtype)


def project_and_add(
    config: ModelConfig,
    attended: Float[Array, "*B D"],
    x: Float[Array, "*B D"],
    deterministic: bool,
) -> Float[Array, "*B D"]:
    """The tail of both attentions: projection, dropout, residual, norm."""
    out = linear(config, config.text_width, "out")(attended)
    out = nn.Dropout(config.dropout)(out, deterministic=deterministic)
    return norm(config, "norm")(out + x).astype(x.dtype)


class SelfAttention(nn.Module):
    """Attention inside a text."""

    config: ModelConfig
    deterministic: bool

    @nn.compact
    def __call__(
        self, x: Float[Array, "B T D"], bias: Array, selection: TokenSelection | None = None
    ) -> Float[Array, "*C D"]:
        """Attend under the additive score bias `[B, 1, 1 or T, T]`.

        Returns:
            The tokens of `selection`, packed; without it all, `[B, T, D]`.
        """
        cfg = self.config
        read = gather(x, selection)
        layers = {name: linear(cfg, cfg.text_width, name) for name in ("query", "key", "value")}
        if selection is None:
            query, key, value = joint_linear(list(layers.values()), x)
        else:
            query = scatter(layers["query"](read), selection, x.shape)
            key, value = joint_linear([layers["key"], layers["value"]], x)
        query, key, value = (split_heads(y, cfg.text_heads) for y in (query, key, value))
        key, value = (heads_first(y, cfg.length_multiple) for y in (key, value))
        dropout = Dropout(cfg.attention_dropout, deterministic=self.deterministic)
        attention = partial(text_attention, dropout=dropout, multiple=cfg.length_multiple)
        attended = attention(query, key, value, bias, x.shape[1]).reshape(x.shape)
        return project_and_add(cfg, gather(attended, selection), read, self.deterministic)


class KeysValues(NamedTuple):
    """What cross-attention makes of image tokens; in a stack with a leading layer axis."""

    key: Float[Array, "B N H K"]
    value: Float[Array, "B N H K"]


def keys_values_of_layers(
    config: ModelConfig, layers: Mapping[str, Any], tokens: Float[Array, "B N E"]
) -> KeysValues:
    """What the cross-attention of each of a stack's layers makes of tokens, `[L, B, N, H, K]`.

    Args:
        layers: parameters of the stack.
    """

    def project(name: str) -> Array:
        layer = layers["cross_attention"][name]
        kernel, x = layer["kernel"].astype(config.dtype), tokens.astype(config.dtype)
        projected = jnp.einsum("bne,led->lbnd", x, kernel)
        projected = projected + layer["bias"].astype(config.dtype)[:, None, None]
        return projected.reshape(*projected.shape[:-1], config.text_heads, -1)

    return KeysValues(project("key"), project("value"))


class CrossAttention(nn.Module):
    """Attention from the texts of an image to its image tokens.

    `projections` to keys and values are given where another layer shares them (NLVR).
    """

    config: ModelConfig
    deterministic: bool
    projections: tuple[Linear, Linear] | None = None

    @nn.compact
    def __call__(
        self,
        x: Float[Array, "*C D"],
        shape: tuple[int, ...],
        image_embeds: Float[Array, "B N E"] | None,
        bias: Array | None,
        negative_image: Int[Array, "G g"] | None,
        keys_values: KeysValues | None = None,
        probe: Float[Array, "B H S N"] | None = None,
        selection: TokenSelection | None = None,
        image_of: Int[Array, "G C"] | None = None,
    ) -> Float[Array, "*C D"]:
        """Attend to the images.

        Args:
            x: the tokens of `selection`, packed; without it all, `[B, R, T, D]`.
            shape: (B, R, T, D).
            bias: additive score bias `[B, 1, 1, N]` over the image tokens.
            negative_image: if given, the last row of each image reads another image of its group
                instead, this one: the negative images of ITM, without a second projection.
            keys_values: those of the images, computed before, instead of `image_embeds`.
            probe: zeros added to the probabilities, S = R * T. The gradient with respect to them
                is that with respect to the probabilities, which are then kept as the
                intermediate `probabilities` (Grad-CAM).
            image_of: if given, texts and images differ in number: the G * C texts, one row each,
                read this image of their group; `bias` has an entry a text.
        """
        cfg = self.config
        images, rows, length, _ = shape
        query = linear(cfg, cfg.text_width, "query")(x)
        query = scatter(query, selection, (images, rows * length, cfg.text_width))
        query = split_heads(query, cfg.text_heads)
        if keys_values is None:
            assert image_embeds is not None, "give image_embeds or keys_values"
            keys_values = self.project(image_embeds)
        key, value = keys_values
        if probe is not None:
            probabilities = attention_probabilities(query, key, bias)
            self.sow("intermediates", "probabilities", probabilities)
            attended = attend(probabilities + probe, value)
        else:
            seen = key.shape[1]
            key, value = (heads_first(y, cfg.length_multiple) for y in (key, value))
            if image_of is not None:
                key, value = (take_in_group(y, image_of) for y in (key, value))
            dropout = Dropout(cfg.attention_dropout, deterministic=self.deterministic)
            attention = partial(text_attention, dropout=dropout, multiple=cfg.length_multiple)
            queries = [query]
            if negative_image is not None:
                queries = jnp.split(query, [(rows - 1) * length], axis=1)
            attended = attention(queries[0], key, value, bias, seen)
            if negative_image is not None:
                key, value = (take_in_group(x, negative_image) for x in (key, value))
                other = attention(queries[1], key, value, bias, seen)
                attended = jnp.concatenate([attended, other], axis=1)
        attended = gather(attended.reshape(shape), selection)
        return project_and_add(cfg, attended, x, self.deterministic)

    def project(self, image_embeds: Float[Array, "B N E"]) -> KeysValues:
        """The images' keys and values."""
        cfg = self.config
        layers = self.projections or [
            linear(cfg, cfg.text_width, name) for name in ("key", "value")
        ]
        key, value = joint_linear(layers, image_embeds)
        return KeysValues(split_heads(key, cfg.text_heads), split_heads(value, cfg.text_heads))


def feed_forward(config: ModelConfig, x: Array, deterministic: bool) -> Array:
    """BERT's MLP with residual and norm; its parameters belong to the calling layer."""
    hidden = gelu_linear(linear(config, config.text_intermediate, "intermediate"), x)
    out = linear(config, config.text_width, "output")(hidden)
    out = nn.Dropout(config.dropout)(out, deterministic=deterministic)
    return norm(config, "norm")(out + x).astype(x.dtype)


class TextLayer(nn.Module):
    """One BERT layer."""

    config: ModelConfig
    deterministic: bool

    @nn.compact
    def __call__(self, x: Float[Array, "B T D"], bias: Array) -> Float[Array, "B T D"]:
        """Apply the layer under the score bias of `SelfAttention`."""
        x = SelfAttention(self.config, self.deterministic, name="self_attention")(x, bias)
        return feed_forward(self.config, x, self.deterministic)


class FusionLayer(nn.Module):
    """One BERT layer with cross-attention between attention and MLP."""

    config: ModelConfig
    deterministic: bool
    projections: tuple[Linear, Linear] | None = None

    @nn.compact
    def __call__(
        self,
        x: Float[Array, "B R T D"],
        bias: Array,
        image_embeds: Float[Array, "B N E"] | None,
        image_bias: Array | None,
        negative_image: Int[Array, "G g"] | None,
        image_of: Int[Array, "G C"] | None = None,
        keys_values: KeysValues | None = None,
        probe: Float[Array, "B H S N"] | None = None,
        selection: TokenSelection | None = None,
    ) -> Float[Array, "*C D"]:
        """Apply the layer; `bias` is `[B * R, 1, 1 or T, T]`, the rest as in `CrossAttention`.

        Returns:
            The tokens of `selection`, packed; without it all, `[B, R, T, D]`.
        """
        cfg, shape = self.config, x.shape
        flat = x.reshape(-1, *shape[2:])
        x = SelfAttention(cfg, self.deterministic, name="self_attention")(flat, bias, selection)
        if selection is None:
            x = x.reshape(shape)
        attention = CrossAttention(
            cfg, self.deterministic, self.projections, name="cross_attention"
        )
        image = image_embeds, image_bias, negative_image
        x = attention(x, shape, *image, keys_values, probe, selection, image_of)
        return feed_forward(cfg, x, self.deterministic)


class TextEncoder(nn.Module):
    """Embeddings and the first `text_depth` BERT layers.

    With `collect`, also returns the embeddings and every layer's output.
    """

    config: ModelConfig
    deterministic: bool = True
    collect: bool = False

    @nn.compact
    def __call__(self, text_ids: Int[Array, "B T"], bias: Array):
        """Encode texts: `text_embeds [B, T, D]`, with `collect` also `[1 + L, B, T, D]`."""
        cfg = self.config
        x = embedded = Embeddings(cfg, self.deterministic, name="embeddings")(text_ids)
        layers = stack(TextLayer, cfg, cfg.text_depth, cfg.remat_text, self.collect, inputs=1)
        x, outputs = layers(cfg, self.deterministic, name="layers")(x, bias)
        return (x, jnp.concatenate([embedded[None], outputs])) if self.collect else x


class TextLayers(nn.Module):
    """The `text_depth` layers of `TextEncoder` without its embeddings, under the same names."""

    config: ModelConfig
    deterministic: bool = True

    @nn.compact
    def __call__(self, x: Float[Array, "B T D"], bias: Array) -> Float[Array, "B T D"]:
        """Apply the layers under the score bias of `SelfAttention`."""
        cfg = self.config
        layers = stack(TextLayer, cfg, cfg.text_depth, cfg.remat_text, inputs=1)
        return layers(cfg, self.deterministic, name="layers")(x, bias)[0]


class FusionEncoder(nn.Module):
    """The last `fusion_depth` BERT layers, with cross-attention to image tokens.

    With `collect`, also returns every layer's output.
    """

    config: ModelConfig
    deterministic: bool = True
    collect: bool = False

    @nn.compact
    def __call__(
        self,
        text_embeds: Float[Array, "B R T D"],
        bias: Array,
        image_embeds: Float[Array, "B N E"] | None,
        image_bias: Array | None = None,
        negative_image: Int[Array, "G g"] | None = None,
        image_of: Int[Array, "G C"] | None = None,
        keys_values: KeysValues | None = None,
    ):
        """Fuse: `[B, R, T, D]`, with `collect` also `[L, B, R, T, D]`.

        `keys_values [L, ...]`, if given, replace `image_embeds`.
        """
        cfg = self.config
        layers = stack(
            FusionLayer, cfg, cfg.fusion_depth, cfg.remat_fusion, self.collect, 5, layer_inputs=1
        )
        x, outputs = layers(cfg, self.deterministic, name="layers")(
            text_embeds, bias, image_embeds, image_bias, negative_image, image_of, keys_values
        )
        return (x, outputs) if self.collect else x
