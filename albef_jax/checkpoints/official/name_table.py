"""The table of names: each parameter's path in our tree, its official name, its order of axes.

PyTorch keeps matrices `[out, in]` and convolutions `[out, in, h, w]`; we keep `[in, out]` and
`[h, w, in, out]`, and stack the layers of a tower on a leading axis. The names of a model
are those of its parts; `state_dict` turns them into trees and back.
"""

from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import Literal

from albef_jax.models.albef import STUDENT_ONLY
from albef_jax.models.task_models import MODELS, TaskModel

_Axes = tuple[int, ...] | None  # our order of the official axes; None: the same
_Module = tuple[str, str, tuple[tuple[str, str, _Axes], ...]]  # our path, official name, leaves
# Which of the numbered layers a stack holds: all; those before fusion; those from there on; of
# those, every other one.
Layers = Literal["all", "text", "fusion", "first of pair", "second of pair"]

DENSE = (("kernel", "weight", (1, 0)), ("bias", "bias", None))
CONVOLUTION = (("kernel", "weight", (2, 3, 1, 0)), ("bias", "bias", None))
NORM = (("scale", "weight", None), ("bias", "bias", None))
EMBEDDING = (("embedding", "weight", None),)
ARRAY = (("", "", None),)

_IMAGE: tuple[_Module, ...] = (
    ("cls_token", "cls_token", ARRAY),
    ("pos_embed", "pos_embed", ARRAY),
    ("patch_embed", "patch_embed.proj", CONVOLUTION),
    ("blocks/norm1", "blocks.{}.norm1", NORM),
    ("blocks/qkv", "blocks.{}.attn.qkv", DENSE),
    ("blocks/proj", "blocks.{}.attn.proj", DENSE),
    ("blocks/norm2", "blocks.{}.norm2", NORM),
    ("blocks/fc1", "blocks.{}.mlp.fc1", DENSE),
    ("blocks/fc2", "blocks.{}.mlp.fc2", DENSE),
    ("norm", "norm", NORM),
)
_EMBEDDINGS: tuple[_Module, ...] = (
    ("word", "word_embeddings", EMBEDDING),
    ("position", "position_embeddings", EMBEDDING),
    ("type", "token_type_embeddings", EMBEDDING),
    ("norm", "LayerNorm", NORM),
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
_CROSS_ATTENTION: tuple[_Module, ...] = (
    ("cross_attention/query", "crossattention.self.query", DENSE),
    ("cross_attention/out", "crossattention.output.dense", DENSE),
    ("cross_attention/norm", "crossattention.output.LayerNorm", NORM),
)
_KEYS_VALUES: tuple[_Module, ...] = (
    ("key", "crossattention.self.key", DENSE),
    ("value", "crossattention.self.value", DENSE),
)
_WORD_HEAD: tuple[_Module, ...] = (
    ("transform", "transform.dense", DENSE),
    ("norm", "transform.LayerNorm", NORM),
    ("bias", "bias", ARRAY),
)
_HEADS: dict[str, tuple[_Module, ...]] = {
    "image_proj": (("image_proj", "vision_proj", DENSE),),
    "text_proj": (("text_proj", "text_proj", DENSE),),
    "temperature": (("temperature", "temp", ARRAY),),
    "itm_head": (("itm_head", "itm_head", DENSE),),
    "cls_head": (("cls_head/hidden", "cls_head.0", DENSE), ("cls_head/out", "cls_head.2", DENSE)),
    "ta_head": (("ta_head", "ta_head", DENSE),),
}


@dataclass(frozen=True)
class ParameterName:
    """One line of the table: a leaf of our tree and an official parameter it comes from.

    Attributes:
        path: keys from the root of our tree to the array.
        name: the official name; `{}` stands for the layer number in a stack.
        axes: our order of the official axes, or None if it is the same.
        layers: the layers in the stack, or None without a stack.
        wins: for a second name of an array: it is used if the two differ.
    """

    path: tuple[str, ...]
    name: str
    axes: _Axes
    layers: Layers | None = None
    wins: bool = False


@dataclass(frozen=True)
class Table:
    """The names of one task's model.

    Attributes:
        rows: every leaf of the tree once.
        tied: second names of leaves that are in `rows` already.
        has_teacher: whether the official model has a momentum copy.
        queues: names of its queues and of what belongs to them.
    """

    rows: tuple[ParameterName, ...]
    tied: tuple[ParameterName, ...] = ()
    has_teacher: bool = True
    queues: tuple[str, ...] = ()

    def teacher(self, rows: Iterable[ParameterName]) -> tuple[ParameterName, ...]:
        """Those of `rows` that have a momentum twin."""
        return tuple(r for r in rows if self.has_teacher and r.path[0] not in STUDENT_ONLY)


def layer_numbers(layers: Layers, depth: int, fusion_layer: int) -> range:
    """The official numbers of a stack's layers."""
    start = 0 if layers in ("all", "text") else fusion_layer + (layers == "second of pair")
    step = 2 if layers.endswith("of pair") else 1
    return range(start, start + step * depth, step)


def stack_depth(layers: Layers, total: int, fusion_layer: int) -> int:
    """How many layers a stack has, at least one, of `total` numbered from 0."""
    if layers == "text":
        return fusion_layer
    left = total if layers == "all" else total - fusion_layer
    # rounded up, so that half a pair shows up as missing names
    return max(-(-left // 2) if layers.endswith("of pair") else left, 1)


def _rows(
    modules: tuple[_Module, ...],
    path: str = "",
    name: str = "",
    layers: Layers = "all",
    wins: bool = False,
) -> tuple[ParameterName, ...]:
    """Rows of modules whose paths and names start with `path` and `name`."""
    rows = []
    for ours, theirs, leaves in modules:
        for leaf, parameter, axes in leaves:
            keys = tuple(filter(None, (*path.split("/"), *ours.split("/"), leaf)))
            full = ".".join(filter(None, (name, theirs, parameter)))
            rows.append(ParameterName(keys, full, axes, layers if "{}" in full else None, wins))
    return tuple(rows)


def _layer(bert: str) -> str:
    return f"{bert}.encoder.layer.{{}}"


def _text(bert: str) -> tuple[ParameterName, ...]:
    embeddings = _rows(_EMBEDDINGS, "text_encoder/embeddings", f"{bert}.embeddings")
    return embeddings + _rows(_TEXT_LAYER, "text_encoder/layers", _layer(bert), "text")


def _fusion(bert: str, path: str, layers: Layers) -> tuple[ParameterName, ...]:
    own = _rows(_TEXT_LAYER + _CROSS_ATTENTION, path, _layer(bert), layers)
    return own + _rows(_KEYS_VALUES, f"{path}/cross_attention", _layer(bert), layers)


def _words(head: str, embeddings: str, official: str) -> Table:
    """A vocabulary head, which is tied to the word embeddings."""
    word = ParameterName(
        (*embeddings.split("/"), "word", "embedding"), f"{official}.decoder.weight", None
    )
    bias = ParameterName((*head.split("/"), "bias"), f"{official}.decoder.bias", None)
    return Table(_rows(_WORD_HEAD, head, official), tied=(word, bias))


def _pairs(bert: str) -> Table:
    """Fusion layers in pairs that share keys and values; the second's are used (LEDGER, NLVR)."""
    layer, root = _layer(bert), "pair_encoder/layers"
    own = _TEXT_LAYER + _CROSS_ATTENTION
    rows = (
        *_rows(own, f"{root}/first", layer, "first of pair"),
        *_rows(own, f"{root}/second", layer, "second of pair"),
        *_rows(_KEYS_VALUES, root, layer, "first of pair"),
    )
    return Table(rows, tied=_rows(_KEYS_VALUES, root, layer, "second of pair", wins=True))


_QUEUES = ("image_queue", "text_queue", "queue_ptr")
# What checkpoints of ours call what an official one keeps as queues.
QUEUE_NAMES = {
    "image_queue": "image",
    "text_queue": "text",
    "queue_ptr": "pointer",
    "idx_queue": "image_id",
}


def _part(part: str, bert: str) -> Table:
    """The names of one part of a model.

    Args:
        bert: what the official code calls the text encoder: a model without a vocabulary head
            leaves out `bert`.
    """
    tables = {
        "image_encoder": Table(_rows(_IMAGE, "image_encoder", "visual_encoder")),
        "text_encoder": Table(_text(bert)),
        "fusion_encoder": Table(_fusion(bert, "fusion_encoder/layers", "fusion")),
        "pair_encoder": _pairs(bert),
        "mlm_head": _words("mlm_head", "text_encoder/embeddings", "text_encoder.cls.predictions"),
        "answer_decoder": _answers(),
    }
    return tables.get(part) or Table(_rows(_HEADS[part]))


def _answers() -> Table:
    ours, official = "answer_decoder/embeddings", "text_decoder.cls.predictions"
    head = _words("answer_decoder/head", ours, official)
    bert = "text_decoder.bert"
    embeddings = _rows(_EMBEDDINGS, ours, f"{bert}.embeddings")
    layers = _fusion(bert, "answer_decoder/layers", "all")
    return Table(embeddings + layers + head.rows, tied=head.tied)


def _table(model: TaskModel) -> Table:
    bert = "text_encoder.bert" if "mlm_head" in model.parts else "text_encoder"
    parts = [_part(part, bert) for part in model.parts]
    ids = () if "mlm_head" in model.parts else ("idx_queue",)
    return Table(
        sum((part.rows for part in parts), ()),
        sum((part.tied for part in parts), ()),
        has_teacher="ta_head" not in model.parts,
        queues=(*_QUEUES, *ids) if "itm_head" in model.parts else (),
    )


# By model; grounding's is retrieval's.
_BY_PARTS = {model: _table(model) for model in dict.fromkeys(MODELS.values())}
TABLES = {name: _BY_PARTS[model] for name, model in MODELS.items()}
STEM = "visual_encoder.stem.conv_"


def table_of(task: str, stem: int = 0) -> Table:
    """The names of a task's model, with those of `stem` convolutions before the patch embedding.

    The official model has none: theirs are names of our own.
    """
    modules = tuple((f"stem/conv_{n}", f"{STEM}{n}", CONVOLUTION) for n in range(stem))
    official = TABLES[task]
    return replace(official, rows=(*_rows(modules, "image_encoder"), *official.rows))
