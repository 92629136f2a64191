"""In which type gradients are summed over eight cards, by XLA's own program.

Run by `make accelerators`, in an environment with jax's CUDA wheels.
"""

import json

import pytest

from tests.helpers.described_devices import printed

# Gradients of the image encoder over eight devices; prints the bytes of the sums of each type.
SCRIPT = r"""
import json, sys
from collections import Counter
from dataclasses import replace
from functools import partial
import jax, jax.numpy as jnp
from jax.sharding import NamedSharding, PartitionSpec
from albef_jax.models import albef
from benchmarks import overlap
from benchmarks.described import described_mesh
from benchmarks.devices import DEVICES
from benchmarks.hlo import parse
from tests.helpers.compile_for_h100 import MODEL

model = replace(MODEL, dtype="bfloat16", attention="cudnn", reduce_dtype=sys.argv[1])
mesh = described_mesh("h100", 8)
everywhere = NamedSharding(mesh, PartitionSpec())
rows = NamedSharding(mesh, PartitionSpec(("data", "fsdp")))
shape = (64, model.image_size, model.image_size, 3)
image = jax.ShapeDtypeStruct(shape, jnp.float32, sharding=rows)
abstract = jax.eval_shape(partial(albef.init, model), jax.random.key(0))["image_encoder"]
placed = partial(jax.ShapeDtypeStruct, sharding=everywhere)
params = {"image_encoder": jax.tree.map(lambda x: placed(x.shape, x.dtype), abstract)}

def loss(params, image):
    return jnp.mean(jnp.sin(albef.encode_image(model, params, image).astype(jnp.float32)))

gradient = jax.jit(jax.grad(loss), out_shardings=everywhere)
program = parse(gradient.lower(params, image).compile().as_text())
bytes_of = Counter()
for one in overlap.summary(overlap.messages(program, DEVICES["h100"])):
    bytes_of["+".join(one["dtypes"])] += one["mb"]
parameters = sum(x.size for x in jax.tree.leaves(params))
patches = params["image_encoder"]["patch_embed"]["kernel"].size
print(json.dumps([bytes_of, parameters / 1e6, patches / 1e6]))
"""


def sums(reduce_dtype: str) -> tuple[dict[str, float], float, float]:
    """Megabytes by type, and millions of parameters: of all, and of the patch embedding."""
    return tuple(json.loads(printed("-c", SCRIPT, reduce_dtype)[-1]))


def test_float32_but_for_the_patch_embedding():
    found, parameters, patches = sums("float32")
    assert found["f32"] == pytest.approx(4 * (parameters - patches), rel=0.02)
    assert found["bf16"] == pytest.approx(2 * patches, rel=0.02)


def test_bfloat16_takes_half_the_bytes():
    """Of kernels; in so small a model positions, norms and biases are a tenth."""
    found, parameters, _ = sums("bfloat16")
    assert 2 * parameters > found["bf16"] > 0.85 * 2 * parameters
    assert found["f32"] < 0.15 * 4 * parameters
