"""Compiles for an H100 that is described and not there; needs jax's CUDA wheels.

Takes a JSON list of pairs: what to compile, `encoder` (the image encoder and its gradient, seconds)
or `step` (all of pre-training, a minute), and changes of the model's configuration. Prints a JSON
list: for each what its program calls, or what went wrong.
"""

import json
import os
import re
import sys
from dataclasses import replace
from functools import partial
from pathlib import Path

os.environ["JAX_PLATFORMS"] = "cpu"
# Nothing can be timed: products are left to cuBLAS.
os.environ["XLA_FLAGS"] = "--xla_gpu_autotune_level=0 --xla_gpu_enable_triton_gemm=false"

import jax
import jax.numpy as jnp
import numpy as np
from jax.experimental import topologies
from jax.sharding import AxisType, Mesh, NamedSharding, PartitionSpec

from albef_jax.models import albef
from albef_jax.models.sizes import ModelConfig
from albef_jax.objectives.pretraining import Recipe
from albef_jax.train.mesh import batch_sharding, state_shardings
from albef_jax.train.optimizer import adamw
from albef_jax.train.state import init_state
from albef_jax.train.step import StepConfig, compile_step

# As many image tokens and as wide heads as in the published model, and little else.
MODEL = ModelConfig(
    image_width=64,
    image_depth=2,
    image_heads=1,
    text_width=64,
    text_heads=1,
    text_intermediate=128,
    text_depth=2,
    fusion_depth=2,
    vocab_size=512,
    embed_dim=32,
)
BATCH, LENGTH, QUEUE = 4, 8, 16


def encoder(mesh: Mesh, model: ModelConfig) -> str:
    """The optimised program of the image encoder's gradient."""

    def total(params, image):
        return albef.encode_image(model, params, image).astype(jnp.float32).sum()

    here = NamedSharding(mesh, PartitionSpec())
    params = jax.eval_shape(partial(albef.init, model), jax.random.key(0))
    side = model.image_size
    image = jax.ShapeDtypeStruct((BATCH, side, side, 3), jnp.float32)
    placed = jax.tree.map(
        lambda leaf: jax.ShapeDtypeStruct(leaf.shape, leaf.dtype, sharding=here), (params, image)
    )
    return jax.jit(jax.grad(total)).lower(*placed).compile().as_text()


def step(mesh: Mesh, model: ModelConfig) -> str:
    """The optimised program of a training step."""
    config = StepConfig(
        model=model,
        recipe=Recipe(contrast_group=BATCH),
        optimizer=adamw(lambda step: jnp.float32(1e-4), 0.02),
        learning_rate=lambda step: jnp.float32(1e-4),
        alpha=lambda step: jnp.float32(0.4),
    )
    start = partial(init_state, model, config.optimizer, QUEUE)
    state = jax.eval_shape(start, jax.random.key(0))
    rows = batch_sharding(mesh)
    placed = jax.tree.map(
        lambda leaf, sharding: jax.ShapeDtypeStruct(leaf.shape, leaf.dtype, sharding=sharding),
        state,
        state_shardings(mesh, state),
    )
    side = model.image_size
    ids = jax.ShapeDtypeStruct((BATCH, LENGTH), jnp.int32, sharding=rows)
    image = jax.ShapeDtypeStruct((BATCH, side, side, 3), jnp.uint8, sharding=rows)
    batch = {"image": image, "text_ids": ids, "text_mask": ids}
    return compile_step(config, mesh, state).lower(placed, batch).compile().as_text()


def main() -> None:
    """From the command line."""
    description = (Path(__file__).parent / "h100.txtpb").read_text()
    topology = topologies.get_topology_desc(
        "h100", "cuda", target_config=description, topology="1x1x1"
    )
    axes = {"axis_names": ("data", "fsdp"), "axis_types": (AxisType.Auto,) * 2}
    mesh = Mesh(np.array(topology.devices).reshape(1, 1), **axes)
    found = []
    for what, changes in json.loads(sys.argv[1]):
        compiled = {"encoder": encoder, "step": step}[what]
        try:
            program = compiled(mesh, replace(MODEL, **changes))
            calls = re.findall(r'custom_call_target="([^"]*)"', program)
            found.append({"calls": sorted(set(calls))})
        except Exception as error:
            found.append({"error": f"{type(error).__name__}: {error}"})
    print(json.dumps(found))


if __name__ == "__main__":
    main()
