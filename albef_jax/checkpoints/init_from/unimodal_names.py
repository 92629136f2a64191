"""Converts the state dicts of public BERT and ViT checkpoints to our parameter trees.

The official model uses the names of `transformers` for its text encoder and those of timm for its
image encoder, so `name_table` applies here, too. Other names are changed to these first, and layer
scales become part of the matrices before them. An encoder parameter that our model lacks, such as
a register token, is an error, since the encoder would compute something else without it; heads and
poolers are ignored.
"""

import re
from collections.abc import Iterable, Mapping
from dataclasses import replace
from typing import Any

import numpy as np

from albef_jax.checkpoints.official.name_table import TABLES, ParameterName
from albef_jax.errors import CheckpointError

State = dict[str, np.ndarray]
Tree = dict[str, Any]

_LISTED = 12  # names in an error message


def _official(part: str, prefix: str) -> tuple[ParameterName, ...]:
    """The rows of a part of the pre-training model, without that part in path and name."""
    rows = (row for row in TABLES["pretrain"].rows if row.path[0] == part)
    return tuple(replace(r, path=r.path[1:], name=r.name.removeprefix(prefix)) for r in rows)


_TEXT = _official("text_encoder", "text_encoder.")
_HEAD = _official("mlm_head", "text_encoder.")
_IMAGE = _official("image_encoder", "visual_encoder.")

_WORDS = "bert.embeddings.word_embeddings.weight"
_HEAD_BIAS = "cls.predictions.bias"
# Second names of word embeddings and head bias.
_TIED = {"cls.predictions.decoder.weight": _WORDS, "cls.predictions.decoder.bias": _HEAD_BIAS}
# Buffers that old files keep beside the parameters.
_NUMBERS = ("bert.embeddings.position_ids", "bert.embeddings.token_type_ids")

# The names of ViT, DeiT and DINOv2 in `transformers`, in the order in which they are changed to
# timm's.
_TO_TIMM = tuple(
    (re.compile(pattern), name)
    for pattern, name in (
        (r"^(?:vit|deit|dinov2)\.", ""),
        (r"^embeddings\.cls_token$", "cls_token"),
        (r"^embeddings\.mask_token$", "mask_token"),
        (r"^embeddings\.distillation_token$", "dist_token"),
        (r"^(?:embeddings\.)?register_tokens$", "reg_token"),
        (r"^embeddings\.position_embeddings$", "pos_embed"),
        (r"^embeddings\.patch_embeddings\.projection\.", "patch_embed.proj."),
        (r"^encoder\.layer\.", "blocks."),
        (r"^(blocks\.\d+)\.attention\.attention\.", r"\1.attn."),
        (r"^(blocks\.\d+)\.attention\.output\.dense\.", r"\1.attn.proj."),
        (r"^(blocks\.\d+)\.intermediate\.dense\.", r"\1.mlp.fc1."),
        (r"^(blocks\.\d+)\.output\.dense\.", r"\1.mlp.fc2."),
        (r"^(blocks\.\d+)\.layernorm_before\.", r"\1.norm1."),
        (r"^(blocks\.\d+)\.layernorm_after\.", r"\1.norm2."),
        (r"^(blocks\.\d+)\.layer_scale([12])\.lambda1$", r"\1.ls\2.gamma"),
        (r"^layernorm\.", "norm."),
    )
)
_SEPARATE = tuple(f"attn.{part}" for part in ("query", "key", "value"))
# Layer scales of a block, and the layers whose outputs they multiply.
_SCALES = {"ls1.gamma": "attn.proj", "ls2.gamma": "mlp.fc2"}


def text_trees(state: Mapping[str, np.ndarray]) -> tuple[Tree, State]:
    """`embeddings`, `layers` `[L, ...]` and, if there is a vocabulary head, `head`; then the rest.

    Raises:
        CheckpointError: not a BERT, or one with parameters that ours lacks.
    """
    state = {_bert_name(name): array for name, array in state.items()}
    state = {name: array for name, array in state.items() if name not in _NUMBERS}
    rows = _TEXT
    if any(name.startswith("cls.predictions.transform.") for name in state):
        rows += tuple(replace(row, path=("head", *row.path)) for row in _HEAD)
        _untie(state)
    return _build("BERT", rows, state, ("bert.embeddings.", "bert.encoder."))


def image_tree(state: Mapping[str, np.ndarray]) -> tuple[Tree, State]:
    """The image encoder's tree, with as many positions as there are patches, and the rest.

    The positions of a distillation token are left out. Missing biases of queries, keys and values
    are zeros.

    Raises:
        CheckpointError: not a ViT, or one with parameters that ours lacks.
    """
    state = timm_state(state)
    if "dist_token" in state and "pos_embed" in state:
        state["pos_embed"] = np.delete(state["pos_embed"], 1, axis=1)
    inside = ("blocks.", "patch_embed.", "embeddings.", "encoder.", "norm_pre.", "reg_token")
    return _build("ViT", _IMAGE, state, inside)


def timm_state(state: Mapping[str, np.ndarray]) -> State:
    """A ViT's parameters under timm's names, without layer scales.

    Queries, keys and values are joined. A layer scale is multiplied into weights `[D, in]` and
    bias `[D]` of the layer before it, which changes nothing of what the block computes.

    Raises:
        CheckpointError: a layer scale of another shape than the layer's output.
    """
    state = {_timm_name(name): array for name, array in state.items()}
    for layer in _layer_numbers("blocks.{}", state):
        _join(f"blocks.{layer}.", state)
        _fold_scales(f"blocks.{layer}.", state)
    return state


def _bert_name(name: str) -> str:
    name = name if name.startswith(("bert.", "cls.")) else f"bert.{name}"
    if name.endswith(".LayerNorm.gamma"):
        return name.removesuffix("gamma") + "weight"
    return name.removesuffix("beta") + "bias" if name.endswith(".LayerNorm.beta") else name


def _timm_name(name: str) -> str:
    for pattern, replacement in _TO_TIMM:
        name = pattern.sub(replacement, name)
    return name


def _untie(state: State) -> None:
    """Remove second names, whose arrays must equal those of the first names."""
    for second, first in _TIED.items():
        if second not in state:
            continue
        array = state.pop(second)
        if not np.array_equal(state.setdefault(first, array), array):
            raise CheckpointError(
                f"{second} differs from {first}, to which our model ties it; save the encoder alone"
            )


def _join(block: str, state: State) -> None:
    """Join separate query, key and value; a missing bias becomes zeros."""
    names = [f"{block}{part}" for part in _SEPARATE]
    if all(f"{name}.weight" in state for name in names):
        weights = [state.pop(f"{name}.weight") for name in names]
        biases = [
            state.pop(f"{name}.bias", np.zeros(len(weight), np.float32))
            for name, weight in zip(names, weights, strict=True)
        ]
        state[f"{block}attn.qkv.weight"] = np.concatenate(weights)
        state[f"{block}attn.qkv.bias"] = np.concatenate(biases)
    elif f"{block}attn.qkv.weight" in state:
        width = len(state[f"{block}attn.qkv.weight"])
        state.setdefault(f"{block}attn.qkv.bias", np.zeros(width, np.float32))


def _fold_scales(block: str, state: State) -> None:
    """Multiply the block's layer scales into the layers before them."""
    for scale, layer in _SCALES.items():
        weight, bias = f"{block}{layer}.weight", f"{block}{layer}.bias"
        if f"{block}{scale}" not in state or not {weight, bias} <= state.keys():
            continue
        gamma = state.pop(f"{block}{scale}").astype(np.float32)
        if not gamma.shape == state[bias].shape == state[weight].shape[:1]:
            raise CheckpointError(
                f"{block}{scale}: shape {gamma.shape} for an output of {state[weight].shape[:1]}"
            )
        state[weight] = gamma[:, None] * state[weight]
        state[bias] = gamma * state[bias]


def _build(
    kind: str, rows: Iterable[ParameterName], state: State, inside: tuple[str, ...]
) -> tuple[Tree, State]:
    """The tree of `rows`, and the parameters in no row, which may not be `inside` the encoder."""
    names = {row: _names_of(row, state) for row in rows}
    used = {name for found in names.values() for name in found}
    if missing := sorted(used - state.keys()):
        raise CheckpointError(
            f"no checkpoint of a {kind}: it lacks {_some(missing)}; its names are {_some([*state])}"
        )
    rest = {name: array for name, array in state.items() if name not in used}
    if odd := [name for name in rest if name.startswith(inside)]:
        raise CheckpointError(f"another kind of {kind}: our model has no place for {_some(odd)}")
    tree: Tree = {}
    for row, found in names.items():
        layers = [_ours(state[name], name, row) for name in found]
        if len({layer.shape for layer in layers}) > 1:
            raise CheckpointError(f"{row.name}: the layers differ in shape")
        node = tree
        for key in row.path[:-1]:
            node = node.setdefault(key, {})
        node[row.path[-1]] = np.stack(layers) if row.layers else layers[0]
    return tree, rest


def _names_of(row: ParameterName, state: State) -> list[str]:
    if row.layers is None:
        return [row.name]
    return [row.name.format(n) for n in _layer_numbers(row.name.partition("{}")[0] + "{}", state)]


def _layer_numbers(stack: str, state: Iterable[str]) -> range:
    """The numbers of the layers called `stack`, at least one."""
    pattern = re.compile(re.escape(stack).replace(r"\{\}", r"(\d+)") + r"\.")
    found = {match[1] for match in map(pattern.match, state) if match}
    # a count, so that a gap in the numbers shows up as missing names
    return range(max(len(found), 1))


def _ours(array: np.ndarray, name: str, row: ParameterName) -> np.ndarray:
    if row.axes and array.ndim != len(row.axes):
        raise CheckpointError(f"{name}: shape {array.shape}; it should have {len(row.axes)} axes")
    return np.array(np.transpose(array, row.axes) if row.axes else array, np.float32, order="C")


def _some(names: list[str]) -> str:
    more = f" and {len(names) - _LISTED} more" if len(names) > _LISTED else ""
    return ", ".join(names[:_LISTED]) + more
