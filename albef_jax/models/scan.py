"""One way to stack equal layers: `nn.scan` over a leading layer axis of their parameters.

A scanned stack compiles several times faster than an unrolled one (`benchmarks.startup` measures
it); `unroll` and the recomputation of the configuration apply here, and nowhere else.
"""

import jax
from flax import linen as nn
from jax.sharding import PartitionSpec

from albef_jax.models.config import ModelConfig, Remat


def recomputed(layer: type[nn.Module], remat: Remat, looped: bool) -> type[nn.Module]:
    """The layer, keeping less than all its activations for the backward pass.

    Args:
        looped: whether it runs in a loop. Elsewhere XLA would find the same computation in the
            forward pass, and keep its result after all.
    """
    if remat == "none":
        return layer
    policies = {"dots": jax.checkpoint_policies.dots_with_no_batch_dims_saveable, "full": None}
    return nn.remat(layer, prevent_cse=not looped, policy=policies[remat])


def _rows_stay(x: jax.Array) -> jax.Array:
    """Under a mesh, keep rows of the batch cut over all devices: activations are not to move."""
    mesh = jax.sharding.get_abstract_mesh()
    if mesh.empty or x.shape[0] % mesh.size:
        return x
    return jax.lax.with_sharding_constraint(x, PartitionSpec(mesh.axis_names))


def stack(
    layer: type[nn.Module],
    config: ModelConfig,
    depth: int,
    remat: Remat,
    collect: bool = False,
    inputs: int = 0,
    layer_inputs: int = 0,
) -> type[nn.Module]:
    """The module class of `depth` layers in sequence.

    Args:
        layer: a module whose call takes the hidden state, `inputs` further arguments, the same for
            every layer, and `layer_inputs` with one entry a layer on their first axis (or None),
            and returns the next hidden state.
        remat: what a layer's backward pass computes again.
        collect: whether calling the stack also returns every layer's output `[L, ...]`.

    Returns:
        A module class built and called like `layer`; the call returns `(x, outputs or None)`.
    """

    class Layer(layer):  # type: ignore[valid-type]
        def __call__(self, x, *args):
            x = _rows_stay(super().__call__(_rows_stay(x), *args))
            return x, (x if collect else None)

    return nn.scan(
        recomputed(Layer, remat, looped=config.unroll < depth),
        variable_axes={"params": 0},
        split_rngs={"params": True, "dropout": True},
        in_axes=(*(nn.broadcast,) * inputs, *(0,) * layer_inputs),
        length=depth,
        unroll=min(config.unroll, depth),
    )
