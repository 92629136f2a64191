"""Takes a ViT out of an ONNX file, for `init.vision`: DINOv2, DeiT, or a model with heads on one.

PyTorch's exporter keeps the names of biases, norms and layer scales, but writes matrices and
resized position embeddings as constants without names. They are found in the graph: a matrix by
the bias that is added to its product, the positions by what is added to the tokens. Layer scales
become part of the matrices before them. The number of attention heads is not in the file: set
`model.image_heads` as it is there.

Our image encoder normalises pixels by CLIP's mean and deviation. With `--mean` and `--std`, those
the model was trained with, the difference becomes part of the patch embedding, exactly.

Examples:
    python -m tools.vit_from_onnx model.onnx vit.safetensors
    python -m tools.vit_from_onnx model.onnx vit.safetensors \\
        --mean 0.485 0.456 0.406 --std 0.229 0.224 0.225
"""

import argparse
import math
import re
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from albef_jax.checkpoints.init_from.unimodal_names import image_tree, timm_state
from albef_jax.checkpoints.official.weights_file import OfficialFile, write_weights
from albef_jax.errors import CheckpointError
from albef_jax.models.primitives import MEAN, STD
from albef_jax.system.optional import PackageError, needed
from albef_jax.system.terminal import print_anything

State = dict[str, np.ndarray]

_CLASS_TOKEN = re.compile(r"(?:|.*?\.)(?=(?:embeddings\.)?cls_token$)")
_PATCHES = "patch_embed.proj.weight"
_PATCHES_BIAS = "patch_embed.proj.bias"


class Graph:
    """The nodes and the constants of an ONNX graph, by the values that they make.

    Attributes:
        constants: arrays by name; parameters have the names of the exported model.
    """

    def __init__(self, path: Path):
        """Read a file.

        Raises:
            CheckpointError: not an ONNX file, or its data is missing.
            PackageError: the package `onnx` is missing.
        """
        onnx = needed("onnx", "reading ONNX files", "onnx")
        try:
            self._graph = onnx.load(path).graph
            self.constants: State = {
                tensor.name: onnx.numpy_helper.to_array(tensor)
                for tensor in self._graph.initializer
            }
        except FileNotFoundError as error:
            raise CheckpointError(f"{error.filename or path}: no such file") from error
        except Exception as error:  # protobuf and onnx raise errors of many types
            raise CheckpointError(f"{path}: not an ONNX file ({error})") from error
        self._nodes = {value: node for node in self._graph.node for value in node.output}
        for node in self._graph.node:  # one array for equal parameters
            if node.op_type == "Identity" and node.input[0] in self.constants:
                self.constants[node.output[0]] = self.constants[node.input[0]]

    def nodes(self, kind: str) -> Iterator[Any]:
        """All nodes of an operation, "Add"."""
        return (node for node in self._graph.node if node.op_type == kind)

    def maker(self, value: str, kind: str) -> Any:
        """The node that computes `value` if it is of the given operation, else None."""
        node = self._nodes.get(value)
        return node if node is not None and node.op_type == kind else None

    def origins(self, value: str) -> set[str]:
        """The constants and inputs from which `value` is computed, but for mere shapes."""
        found, seen, left = set(), set(), [value]
        while left:
            name = left.pop()
            if name in seen or not name:
                continue
            seen.add(name)
            if name in self.constants or name not in self._nodes:
                found.add(name)
            elif self._nodes[name].op_type != "Shape":
                left += self._nodes[name].input
        return found


def read_vit(graph: Graph) -> State:
    """The ViT of a graph under timm's names, float32, without layer scales.

    Raises:
        CheckpointError: none or several, or one with parameters that our model lacks.
    """
    prefix = _prefix(graph.constants)
    state = {
        name.removeprefix(prefix): array
        for name, array in (graph.constants | _matrices(graph)).items()
        if name.startswith(prefix)
    }
    if not any(name.endswith(("position_embeddings", "pos_embed")) for name in state):
        state["pos_embed"] = _positions(graph, prefix)
    state = {name: np.asarray(array, np.float32) for name, array in timm_state(state).items()}
    _, unused = image_tree(state)
    return {name: array for name, array in state.items() if name not in unused}


def for_our_pixels(state: State, mean: np.ndarray, std: np.ndarray) -> State:
    """The same ViT for pixels with our normalisation.

    Args:
        state: under timm's names, for pixels in [0, 1] less `mean` `[3]`, divided by `std` `[3]`.
    """
    weight = state[_PATCHES].astype(np.float64)
    bias = state[_PATCHES_BIAS] + np.einsum("dchw,c->d", weight, (np.array(MEAN) - mean) / std)
    weight = weight * (np.array(STD) / std)[:, None, None]
    return state | {
        _PATCHES: weight.astype(np.float32),
        _PATCHES_BIAS: bias.astype(np.float32),
    }


def _prefix(constants: State) -> str:
    """What the names of the ViT begin with, by its class token."""
    found = sorted({match[0] for match in map(_CLASS_TOKEN.match, constants) if match})
    if len(found) != 1:
        what = f"{len(found)} ViTs, {', '.join(found)}" if found else "no ViT with a class token"
        raise CheckpointError(f"{what} among its {len(constants)} constants")
    return found[0]


def _matrices(graph: Graph) -> State:
    """Weights `[out, in]` of linear layers that have a named bias, by the name of the weight."""
    found = {}
    for add in graph.nodes("Add"):
        for bias, value in (add.input, reversed(add.input)):
            name = bias.removesuffix("bias") + "weight"
            product = graph.maker(value, "MatMul")
            if not bias.endswith(".bias") or name in graph.constants or product is None:
                continue
            if bias in graph.constants and product.input[1] in graph.constants:
                found[name] = graph.constants[product.input[1]].T
    return found


def _positions(graph: Graph, prefix: str) -> np.ndarray:
    """The position embedding `[1, 1 + patches, D]`, before the graph resizes it."""
    token = next(name for name in graph.constants if _CLASS_TOKEN.match(name))
    width = graph.constants[token].shape[-1]
    for add in graph.nodes("Add"):
        for tokens, value in (add.input, reversed(add.input)):
            if token not in graph.origins(tokens) or token in (origins := graph.origins(value)):
                continue
            parts = [graph.constants[name] for name in origins if name in graph.constants]
            parts = [part for part in parts if part.ndim == 3 and part.shape[::2] == (1, width)]
            patches = sum(part.shape[1] for part in parts) - 1
            # the class token's row may be apart from the others
            if len(parts) in (1, 2) and patches > 0 and math.isqrt(patches) ** 2 == patches:
                return np.concatenate(sorted(parts, key=lambda part: part.shape[1]), axis=1)
        if any(token in graph.origins(value) for value in add.input):
            break
    raise CheckpointError(f"{prefix or 'ViT'}: no position embedding is added to its tokens")


def main() -> None:
    """Convert, and print the sizes that the model needs."""
    print_anything()
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("source", type=Path, help="an ONNX file")
    parser.add_argument("target", type=Path, help="a .safetensors file, which is replaced")
    parser.add_argument("--mean", nargs=3, type=float, help="of the red, green and blue pixels")
    parser.add_argument("--std", nargs=3, type=float, help="their standard deviations")
    given = parser.parse_args()
    if (given.mean is None) != (given.std is None):
        parser.error("give both of --mean and --std, or neither")
    if given.target.suffix != ".safetensors":
        parser.error(f"{given.target}: the name must end in .safetensors")
    try:
        state = read_vit(Graph(given.source))
        if given.mean:
            state = for_our_pixels(state, np.array(given.mean), np.array(given.std))
        write_weights(given.target, OfficialFile(state), ".safetensors")
    except (CheckpointError, OSError, PackageError) as error:
        sys.exit(f"error: {given.source}: {error}")
    width, _, patch, _ = state[_PATCHES].shape
    depth = sum(name.endswith("norm1.weight") for name in state)
    side = math.isqrt(state["pos_embed"].shape[1] - 1)
    print(
        f"{given.target}: image_width={width} image_depth={depth} patch_size={patch}, positions "
        f"for images of {side * patch} pixels"
    )


if __name__ == "__main__":
    main()
