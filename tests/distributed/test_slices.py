"""Which devices are a slice, and where slices lie in the mesh."""

from dataclasses import dataclass

import jax
import pytest

from albef_jax.distributed.mesh import make_mesh
from albef_jax.distributed.slices import by_slice, check_divisors


@dataclass(frozen=True)
class Device:
    """What `by_slice` asks of a device."""

    id: int
    process_index: int
    slice_index: int = 0


def devices(*slices: int, each: int = 2) -> list[Device]:
    """Of processes in these slices, `each` of every process."""
    return [
        Device(each * process + n, process, index)
        for process, index in enumerate(slices)
        for n in range(each)
    ]


def numbers(parts) -> list[list[int]]:
    return [[device.id for device in part] for part in parts]


def test_slices_are_found():
    assert numbers(by_slice(devices(0, 0, 1, 1))) == [[0, 1, 2, 3], [4, 5, 6, 7]]
    assert numbers(by_slice(devices(0, 0))) == [[0, 1, 2, 3]]
    assert numbers(by_slice(jax.devices())) == [list(range(8))]  # of a CPU: one


def test_slices_lie_in_the_order_of_processes():
    """Rows of a batch are read in it, whatever slices are called."""
    assert numbers(by_slice(devices(1, 1, 0, 0)[::-1])) == [[1, 0, 3, 2], [5, 4, 7, 6]]


def test_slices_are_cut_as_told():
    four = devices(0, 1, 2, 3)  # hosts of GPUs, say, in two racks
    assert numbers(by_slice(four, 2)) == [[0, 1, 2, 3], [4, 5, 6, 7]]
    assert numbers(by_slice(four, 1, fsdp=8)) == [list(range(8))]
    assert numbers(by_slice(jax.devices(), 4)) == [[0, 1], [2, 3], [4, 5], [6, 7]]


@pytest.mark.parametrize(
    "given, message",
    [
        ({"slices": 3}, "mesh.slices=3 does not divide the 8 devices; choose a divisor"),
        ({"fsdp": 3}, "mesh.fsdp=3 does not divide the 8 devices; choose a divisor"),
        ({"fsdp": 8}, "mesh.fsdp=8 does not divide the 4 devices of each of 2 slices; choose a "),
        ({"fsdp": 8, "slices": 4}, "each of 4 slices; choose a divisor of 2, or mesh.slices=1 to"),
    ],
)
def test_what_does_not_divide(given, message):
    with pytest.raises(ValueError, match=message):
        by_slice(devices(0, 0, 1, 1), **given)


def test_slices_of_unequal_size():
    with pytest.raises(ValueError, match=r"but slice 0 has 4, slice 1 has 2; mesh\.slices=1"):
        by_slice(devices(0, 0, 1))


def test_processes_that_take_turns():
    with pytest.raises(ValueError, match="0 in slice 0, 1 in slice 1, 2 in slice 0, 3 in slice 1"):
        by_slice(devices(0, 1, 0, 1))
    assert len(by_slice(devices(0, 1, 0, 1), 1)) == 1


@pytest.mark.parametrize("fsdp", [1, 2, 4])
def test_parameters_are_cut_inside_a_slice(fsdp):
    mesh = make_mesh(fsdp, slices=2)
    assert dict(mesh.shape) == {"data": 8 // fsdp, "fsdp": fsdp}
    for row in mesh.devices:
        assert len({device.id // 4 for device in row}) == 1
    order = [device.id // 4 for device in mesh.devices[:, 0]]
    assert order == sorted(order)


def test_a_mesh_without_slices_is_as_before():
    assert (make_mesh(2, slices=2).devices == make_mesh(2).devices).all()
    check_divisors(devices=16, slices=2, fsdp=8)
    with pytest.raises(ValueError, match=r"mesh.fsdp=8 does not divide the 4 devices of each of 2"):
        make_mesh(8, slices=2)
