"""Parts of a model that are not trained: whole modules, or the first layers of a tower.

What is trained is a parameter tree of its own (`Frozen.trained`), without frozen modules; of a
tower whose first layers are frozen it has the later rows of the stacked layers. Gradients,
optimizer and teacher have only that; `completed` makes it a whole tree again.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from albef_jax.models.albef import Params, shared
from albef_jax.models.config import ModelConfig

# Modules whose first layers may be frozen alone: the name of their stacked layers.
STACKS = {"image_encoder": "blocks", "text_encoder": "layers", "fusion_encoder": "layers"}
# What comes after the layers, and is trained with the last of them.
AFTER = {"image_encoder": ("norm",)}


@dataclass(frozen=True)
class Frozen:
    """What is not trained.

    Attributes:
        modules: at the root of the parameter tree, frozen as a whole.
        layers: by a module of `STACKS`, how many of its first layers are frozen, with all that
            comes before them.
    """

    modules: tuple[str, ...] = ()
    layers: tuple[tuple[str, int], ...] = ()

    @staticmethod
    def of(parts: Iterable[tuple[str, int | None]]) -> "Frozen":
        """From modules, each with how many of its first layers are frozen; None for all of it."""
        parts = tuple(parts)
        modules = tuple(name for name, layers in parts if layers is None)
        return Frozen(modules, tuple((name, layers) for name, layers in parts if layers))

    def __bool__(self) -> bool:
        return bool(self.modules or self.layers)

    def trained(self, params: Params) -> Params:
        """The trained part of a parameter tree."""
        layers = dict(self.layers)
        trained = {
            name: _later(name, tree, layers[name]) if name in layers else tree
            for name, tree in params.items()
            if name not in self.modules
        }
        # Nothing is left of a tower that has only layers, all of them frozen.
        return {name: tree for name, tree in trained.items() if not _is_empty(tree)}

    def whole_teacher(self, teacher: Params, params: Params) -> Params:
        """A teacher's trained part with what is frozen of the student; empty if there is none.

        What else is missing stays missing.
        """
        if not teacher:
            return {}
        named = {*self.modules, *dict(self.layers)}
        students = {name: tree for name, tree in shared(params).items() if name in named}
        return {**teacher, **completed(teacher, students)}

    def model(self, model: ModelConfig) -> ModelConfig:
        """The model as a loss calls it: no gradient passes frozen layers, nor have they dropout."""
        whole = "text_encoder" in self.modules
        return replace(
            model,
            frozen_image_layers=self.first_layers("image_encoder"),
            frozen_text_layers=model.text_depth if whole else self.first_layers("text_encoder"),
        )

    def first_layers(self, module: str) -> int:
        """How many of a module's layers are frozen alone."""
        return dict(self.layers).get(module, 0)


NOTHING = Frozen()


def _later(module: str, tree: Params, frozen: int) -> Params:
    """A tower without its first layers and what comes before them."""
    stack = STACKS[module]
    after = {name: tree[name] for name in AFTER.get(module, ())}
    if frozen == jax.tree.leaves(tree[stack])[0].shape[0]:
        return after
    return {stack: jax.tree.map(lambda leaf: _rows(leaf, frozen), tree[stack]), **after}


def _is_empty(tree: Any) -> bool:
    return isinstance(tree, Mapping) and not tree


def _rows(leaf: Any, first: int) -> Any:
    """Rows from `first` on, also of an array that is only described."""
    if isinstance(leaf, jax.ShapeDtypeStruct):
        return jax.ShapeDtypeStruct((leaf.shape[0] - first, *leaf.shape[1:]), leaf.dtype)
    return leaf[first:]


def completed(part: Mapping[str, Any], whole: Mapping[str, Any]) -> Params:
    """The tree `whole` with the arrays of `part` in their places.

    An array of `part` with fewer rows than in `whole` takes the place of the last ones.
    """
    return {name: _put(part[name], tree) if name in part else tree for name, tree in whole.items()}


def _put(part: Any, whole: Any) -> Any:
    if isinstance(whole, Mapping):
        return completed(part, whole)
    first = np.shape(whole)[0] - np.shape(part)[0] if np.ndim(whole) else 0
    if not first:
        return part
    xp = np if isinstance(part, np.ndarray) else jnp
    return xp.concatenate([whole[:first], part])
