"""What the options of `train.xla_flags` do to a program with sums over devices.

Run by `make accelerators`, in an environment with jax's CUDA wheels.
"""

import json

from tests.helpers.described_devices import printed

# Gradients of eight layers, summed over eight devices; prints how many instructions stand between
# the start and the end of each message, by default and with the options.
SCRIPT = r"""
import json, re, sys
import jax, jax.numpy as jnp
from jax.sharding import NamedSharding, PartitionSpec
from albef_jax.train.xla_flags import flags
from benchmarks.described import described_mesh

mesh = described_mesh(sys.argv[1], 8)
everywhere = NamedSharding(mesh, PartitionSpec())
rows = NamedSharding(mesh, PartitionSpec(("data", "fsdp")))
x = jax.ShapeDtypeStruct((8192, 2048), jnp.bfloat16, sharding=rows)
layers = [jax.ShapeDtypeStruct((2048, 2048), jnp.float32, sharding=everywhere)] * 8

def loss(layers, x):
    for layer in layers:
        x = jax.nn.relu(x @ layer.astype(jnp.bfloat16))
    return jnp.mean(x.astype(jnp.float32) ** 2)

def beside(options):
    step = jax.jit(jax.grad(loss), compiler_options=options, out_shardings=everywhere)
    text = step.lower(layers, x).compile().as_text()
    began, found = {}, []
    for number, line in enumerate(text[text.index("ENTRY"):].splitlines()):
        if start := re.match(r"\s*(?:ROOT )?%?([\w.-]+) = .* all-reduce-start\(", line):
            began[start[1]] = number
        elif done := re.search(r" all-reduce-done\(%?([\w.-]+)", line):
            found.append(number - began[done[1]] - 1)
    return found

print(json.dumps([beside(None), beside(flags("gpu", 8, {}))]))
"""


def beside(kind: str) -> tuple[list[int], list[int]]:
    return tuple(json.loads(printed("-c", SCRIPT, kind)[-1]))


def test_an_a100_computes_beside_every_message():
    before, after = beside("a100")
    assert min(before) == 0 and min(after) > 0


def test_an_h100_does_by_itself():
    before, after = beside("h100")
    assert before == after and min(after) > 0
