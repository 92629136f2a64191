"""What the devices of a run are, the same on all processes."""

import re

import jax
from jax.sharding import Mesh

from albef_jax.distributed.accelerators import Accelerator
from albef_jax.distributed.sync import gather_from_all
from albef_jax.system.machine_memory import machine_memory


def device_found(mesh: Mesh) -> Accelerator:
    """The weakest device of a mesh: least memory, lowest capability; all processes must call it."""
    here = [_described(device) for device in mesh.local_devices]
    told = gather_from_all([vars(one) for one in here])
    everywhere = [Accelerator(**one) for process in told for one in process]
    memory = [one.memory for one in everywhere if one.memory is not None]
    capability = [one.capability for one in everywhere]
    return Accelerator(
        everywhere[0].kind,
        everywhere[0].platform,
        min(memory, default=None),
        None if None in capability else min(one for one in capability if one is not None),
    )


def _described(device: jax.Device) -> Accelerator:
    memory = _memory(device)
    capability = str(getattr(device, "compute_capability", ""))
    number = float(capability) if re.fullmatch(r"\d+(\.\d+)?", capability) else None  # not AMD's
    platform = "gpu" if device.platform in ("cuda", "rocm") else device.platform
    return Accelerator(device.device_kind, platform, memory, number)


def _memory(device: jax.Device) -> int | None:
    if device.platform == "cpu":  # virtual devices share the machine's
        whole = machine_memory()
        return whole and whole // jax.local_device_count()
    return (device.memory_stats() or {}).get("bytes_limit")
