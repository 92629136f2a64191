"""The sizes of a model from its tree of parameters."""

import math
from collections.abc import Mapping
from typing import Any

# Field of `ModelConfig`: where an axis of an array has that length.
_AXES = {
    "image_width": ("image_encoder/patch_embed/kernel", -1),
    "image_depth": ("image_encoder/blocks/qkv/kernel", 0),
    "text_width": ("text_encoder/embeddings/word/embedding", -1),
    "vocab_size": ("text_encoder/embeddings/word/embedding", 0),
    "max_positions": ("text_encoder/embeddings/position/embedding", 0),
    "text_depth": ("text_encoder/layers/intermediate/kernel", 0),
    "text_intermediate": ("text_encoder/layers/intermediate/kernel", -1),
    "embed_dim": ("image_proj/kernel", -1),
}
_FUSION = ("fusion_encoder/layers/norm/scale", "pair_encoder/layers/key/kernel")


def sizes_of(params: Mapping[str, Any]) -> dict[str, Any]:
    """The fields of `ModelConfig` that follow from the shapes of `params`.

    A field is absent if no array shows it, such as `embed_dim` in a model without contrast. Shapes
    do not show the numbers of heads; 64 channels a head is the rule.
    """
    sizes: dict[str, Any] = {
        field: shape[axis]
        for field, (path, axis) in _AXES.items()
        if (shape := _shape(params, path)) is not None
    }
    if kernel := _shape(params, "image_encoder/patch_embed/kernel"):
        stem = params["image_encoder"].get("stem")
        sizes["image_stem"] = "patches" if stem is None else "convolutions"
        sizes["patch_size"] = kernel[0] if stem is None else 2 ** (len(stem) + 1)
    for path in _FUSION:
        if shape := _shape(params, path):
            sizes["fusion_depth"] = shape[0]
    tokens = _shape(params, "image_encoder/pos_embed")
    if tokens and "patch_size" in sizes:
        sizes["image_size"] = math.isqrt(tokens[1] - 1) * sizes["patch_size"]
    return sizes


def _shape(tree: Any, path: str) -> tuple[int, ...] | None:
    for key in path.split("/"):
        if not isinstance(tree, Mapping) or key not in tree:
            return None
        tree = tree[key]
    return tuple(tree.shape)
