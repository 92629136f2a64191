"""The table of names: each parameter's place in our tree, its published name, its order of axes.

PyTorch keeps matrices `[out, in]` and convolutions `[out, in, h, w]`; we keep `[in, out]` and
`[h, w, in, out]`, and stack the layers of a tower on a leading axis. BERT layers below
`fusion_layer` belong to the text encoder, the others to the fusion encoder. To add a task, choose
its modules as `PRETRAIN` does; `names` turns any such choice of rows into trees and back.
"""

from dataclasses import dataclass

_Axes = tuple[int, ...] | None  # our order of the published axes; None: as they are
_Module = tuple[str, str, tuple[tuple[str, str, _Axes], ...]]  # our path, published name, leaves

DENSE = (("kernel", "weight", (1, 0)), ("bias", "bias", None))
CONVOLUTION = (("kernel", "weight", (2, 3, 1, 0)), ("bias", "bias", None))
NORM = (("scale", "weight", None), ("bias", "bias", None))
EMBEDDING = (("embedding", "weight", None),)
ARRAY = (("", "", None),)

_IMAGE: tuple[_Module, ...] = (
    ("image_encoder/cls_token", "visual_encoder.cls_token", ARRAY),
    ("image_encoder/pos_embed", "visual_encoder.pos_embed", ARRAY),
    ("image_encoder/patch_embed", "visual_encoder.patch_embed.proj", CONVOLUTION),
    ("image_encoder/blocks/norm1", "visual_encoder.blocks.{}.norm1", NORM),
    ("image_encoder/blocks/qkv", "visual_encoder.blocks.{}.attn.qkv", DENSE),
    ("image_encoder/blocks/proj", "visual_encoder.blocks.{}.attn.proj", DENSE),
    ("image_encoder/blocks/norm2", "visual_encoder.blocks.{}.norm2", NORM),
    ("image_encoder/blocks/fc1", "visual_encoder.blocks.{}.mlp.fc1", DENSE),
    ("image_encoder/blocks/fc2", "visual_encoder.blocks.{}.mlp.fc2", DENSE),
    ("image_encoder/norm", "visual_encoder.norm", NORM),
)
_EMBEDDINGS: tuple[_Module, ...] = (
    ("text_encoder/embeddings/word", "embeddings.word_embeddings", EMBEDDING),
    ("text_encoder/embeddings/position", "embeddings.position_embeddings", EMBEDDING),
    ("text_encoder/embeddings/type", "embeddings.token_type_embeddings", EMBEDDING),
    ("text_encoder/embeddings/norm", "embeddings.LayerNorm", NORM),
)
_TEXT_LAYER: tuple[_Module, ...] = (
    ("self_attention/query", "attention.self.query", DENSE),
    ("self_attention/key", "attention.self.key", DENSE),
    ("self_attention/value", "attention.self.value", DENSE),
    ("self_attention/out", "attention.output.dense", DENSE),
    ("self_attention/norm", "attention.output.LayerNorm", NORM),
    ("intermediate", "intermediate.dense", DENSE),
    ("output", "output.dense", DENSE),
    ("norm", "output.LayerNorm", NORM),
)
_FUSION_LAYER = (
    *_TEXT_LAYER,
    ("cross_attention/query", "crossattention.self.query", DENSE),
    ("cross_attention/key", "crossattention.self.key", DENSE),
    ("cross_attention/value", "crossattention.self.value", DENSE),
    ("cross_attention/out", "crossattention.output.dense", DENSE),
    ("cross_attention/norm", "crossattention.output.LayerNorm", NORM),
)
_MLM_HEAD: tuple[_Module, ...] = (
    ("mlm_head/transform", "text_encoder.cls.predictions.transform.dense", DENSE),
    ("mlm_head/norm", "text_encoder.cls.predictions.transform.LayerNorm", NORM),
    ("mlm_head/bias", "text_encoder.cls.predictions.bias", ARRAY),
)
_HEADS: tuple[_Module, ...] = (
    ("image_proj", "vision_proj", DENSE),
    ("text_proj", "text_proj", DENSE),
    ("itm_head", "itm_head", DENSE),
    ("temperature", "temp", ARRAY),
)
FUSED = "fusion_encoder"
BERT = "text_encoder.bert"


@dataclass(frozen=True)
class Row:
    """One line of the table: a leaf of our tree and the published parameter it comes from.

    Attributes:
        path: keys from the root of our tree to the array.
        name: the published name; `{}` stands for the layer number in a stack.
        axes: our order of the published axes, or None where the array stays as it is.
    """

    path: tuple[str, ...]
    name: str
    axes: _Axes


def _rows(*modules: _Module) -> tuple[Row, ...]:
    return tuple(
        Row(tuple(filter(None, (*path.split("/"), ours))), f"{name}.{theirs}".rstrip("."), axes)
        for path, name, leaves in modules
        for ours, theirs, axes in leaves
    )


def _bert(prefix: str) -> list[_Module]:
    """The modules of a BERT published under `prefix`; downstream models leave out `.bert`."""
    layer = f"{prefix}.encoder.layer.{{}}"
    return [
        *((path, f"{prefix}.{name}", leaves) for path, name, leaves in _EMBEDDINGS),
        *((f"text_encoder/layers/{p}", f"{layer}.{n}", leaves) for p, n, leaves in _TEXT_LAYER),
        *((f"{FUSED}/layers/{p}", f"{layer}.{n}", leaves) for p, n, leaves in _FUSION_LAYER),
    ]


PRETRAIN = _rows(*_IMAGE, *_bert(BERT), *_MLM_HEAD, *_HEADS)
# the parts with a momentum twin
PRETRAIN_TEACHER = tuple(r for r in PRETRAIN if r.path[0] not in ("itm_head", "temperature"))
