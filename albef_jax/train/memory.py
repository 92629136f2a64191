"""How much memory a step takes on each device, estimated by tracing alone.

State and gradients follow from shapes and shardings. What the forward pass keeps for the backward
pass is asked of JAX: the function that `jax.vjp` returns is a tree of just these arrays. XLA keeps
less where it fuses, and more in passing, so the estimate is compared with its own figure in
`benchmarks.train_step`.
"""

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import AbstractMesh, Mesh

from albef_jax.distributed.mesh import state_shardings
from albef_jax.losses.base import Loss, LossInputs, Random
from albef_jax.models.frozen import Frozen
from albef_jax.train.state import TrainState
from albef_jax.train.step import StepConfig, judge, prepared, step_keys


@dataclass(frozen=True)
class Memory:
    """Bytes on each device.

    Attributes:
        state: parameters, teacher, optimizer, queues.
        gradients: of the parameters; twice where they are summed over parts of a batch.
        kept: activations from the forward pass for the backward pass.
    """

    state: int
    gradients: int
    kept: int

    @property
    def total(self) -> int:
        """All of it."""
        return self.state + self.gradients + self.kept

    def __str__(self) -> str:
        parts = {"state": self.state, "gradients": self.gradients, "activations": self.kept}
        listed = ", ".join(f"{name} {size / 2**30:.2f}" for name, size in parts.items())
        return f"about {self.total / 2**30:.2f} GiB a device ({listed})"


def _bytes(shape: tuple[int, ...], dtype: Any) -> int:
    if jax.dtypes.issubdtype(dtype, jax.dtypes.prng_key):
        return 16
    return int(np.prod(shape)) * np.dtype(dtype).itemsize


def shard_bytes(abstract: Any, shardings: Any) -> int:
    """Of a tree of arrays, what lies on one device."""
    sizes = jax.tree.map(
        lambda leaf, sharding: _bytes(sharding.shard_shape(leaf.shape), leaf.dtype),
        abstract,
        shardings,
    )
    return sum(jax.tree.leaves(sizes))


def kept_bytes(loss: Callable, params: Any, *inputs: Any) -> int:
    """What the backward pass of `loss(params, *inputs)` needs besides parameters and inputs.

    Args:
        params, inputs: trees of `jax.ShapeDtypeStruct`.
    """

    def backward(params: Any, *inputs: Any) -> Any:
        return jax.vjp(lambda params: loss(params, *inputs), params)[1]

    def kinds(tree: Any) -> Counter:
        return Counter((leaf.shape, leaf.dtype) for leaf in jax.tree.leaves(tree))

    kept = kinds(jax.eval_shape(backward, params, *inputs)) - kinds((params, inputs))
    return sum(count * _bytes(*kind) for kind, count in kept.items())


def estimate(
    config: StepConfig,
    mesh: Mesh | AbstractMesh,
    abstract_state: TrainState,
    batch: dict[str, Any],
) -> Memory:
    """The memory of a task's step.

    Args:
        mesh: of devices that are there, or of as many that are not.
        batch: `jax.ShapeDtypeStruct` of a whole batch, over all devices; as for `train_step`.
    """
    shardings = state_shardings(mesh, abstract_state)
    trained = config.frozen.trained(abstract_state.params)
    gradients = shard_bytes(trained, state_shardings(mesh, trained))
    group = config.loss.contrast_group
    groups_here = batch["text_ids"].shape[0] / (group * mesh.size * config.microbatches)
    return Memory(
        state=shard_bytes(abstract_state, shardings),
        gradients=gradients * (1 if config.microbatches == 1 else 2),
        kept=round(_kept_for_a_group(config, abstract_state, batch) * groups_here),
    )


def _kept_for_a_group(config: StepConfig, state: TrainState, batch: dict[str, Any]) -> int:
    """Activations of one contrast group; nothing is computed."""

    def cut(leaf: jax.ShapeDtypeStruct) -> jax.ShapeDtypeStruct:
        return jax.ShapeDtypeStruct((config.loss.contrast_group, *leaf.shape[1:]), leaf.dtype)

    rows = jax.tree.map(cut, batch)
    leaves, tree = jax.tree.flatten((state.params, state.teacher, state.queue, state.key, rows))
    kinds = tuple(jax.ShapeDtypeStruct(leaf.shape, leaf.dtype) for leaf in leaves)
    return _kept(config.loss, config.frozen, tree, kinds)


# Settings are chosen, planned and reported by it; a trace takes seconds.
@lru_cache(maxsize=64)
def _kept(
    loss: Loss, frozen: Frozen, tree: jax.tree_util.PyTreeDef, leaves: tuple[Any, ...]
) -> int:
    params, teacher, queue, key, rows = jax.tree.unflatten(tree, leaves)

    def inputs(key: jax.Array, teacher: Any, queue: Any, batch: dict[str, Any]) -> LossInputs:
        keys = step_keys(loss, key, jnp.int32(0))
        batch = prepared(batch)
        decisions = loss.decide(keys, batch)
        random = Random(decisions, keys["student_dropout"], None)
        totals = loss.totals(batch, decisions)
        return LossInputs(batch, teacher, queue, jnp.float32(0), random, totals)

    given = jax.eval_shape(inputs, key, teacher, queue, rows)
    trained = frozen.trained(params)
    # A tree given twice would be taken off twice.
    rest = params if frozen else {}

    def objective(trained: Any, rest: Any, given: LossInputs) -> jax.Array:
        return judge(loss, frozen, trained, rest or trained, given).metrics["loss"]

    return kept_bytes(objective, trained, rest, given)
