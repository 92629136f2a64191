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

os.environ["JAX_PLATFORMS"] = "cpu"

import jax
import jax.numpy as jnp
from jax.sharding import Mesh, NamedSharding, PartitionSpec

from albef_jax.models import albef
from albef_jax.models.config import ModelConfig
from benchmarks.described import compiled_step, described_mesh, step_config

# As many image tokens and as wide heads as in the official model, and little else.
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
    return compiled_step(step_config(model, BATCH), mesh, BATCH, LENGTH, QUEUE).as_text()


def main() -> None:
    """From the command line."""
    mesh = described_mesh("h100")
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
