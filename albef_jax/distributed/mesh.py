"""The (data, fsdp) mesh: batches are sharded over both axes, large parameters over fsdp."""

import os
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import jax
import numpy as np
from jax.experimental import multihost_utils
from jax.sharding import AbstractMesh, AxisType, Mesh, NamedSharding, PartitionSpec

from albef_jax.distributed.slices import by_slice

AXES = ("data", "fsdp")
# Virtual CPU devices share one pool of threads. A device blocks one thread in each collective it
# waits in, and may wait in two: the default pool, one thread a device, can run into a deadlock.
# XLA reads this when its CPU client starts.
if "xla_force_host_platform_device_count" in os.environ.get("XLA_FLAGS", ""):
    os.environ.setdefault("NPROC", "64")
# Smaller arrays cost more to gather than to keep.
MIN_SHARDED_SIZE = 2**12


def make_mesh(fsdp: int = 1, slices: int = 0, devices: Sequence[jax.Device] | None = None) -> Mesh:
    """All devices as `[devices / fsdp, fsdp]`: one slice after the other along `data`, each in one
    piece along `fsdp`, and the devices of a process side by side.

    Args:
        slices: as of `slices.by_slice`.

    Raises:
        ValueError: the number of devices is not a multiple of `fsdp`, or slices or processes have
            unequal numbers of them.
    """
    devices = jax.devices() if devices is None else devices
    counts = Counter(device.process_index for device in devices)
    if len(set(counts.values())) > 1:
        listed = ", ".join(f"process {number} has {n}" for number, n in sorted(counts.items()))
        raise ValueError(f"all processes need the same number of devices, but {listed}")
    parts = [_in_one_slice(part, fsdp) for part in by_slice(devices, slices, fsdp)]
    return Mesh(np.concatenate(parts), AXES, axis_types=(AxisType.Auto,) * 2)


def _in_one_slice(devices: Sequence[jax.Device], fsdp: int) -> np.ndarray:
    """The devices of a slice as `[devices / fsdp, fsdp]`."""
    shape = (len(devices) // fsdp, fsdp)
    mesh = jax.make_mesh(shape, AXES, axis_types=(AxisType.Auto,) * 2, devices=devices)
    # On TPUs neighbours in the mesh may belong to different hosts. Rows of a batch are read in the
    # order of processes (`data.batching`), so devices must lie in that order, too.
    ordered = sorted(mesh.devices.flat, key=lambda device: device.process_index)
    return np.array(ordered).reshape(shape)


def batch_sharding(mesh: Mesh) -> NamedSharding:
    """Rows of a batch over all devices."""
    return NamedSharding(mesh, PartitionSpec(AXES))


def _parameter_spec(path: tuple, leaf: jax.ShapeDtypeStruct, shards: int) -> PartitionSpec:
    """Shard the largest divisible dimension over fsdp, never the layer axis of a stack."""
    stacked = any(getattr(entry, "key", None) in ("blocks", "layers") for entry in path)
    candidates = [d for d in range(int(stacked), leaf.ndim) if leaf.shape[d] % shards == 0]
    if shards == 1 or leaf.size < MIN_SHARDED_SIZE or not candidates:
        return PartitionSpec()
    chosen = max(candidates, key=lambda d: leaf.shape[d])
    return PartitionSpec(*("fsdp" if d == chosen else None for d in range(leaf.ndim)))


def state_shardings(mesh: Mesh | AbstractMesh, abstract_state):
    """A sharding for each leaf of a state.

    Parameters, teacher and optimizer moments follow one rule, so that equal arrays are sharded
    equally. The queue is replicated: a sharded one would be gathered at each step.
    """

    def spec(path: tuple, leaf: jax.ShapeDtypeStruct) -> NamedSharding:
        in_queue = getattr(path[0], "name", None) == "queue"
        shape = PartitionSpec() if in_queue else _parameter_spec(path, leaf, mesh.shape["fsdp"])
        return NamedSharding(mesh, shape)

    return jax.tree.map_with_path(spec, abstract_state)


def on_mesh(mesh: Mesh, function: Callable, *args: Any) -> Any:
    """Trace `function(*args)` so that layers keep rows of the batch where they are.

    Needed only for sharded parameters, which would otherwise move the activations.
    """
    if mesh.shape["fsdp"] == 1:
        return function(*args)
    with jax.sharding.use_abstract_mesh(mesh.abstract_mesh):
        return function(*args)


def to_devices(mesh: Mesh, batch: dict[str, np.ndarray]) -> dict[str, jax.Array]:
    """This process's rows of a batch as global arrays."""
    sharding = batch_sharding(mesh)
    return {
        name: jax.make_array_from_process_local_data(sharding, rows) for name, rows in batch.items()
    }


def shard_replicated(mesh: Mesh, batch: Mapping[str, np.ndarray]) -> dict[str, jax.Array]:
    """Rows that all processes have, as global arrays sharded over all devices."""
    count, number = jax.process_count(), jax.process_index()
    share = {name: np.split(rows, count)[number] for name, rows in batch.items()}
    return to_devices(mesh, share)


def fetch(tree: Any) -> Any:
    """Whole numpy arrays on every process; all processes must call it."""

    def whole(leaf: Any) -> np.ndarray:
        spread_out = isinstance(leaf, jax.Array) and not (
            leaf.is_fully_addressable or leaf.is_fully_replicated
        )
        return multihost_utils.process_allgather(leaf, tiled=True) if spread_out else leaf

    return jax.device_get(jax.tree.map(whole, tree))


def local_rows(mesh: Mesh, tree: Any) -> Any:
    """This process's rows of results `[B, ...]`, as numpy arrays; all processes must call it.

    They are its rows of the batch that `to_devices` was given.
    """

    def own(leaf: jax.Array) -> np.ndarray:
        if jax.process_count() == 1:
            return np.asarray(leaf)
        if leaf.sharding.is_equivalent_to(batch_sharding(mesh), leaf.ndim):
            shards = sorted(leaf.addressable_shards, key=lambda shard: shard.index[0].start or 0)
            return np.concatenate([np.asarray(shard.data) for shard in shards])
        return np.split(fetch(leaf), jax.process_count())[jax.process_index()]

    return jax.tree.map(own, tree)
