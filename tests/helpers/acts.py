"""What two processes do together in a test: `python tests/helpers/acts.py ACT DIRECTORY FLAGS`.

Each act prints one line of JSON on each process.
"""

import argparse
import json
import os
import signal
import sys
import time
from pathlib import Path
from unittest.mock import patch

import jax
import numpy as np
from jax.sharding import NamedSharding, PartitionSpec

from albef_jax.distributed import sync
from albef_jax.distributed.initialize import joined
from albef_jax.distributed.launch import find
from albef_jax.distributed.mesh import (
    AXES,
    fetch,
    local_rows,
    make_mesh,
    shard_replicated,
    to_devices,
)
from albef_jax.errors import ConfigError
from albef_jax.tasks.shared.text_buckets import in_buckets
from albef_jax.train.resilience.preemption import SyncedSignal


def error_of(function, *arguments) -> str | None:
    try:
        function(*arguments)
    except ConfigError as error:
        return str(error)
    return None


def removed_late(file: Path, unlink=Path.unlink) -> None:
    """Who does not wait for the removal sees the file."""
    time.sleep(0.5)
    unlink(file)


def agreeing(directory: Path) -> dict:
    number = jax.process_index()

    def failing_on(process: int) -> None:
        with sync.raise_on_all_processes(ConfigError):
            if number == process:
                raise ConfigError("no such file")

    sync.print_on_main(f"only once: {number}")
    own = directory / str(number)
    with patch.object(Path, "unlink", removed_late), patch.object(sync, "_SHARED_SECONDS", 3):
        shared, not_shared = (
            error_of(sync.check_shared, place) for place in (directory / "shared", own)
        )
        left = sorted(path.name for path in directory.glob("*/.*"))
    return {
        "gathered": sync.gather_from_all({"number": number, "long": "ä" * 2000 * number}),
        "from_first": sync.broadcast_from_main(number + 5),
        "on_one": error_of(failing_on, 1),
        "on_none": error_of(failing_on, 2),
        "same": error_of(sync.check_same, {"seed": 3}),
        "different": error_of(sync.check_same, {"seed": 3, "steps": 10 + number}),
        "shared": shared,
        "not_shared": not_shared,
        "left": left,
    }


def arrays(_: Path) -> dict:
    mesh, number = make_mesh(fsdp=2), jax.process_index()
    rows = np.arange(16.0).reshape(8, 2)
    whole, local = shard_replicated(mesh, {"x": rows})["x"], np.split(rows, 2)[number]
    parts = to_devices(mesh, {"x": local})["x"]
    doubled = jax.jit(lambda x: 2 * x)(whole)
    over_fsdp = jax.device_put(rows, NamedSharding(mesh, PartitionSpec("data", "fsdp")))
    vote = SyncedSignal(mesh)
    return {
        "doubled": fetch(doubled).tolist(),
        "equal": bool((fetch(whole) == fetch(parts)).all()),
        "over_fsdp": fetch({"a": over_fsdp, "b": np.float32(3)})["a"].tolist(),
        "spec": str(batch_spec(whole)),
        "owners": [device.process_index for device in mesh.devices.flat],
        "votes": [vote(15 * (number == step == 1)) for step in range(4)],
        "last_vote": vote(2 * number, last=True),
    }


def widths(_: Path) -> dict:
    """Text lengths of two rows a process, and the widths that both take."""
    lengths = {0: [(3, 4), (9, 2), (2, 2), (4, 4)], 1: [(2, 3), (5, 5), (4, 12), (1, 4)]}
    own = lengths[jax.process_index()]
    masks = (np.arange(12) < np.array(rows)[:, None] for rows in own)
    batches = ({"text_ids": 7 * mask, "text_mask": 1 * mask, "image": mask} for mask in masks)
    found = list(in_buckets(batches, (4, 8, 12), make_mesh(fsdp=2)))
    return {
        "widths": [batch["text_ids"].shape[1] for batch in found],
        "tokens": [int(batch["text_mask"].sum()) for batch in found],
        "equal": all((batch["text_ids"] == 7 * batch["text_mask"]).all() for batch in found),
        "images": [batch["image"].shape[1] for batch in found],
    }


def reading(_: Path) -> dict:
    """Which images each process reads, keeps and shows; and what it is told of the others'."""
    from albef_jax.data.bad_samples import BadSamples
    from albef_jax.data.records import Pair
    from albef_jax.data.tokenizer import Tokenizer
    from albef_jax.inference.gallery import read_gallery

    read = []

    class Source(list):
        def __getitem__(self, index: int) -> Pair:
            read.append(index)
            image = np.full((8, 8, 3), 10 * (index % 6), np.uint8)  # 6 and 7 repeat 0 and 1
            return Pair(f"image {index}", image, (f"red {index}",), index)

    gallery = read_gallery(
        Source(range(8)),
        Tokenizer("scenes", 8),
        BadSamples(None, 1.0, 8),
        image_size=8,
        pairs=100,
        rows=4,
        max_words=4,
        threads=0,
    )
    shares = gallery.shares()
    pixels = gallery.pixels(shares[jax.process_index()])
    rows = np.arange(jax.process_index(), dtype=np.int64)[:, None] + 2**40
    mesh = make_mesh(fsdp=2)
    own = to_devices(mesh, {"x": np.arange(4.0) + 4 * jax.process_index()})["x"]
    kept = jax.jit(lambda x: (2 * x, 2 * x), out_shardings=(own.sharding, None))(own)
    return {
        "read": sorted(read),
        "shares": [share.tolist() for share in shares],
        "captions": gallery.captions,
        "image_of_text": gallery.image_of_text.tolist(),
        "same_pixels": gallery.same_pixels,
        "kept": pixels[:, 0, 0, 0].tolist(),
        "shown": {n: int(image[0, 0, 0]) for n, image in gallery.shown([5, 0, 2]).items()},
        "rows": [own.tolist() for own in sync.gather_rows(rows)],
        "local_rows": [rows.tolist() for rows in local_rows(mesh, kept)],
    }


def batch_spec(array: jax.Array) -> bool:
    return array.sharding.is_equivalent_to(
        NamedSharding(array.sharding.mesh, PartitionSpec(AXES)), array.ndim
    )


def falling_back(directory: Path) -> dict:
    """Step 4 is damaged in the eyes of process 1 alone."""
    from albef_jax.checkpoints import manager  # takes a second, and other acts need it not
    from albef_jax.checkpoints.manager import Checkpoints

    mesh, number = make_mesh(fsdp=2), jax.process_index()
    sharding = NamedSharding(mesh, PartitionSpec(None, "fsdp"))
    abstract = {"params": {"w": jax.ShapeDtypeStruct((4, 8), np.float32, sharding=sharding)}}
    with Checkpoints(directory / "checkpoints", keep=5) as checkpoints:
        for step in (2, 4):
            full = jax.device_put(np.full((4, 8), step, np.float32), sharding)
            checkpoints.save(step, {"params": {"w": full}})
        checkpoints.wait()
        whole = {step: manager.damage(checkpoints._directory / str(step)) for step in (2, 4)}
        sync.gather_from_all(None)
        seen, one_sided = manager.damage, number == 1

        def damage(step: Path, **share) -> str | None:
            return "a block is lost" if one_sided and step.name == "4" else seen(step, **share)

        manager.damage = damage
        step, items = checkpoints.restore_newest(abstract, move_aside=True)
        kept = sorted(path.name for path in (directory / "checkpoints").iterdir())
        checkpoints.save(4, {"params": {"w": 2 * items["params"]["w"]}})
        checkpoints.wait()
    return {
        "whole": whole,
        "sealed": len(json.loads((directory / "checkpoints/2/files.json").read_text())),
        "step": step,
        "value": fetch(items["params"]["w"]).mean().item(),
        "kept": kept,
        "then": sorted(path.name for path in (directory / "checkpoints").iterdir()),
    }


def losing(_: Path) -> dict:
    """Process 1 dies as a machine does; process 0 waits for it in vain."""
    if jax.process_index() == 1:
        os.kill(os.getpid(), signal.SIGKILL)
    sync.gather_from_all("still here")
    raise AssertionError("nobody answers")


def failing(_: Path) -> dict:
    """Process 1 leaves with an error of its own."""
    if jax.process_index() == 1:
        sys.exit(2)
    sync.gather_from_all("still here")
    raise AssertionError("nobody answers")


def meeting(directory: Path) -> dict:
    """All that ends well: starting processes takes longest."""
    return {
        act.__name__: act(directory) for act in (agreeing, arrays, widths, reading, falling_back)
    }


def greeting(_: Path) -> dict:
    """Who is there."""
    return {"number": jax.process_index(), "present": sync.gather_from_all(jax.process_index())}


ACTS = {act.__name__: act for act in (meeting, greeting, losing, failing)}


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("act", choices=ACTS)
    parser.add_argument("directory", type=Path)
    parser.add_argument("--coordinator")
    parser.add_argument("--processes", type=int)
    parser.add_argument("--process", type=int)
    parser.add_argument("--seconds", type=float, default=60)
    given = parser.parse_args()
    group = find(given.coordinator, given.processes, given.process, os.environ)
    with joined(group, join_seconds=given.seconds, peer_seconds=given.seconds):
        print(json.dumps(ACTS[given.act](given.directory)), flush=True)


if __name__ == "__main__":
    main()
