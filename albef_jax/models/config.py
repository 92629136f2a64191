"""Model sizes: every dimension of the network, and the presets by name."""

from dataclasses import asdict, dataclass, replace
from typing import Any, Literal

Remat = Literal["none", "dots", "full"]


@dataclass(frozen=True)
class ModelConfig:
    """Dimensions and numerics of one ALBEF model.

    The two towers have widths of their own; cross-attention reads image tokens of `encoder_width`.
    Defaults are the official base model (ViT-B/16 at 256 px, BERT-base split 6 + 6).

    Attributes:
        image_size: side of the square input in pixels, a multiple of `patch_size`.
        image_width, image_depth, image_heads: the ViT.
        text_width, text_heads, text_intermediate: every BERT layer, text and fusion alike.
        text_depth: BERT layers before fusion (the official `fusion_layer`).
        fusion_depth: BERT layers with cross-attention.
        embed_dim: width of the contrastive space.
        image_stem: what makes tokens of pixels: one product a patch (`patches`, as published), or
            3x3 convolutions that halve the sides until a pixel is a patch (`convolutions`; Xiao et
            al. 2021, arXiv 2106.14881), from which a small model learns shapes sooner.
        image_positions: initial position embedding: random like all weights (`normal`), or sines
            and cosines of row and column (`sincos`; Beyer et al. 2022, arXiv 2205.01580). It is
            learned from there in both cases.
        image_attention_gain: of the ViT's initial queries and keys, as multiples of the usual.
            With 1, attention begins nearly even: small objects drown among the other tokens, and
            a small model takes long to find them.
        text_pooling: what the contrast reads of a text: the class token (`cls`, as published), or
            the mean over its tokens (`mean`), for encoders that were trained with that.
        dropout, attention_dropout: BERT only; the ViT has none.
        dtype: of the matrix products; parameters, norms, softmax and losses stay float32.
        reduce_dtype: of the gradients of linear layers where their products end, and so of their
            sums over devices; `float32`, or `bfloat16` for half the bytes.
        attention: implementation of the ViT's attention, `xla` or, on NVIDIA's cards, `cudnn`,
            which also has tokens padded to the lengths that these cards like.
        remat_image, remat_text, remat_fusion: what the layers of a tower compute again in the
            backward pass: nothing, all but the outputs of their projections (`dots`), or all.
        unroll: trade compile time for run time: layers per iteration of the layer loop.
        frozen_image_layers, frozen_text_layers: first layers of a tower that no gradient passes,
            and that have no dropout (`train.frozen`; `models.frozen`).
    """

    image_size: int = 256
    patch_size: int = 16
    image_width: int = 768
    image_depth: int = 12
    image_heads: int = 12
    text_width: int = 768
    text_heads: int = 12
    text_intermediate: int = 3072
    text_depth: int = 6
    fusion_depth: int = 6
    vocab_size: int = 30522
    max_positions: int = 512
    embed_dim: int = 256
    image_stem: Literal["patches", "convolutions"] = "patches"
    image_positions: Literal["normal", "sincos"] = "normal"
    image_attention_gain: float = 1.0
    text_pooling: Literal["cls", "mean"] = "cls"
    dropout: float = 0.1
    attention_dropout: float = 0.1
    temperature: float = 0.07
    dtype: str = "float32"
    reduce_dtype: Literal["float32", "bfloat16"] = "float32"
    attention: Literal["xla", "cudnn"] = "xla"
    remat_image: Remat = "none"
    remat_text: Remat = "none"
    remat_fusion: Remat = "none"
    unroll: int = 1
    frozen_image_layers: int = 0
    frozen_text_layers: int = 0

    @property
    def encoder_width(self) -> int:
        """Width of the image tokens that cross-attention reads."""
        return self.image_width

    @property
    def image_tokens(self) -> int:
        """Patches plus the class token."""
        return (self.image_size // self.patch_size) ** 2 + 1

    @property
    def stem_channels(self) -> tuple[int, ...]:
        """Channels of the convolutions that make patches; the last ones are the tokens'."""
        halvings = self.patch_size.bit_length() - 1
        return tuple(self.image_width // 2**later for later in reversed(range(halvings)))

    @property
    def length_multiple(self) -> int:
        """What queries and image tokens of text attention are padded to a multiple of.

        Tensor cores take eights; XLA would pad every product by itself.
        """
        return 8 if self.attention == "cudnn" else 1


PRESETS: dict[str, ModelConfig] = {
    "tiny": ModelConfig(
        image_size=96,
        image_width=128,
        image_depth=4,
        image_heads=4,
        text_width=128,
        text_heads=4,
        text_intermediate=512,
        text_depth=2,
        fusion_depth=2,
        max_positions=64,
        embed_dim=64,
        dropout=0.0,
        attention_dropout=0.0,
        unroll=4,
    ),
    "small": ModelConfig(
        image_width=384, image_heads=6, text_width=384, text_heads=6, text_intermediate=1536
    ),
    "base": ModelConfig(),
    "large": ModelConfig(image_width=1024, image_depth=24, image_heads=16),
}


# Fields that follow from options elsewhere in the configuration.
_DERIVED = ("frozen_image_layers", "frozen_text_layers")


def model_options(model: ModelConfig) -> dict[str, Any]:
    """The fields that a configuration has under `model`."""
    return {name: value for name, value in asdict(model).items() if name not in _DERIVED}


def preset(name: str, **overrides) -> ModelConfig:
    """The preset `name` with `overrides` applied.

    Raises:
        KeyError: no such preset.
        TypeError: an override that is not a field of `ModelConfig`.
    """
    return replace(PRESETS[name], **overrides)
