"""How much memory a step takes on each device, estimated by tracing alone.

State and gradients follow from shapes and shardings. What the forward pass keeps for the backward
pass is asked of JAX: the function that `jax.vjp` returns is a tree of just these arrays. XLA keeps
less where it fuses, and more in passing, so the estimate is compared with its own figure in
`benchmarks.train_step`.
"""

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh

from albef_jax.distributed.mesh import state_shardings
from albef_jax.losses import pretraining
from albef_jax.losses.masked_lm import MaskedText
from albef_jax.losses.matching import draw_noise
from albef_jax.losses.pretraining import Inputs
from albef_jax.train.state import TrainState
from albef_jax.train.step import Part, StepConfig, student_loss


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


def of_pretraining(
    config: StepConfig, mesh: Mesh, abstract_state: TrainState, batch_size: int, length: int
) -> Memory:
    """The memory of a pre-training step.

    Args:
        batch_size: pairs, over all devices.
        length: T.
    """
    shardings = state_shardings(mesh, abstract_state)
    gradients = shard_bytes(abstract_state.params, shardings.params)
    group = config.recipe.contrast_group
    groups_here = batch_size / (group * mesh.size * config.microbatches)
    return Memory(
        state=shard_bytes(abstract_state, shardings),
        gradients=gradients * (1 if config.microbatches == 1 else 2),
        kept=round(_kept_for_a_group(config, abstract_state, length) * groups_here),
    )


def _kept_for_a_group(config: StepConfig, state: TrainState, length: int) -> int:
    """Activations of one contrast group; nothing is computed."""
    size, model = config.recipe.contrast_group, config.model

    def shaped(*shape: int, dtype: Any = jnp.int32) -> jax.ShapeDtypeStruct:
        return jax.ShapeDtypeStruct(shape, dtype)

    ids = shaped(size, length)
    image = shaped(size, model.image_size, model.image_size, 3, dtype=jnp.float32)
    masked: Any = MaskedText(ids, shaped(size, length, dtype=jnp.bool_))  # type: ignore[arg-type]
    inputs: Any = Inputs(image, ids, ids, masked)  # type: ignore[arg-type]
    positions = jax.eval_shape(partial(pretraining.pack_masked, config.recipe), inputs)
    noise = jax.eval_shape(lambda key: draw_noise(key, 1, size), state.key)
    forward = partial(pretraining.teacher_forward, model)
    teacher = jax.eval_shape(forward, state.teacher, inputs, positions, None)

    def loss(params: Any, teacher: Any, queue: Any, part: Part, key: jax.Array) -> jax.Array:
        return student_loss(config, params, teacher, queue, jnp.float32(0), part, key)[0]

    part = Part(inputs, positions, noise)
    return kept_bytes(loss, state.params, teacher, state.queue, part, state.key)
