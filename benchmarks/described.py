"""Compiles the training step for devices that are described and not there."""

import os
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
from jax.experimental import topologies
from jax.sharding import Mesh

from albef_jax.distributed.mesh import batch_sharding, make_mesh, state_shardings
from albef_jax.losses.pretraining import PretrainingLoss, Recipe
from albef_jax.models.config import ModelConfig
from albef_jax.train import xla_flags
from albef_jax.train.optimizer import adamw
from albef_jax.train.state import init_state
from albef_jax.train.step import StepConfig, compile_step
from benchmarks.devices import DEVICES, description, topology

# Nothing can be timed here, so products are left to cuBLAS.
XLA_FLAGS = "--xla_gpu_autotune_level=0 --xla_gpu_enable_triton_gemm=false"
# Else libtpu asks its host who it is, and waits; and refuses a second process, as of a real chip.
_ALONE = {
    "ALLOW_MULTIPLE_LIBTPU_LOAD": "1",
    "TPU_SKIP_MDS_QUERY": "1",
    "TPU_WORKER_HOSTNAMES": "localhost",
    "TPU_ACCELERATOR_TYPE": "v5litepod-4",
}


def described_mesh(kind: str, count: int = 1, fsdp: int = 1, slices: int = 1) -> Mesh:
    """A mesh of devices that are only described; sets what their compiler reads of the environment.

    Args:
        kind: one of `benchmarks.devices.DEVICES`.
        count: how many; more than a host has are spread over hosts.
        slices: of TPUs, how many slices they are cut into.
    """
    found: Any
    if DEVICES[kind].slices:
        os.environ.update(_ALONE)
        found = topologies.get_topology_desc(
            platform="tpu", topology_name=topology(kind, count // slices), num_slices=slices
        ).devices
    else:
        given = os.environ.get("XLA_FLAGS", "")
        os.environ["XLA_FLAGS"] = f"{XLA_FLAGS} {given}".strip()
        found = topologies.get_topology_desc(
            kind, "cuda", target_config=description(kind), topology=topology(kind, count)
        ).devices
    ordered: list[Any] = sorted(found, key=lambda device: device.process_index)[:count]
    return make_mesh(fsdp, slices, ordered)


def step_config(model: ModelConfig, group: int) -> StepConfig[PretrainingLoss]:
    """The official pre-training; the rates are numbers, which costs the same as schedules."""
    return StepConfig(
        loss=PretrainingLoss(model, Recipe(contrast_group=group)),
        optimizer=adamw(lambda step: jnp.float32(1e-4), 0.02),
        learning_rate=lambda step: jnp.float32(1e-4),
        alpha=lambda step: jnp.float32(0.4),
    )


def compiled_step(
    config: StepConfig[PretrainingLoss], mesh: Mesh, batch: int, length: int, queue: int
) -> jax.stages.Compiled:
    """The step's program for the devices of a mesh.

    Args:
        batch: pairs over all devices.
        length: tokens of a caption.
    """
    state = jax.eval_shape(
        partial(init_state, config.loss.model, config.optimizer, queue), jax.random.key(0)
    )
    placed = jax.tree.map(
        lambda leaf, sharding: jax.ShapeDtypeStruct(leaf.shape, leaf.dtype, sharding=sharding),
        state,
        state_shardings(mesh, state),
    )
    rows, side = batch_sharding(mesh), config.loss.model.image_size
    ids = jax.ShapeDtypeStruct((batch, length), jnp.int32, sharding=rows)
    image = jax.ShapeDtypeStruct((batch, side, side, 3), jnp.uint8, sharding=rows)
    inputs = {"image": image, "text_ids": ids, "text_mask": ids}
    device = mesh.devices.flat[0]
    platform = "gpu" if device.platform == "cuda" else device.platform
    chosen = xla_flags.flags(platform, mesh.size, os.environ)
    return compile_step(config, mesh, state, chosen).lower(placed, inputs).compile()
