"""How many floating-point operations a step needs, counted from the sizes.

Counts matrix products only, two operations for a multiply-add, and no recomputation.
`docs/performance.md` has the terms at base size.
Shape letters: T text tokens, N image tokens.
"""

from dataclasses import dataclass
from itertools import pairwise
from typing import Literal

import jax

from albef_jax.models.config import ModelConfig

# Dense bfloat16 peak of one device as JAX counts them, in 10^12 operations a second; makers' data
# sheets, without sparsity. The first name that a device's kind contains counts.
PEAKS = {
    "B200": 2250.0,
    "H200": 989.0,
    "H100 PCIe": 756.0,
    "H100": 989.0,
    "A100": 312.0,
    "A10G": 70.0,
    "A10": 125.0,
    "L40S": 362.0,
    "L4": 121.0,
    "V100": 125.0,
    "T4": 65.0,
    "TPU v6 lite": 918.0,
    "TPU v5 lite": 197.0,
    "TPU v5": 459.0,
    "TPU v4": 275.0,
}

ImageEncoderState = Literal["trained", "frozen", "cached"]
BACKWARD = 2  # of the forward pass: gradients of both factors of each product
GiB = 2**30


def peak(device: jax.Device) -> float | None:
    """Peak operations per second of a device; None if unknown."""
    return peak_of(device.device_kind)


def peak_of(kind: str) -> float | None:
    """The same of a kind of device, as JAX names it."""
    return next((1e12 * peak for name, peak in PEAKS.items() if name in kind), None)


def image_encoder(config: ModelConfig) -> tuple[float, float]:
    """Forward operations of patch embedding and of blocks, for an image."""
    tokens, width = config.image_tokens, config.image_width
    block = 2 * tokens * 12 * width**2 + _scores(tokens, tokens, width)
    return _patch_embedding(config), config.image_depth * block


def _patch_embedding(config: ModelConfig) -> float:
    if config.image_stem == "patches":
        return 2 * (config.image_tokens - 1) * 3 * config.patch_size**2 * config.image_width
    pixels, total = config.image_size**2, 0.0
    for before, after in pairwise((3, *config.stem_channels)):
        pixels //= 4
        total += 2 * pixels * 9 * before * after
    return total


def text_encoder(config: ModelConfig, length: int) -> float:
    """Forward operations for a text."""
    return config.text_depth * _text_layer(config, length, length)


def _scores(queries: float, keys: float, width: int) -> float:
    """Scores, and the mean of the values under them."""
    return 4 * queries * keys * width


def _text_layer(config: ModelConfig, length: int, read: float) -> float:
    """Self-attention and MLP over `length` tokens, of which `read` go on."""
    width = config.text_width
    projections = 2 * width**2 * (2 * length + 2 * read)
    return (
        projections + _scores(length, length, width) + 4 * read * width * config.text_intermediate
    )


def fusion(config: ModelConfig, length: int, texts: int, images: int, read: float) -> float:
    """Forward operations of all fusion layers for an image.

    Args:
        texts: R, rows of `length` tokens that attend to it.
        images: how often its keys and values are projected in a layer.
        read: tokens that the last layer computes after attention.
    """
    width, tokens = config.text_width, config.image_tokens
    keys_values = images * 4 * tokens * config.encoder_width * width

    def layer(read: float) -> float:
        # Scores are computed for every token; packing saves only the work token by token.
        own = texts * _text_layer(config, length, read / texts)
        cross = 4 * read * width**2 + _scores(texts * length, tokens, width)
        return own + cross + keys_values

    return (config.fusion_depth - 1) * layer(texts * length) + layer(read)


def mlm_head(config: ModelConfig, tokens: float) -> float:
    """Forward operations at so many tokens."""
    return 2 * tokens * config.text_width * (config.text_width + config.vocab_size)


def _share(frozen: int, depth: int) -> float:
    """The part of a tower's layers that a gradient passes."""
    return 1 - frozen / depth


@dataclass(frozen=True)
class PretrainingFlops:
    """Operations of a pre-training step for each pair.

    Attributes:
        length: T.
        group, queue: keys of ITC.
        slots: places for masked tokens, for each pair.
        image_encoder: `trained`, as far as its layers are not frozen; `frozen` altogether, so that
            the teacher needs no pass of its own; or `cached`: nothing is computed.
    """

    config: ModelConfig
    length: int
    group: int
    queue: int
    slots: float
    image_encoder: ImageEncoderState = "trained"

    def fused(self) -> float:
        """What the step needs: as `losses.pretraining` computes it."""
        c, slots = self.config, self.slots
        student = mlm_head(c, slots) + fusion(c, self.length, texts=4, images=1, read=3 + slots)
        teacher = mlm_head(c, slots) + fusion(c, self.length, texts=1, images=1, read=slots)
        # A frozen text encoder is that of both.
        teacher += 2 * text_encoder(c, self.length) * (c.frozen_text_layers < c.text_depth)
        return self._step(student, teacher)

    def plain(self) -> float:
        """One pass after another, all of each: as `benchmarks.plain` computes it."""
        c, length = self.config, self.length
        whole = fusion(c, length, texts=1, images=1, read=length)
        head = mlm_head(c, length)
        return self._step(head + 4 * whole, 2 * text_encoder(c, length) + head + whole)

    def _step(self, student: float, teacher: float) -> float:
        """Of both, given the student's operations after the two encoders and all the teacher's but
        those on images."""
        c = self.config
        texts = 2 * text_encoder(c, self.length)
        heads = 4 * c.image_width * c.embed_dim
        contrast = 4 * (self.group + self.queue) * c.embed_dim
        match = 3 * 2 * 2 * c.text_width
        trained = (1 + BACKWARD) * (student + heads + match)
        trained += (1 + BACKWARD * _share(c.frozen_text_layers, c.text_depth)) * texts
        # Keys of the contrast are the teacher's: no gradient flows into them.
        return trained + self._images() + teacher + heads + 3 * contrast

    def _images(self) -> float:
        """Of both image encoders."""
        patches, blocks = image_encoder(self.config)
        frozen = self.config.frozen_image_layers
        match self.image_encoder:
            case "cached":
                return 0.0
            case "frozen":
                return patches + blocks
        backward = BACKWARD * _share(frozen, self.config.image_depth) * blocks
        # Pixels need no gradient.
        return 2 * (patches + blocks) + backward + (0 if frozen else patches)
