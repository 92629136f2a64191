"""What the options of `train.xla_flags` do to a program with sums over devices.

Run by `make accelerators`, in an environment with jax's CUDA wheels.
"""

import importlib.util
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
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
    if importlib.util.find_spec("jax_cuda13_plugin") is None:
        pytest.skip("needs jax's CUDA wheels: make accelerators")
    environment = {name: value for name, value in os.environ.items() if name != "XLA_FLAGS"}
    environment |= {"JAX_PLATFORMS": "cpu", "PYTHONPATH": str(ROOT)}
    command = [sys.executable, "-c", SCRIPT, kind]
    done = subprocess.run(command, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-2000:]
    return tuple(json.loads(done.stdout.splitlines()[-1]))


def test_an_a100_computes_beside_every_message():
    before, after = beside("a100")
    assert min(before) == 0 and min(after) > 0


def test_an_h100_does_by_itself():
    before, after = beside("h100")
    assert before == after and min(after) > 0
