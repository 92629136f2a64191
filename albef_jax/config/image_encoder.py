"""Options of the image encoder that must fit each other."""

from collections.abc import Iterator

from ml_collections import ConfigDict

from albef_jax.config.auto import AUTO


def problems(model: ConfigDict) -> Iterator[str]:
    """One line for each misfit."""
    yield from _stem(model)
    yield from _positions(model)
    yield from _flash(model)


def _stem(model: ConfigDict) -> Iterator[str]:
    """Convolutions halve the sides until a patch is one pixel."""
    side = model.patch_size
    if model.image_stem == "convolutions" and side > 0 and (side < 4 or side & (side - 1)):
        yield (
            f"model.patch_size={side}: model.image_stem=convolutions needs a power of two; use 4, "
            "8, 16 or 32, or model.image_stem=patches"
        )


def _positions(model: ConfigDict) -> Iterator[str]:
    """Sine and cosine, each of row and column."""
    if model.image_positions == "sincos" and model.image_width % 4:
        yield (
            f"model.image_width={model.image_width}: model.image_positions=sincos needs a multiple "
            "of 4; or set model.image_positions=normal"
        )


def _flash(model: ConfigDict) -> Iterator[str]:
    """What cuDNN's attention takes."""
    if model.attention != "cudnn":
        return
    if model.dtype not in ("bfloat16", AUTO):  # which is then bfloat16
        yield (
            f"model.attention=cudnn with model.dtype={model.dtype}: cuDNN's attention has no such "
            "kernel; set model.dtype=bfloat16, or model.attention=xla"
        )
    if model.image_heads > 0 and model.image_width % model.image_heads == 0:
        width = model.image_width // model.image_heads
        if width % 8 or width > 128:
            yield (
                f"model.attention=cudnn: its heads are multiples of 8 and at most 128 wide, and "
                f"model.image_width over model.image_heads is {width}; set model.attention=xla"
            )
