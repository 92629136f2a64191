"""Slices: groups of devices with a fast network inside each, and a slower one between them."""

from collections.abc import Sequence

import jax


def by_slice(
    devices: Sequence[jax.Device], slices: int = 0, fsdp: int = 1
) -> list[list[jax.Device]]:
    """The devices of each slice, slices and devices in the order of processes.

    Args:
        slices: how many equal parts devices are cut into; 0 for those that the devices name: TPU
            slices, hosts of GPUs. Devices that name none are one slice.
        fsdp: devices that parameters are cut over.

    Raises:
        ValueError: slices are not equally large, their processes are not numbered one slice after
            the other, or `fsdp` does not divide the devices of one.
    """
    ordered = sorted(devices, key=lambda device: device.process_index)
    count = slices or _found(ordered)
    check_divisors(len(ordered), count, fsdp)
    size = len(ordered) // count
    return [ordered[start : start + size] for start in range(0, len(ordered), size)]


def check_divisors(devices: int, slices: int, fsdp: int) -> None:
    """Parameters are gathered for each layer, so they may not be cut over several slices.

    Raises:
        ValueError: `slices` does not divide the devices, or `fsdp` those of a slice.
    """
    for name, parts in (("slices", slices), ("fsdp", fsdp)):
        if devices % parts:
            raise ValueError(
                f"mesh.{name}={parts} does not divide the {devices} devices; choose a divisor"
            )
    size = devices // slices
    if size % fsdp:
        raise ValueError(
            f"mesh.fsdp={fsdp} does not divide the {size} devices of each of {slices} slices; "
            f"choose a divisor of {size}, or mesh.slices=1 to gather parameters between slices"
        )


def _found(ordered: Sequence[jax.Device]) -> int:
    """How many slices the devices name; those of each are side by side and equally many."""
    indices = [_index(device) for device in ordered]
    sizes = {index: indices.count(index) for index in dict.fromkeys(indices)}
    if len(set(sizes.values())) > 1:
        listed = ", ".join(f"slice {index} has {size}" for index, size in sorted(sizes.items()))
        raise ValueError(
            f"all slices need the same number of devices, but {listed}; mesh.slices=1 takes them "
            "as one"
        )
    if indices != [index for index, size in sizes.items() for _ in range(size)]:
        listed = ", ".join(f"{d.process_index} in slice {_index(d)}" for d in _firsts(ordered))
        raise ValueError(
            f"processes are not numbered one slice after the other: {listed}; number them so "
            "(Slurm: --distribution=block), or set mesh.slices=1"
        )
    return len(sizes)


def _index(device: jax.Device) -> int:
    return getattr(device, "slice_index", 0) or 0


def _firsts(ordered: Sequence[jax.Device]) -> list[jax.Device]:
    """The first device of each process."""
    return list({device.process_index: device for device in reversed(ordered)}.values())[::-1]
