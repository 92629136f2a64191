"""Slices that described TPUs name, and where they lie in the mesh.

Run by `make accelerators`, in an environment with libtpu. What slices say to each other is in
`test_compile_for_accelerators`.
"""

import json

import pytest

from tests.helpers.described_devices import printed

# Prints the slice and the process of each device, a row of the mesh a line.
SCRIPT = r"""
import json, sys
from albef_jax.distributed.mesh import make_mesh
from benchmarks.described import described_mesh

kind, fsdp = sys.argv[1], int(sys.argv[2])
devices = list(described_mesh(kind, 16, slices=2).devices.flat)
mesh = make_mesh(fsdp, devices=devices[::-1])
for row in mesh.devices:
    print(json.dumps([[device.slice_index, device.process_index] for device in row]))
"""


@pytest.mark.parametrize("kind, fsdp", [("v5e", 1), ("v5e", 8), ("v5p", 4)])
def test_a_mesh_of_two_slices(kind, fsdp):
    rows = [json.loads(line) for line in printed("-c", SCRIPT, kind, str(fsdp), wheel="libtpu")]
    assert [len(row) for row in rows] == [fsdp] * (16 // fsdp)
    for row in rows:
        assert len({index for index, _ in row}) == 1
    flat = [device for row in rows for device in row]
    assert flat == sorted(flat) and {index for index, _ in flat} == {0, 1}
