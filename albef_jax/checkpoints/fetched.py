"""Checkpoints in a bucket, copied to this machine so that whatever reads them finds paths."""

import contextlib
import hashlib
import json
import shutil
import uuid
from collections.abc import Callable
from pathlib import Path

from albef_jax.checkpoints.bucket_steps import FOLDER, BucketSteps
from albef_jax.checkpoints.integrity import damage
from albef_jax.errors import CheckpointError
from albef_jax.storage.addresses import in_bucket, parent_and_name
from albef_jax.storage.bucket import BucketFolder, Entry
from albef_jax.storage.cache_folder import cache_folder
from albef_jax.storage.retries import StorageError
from albef_jax.workdir.appended import AppendedFile
from albef_jax.workdir.mirror import METRICS
from albef_jax.workdir.trajectory import FILE, best_step

_WEIGHTS = "model.safetensors"
_OF_RUN = ("config.json", FILE)


def local_checkpoint(path: str | Path) -> Path:
    """The path itself, or a copy of what `load.read_checkpoint` needs of an address.

    Copies are kept in the user's cache, by content: an unchanged checkpoint is read once.

    Args:
        path: a workdir, its `checkpoints`, one step, a release, or a file; on this machine or in a
            bucket.

    Raises:
        CheckpointError: there is no checkpoint at that address, or the bucket cannot be read.
    """
    address = str(path)
    if not in_bucket(address):
        return Path(path)
    try:
        return _fetched(address)
    except (StorageError, FileNotFoundError) as error:
        raise CheckpointError(str(error)) from error


def _fetched(address: str) -> Path:
    parent, name = parent_and_name(address)
    whole = BucketFolder(parent)
    if entry := whole.entry(name):
        made_of = {name: entry}
        return _kept(address, made_of, lambda local: whole.download(name, local / name)) / name
    folder = BucketFolder(address)
    children = folder.children()
    if _WEIGHTS in children:
        return _release(folder)
    if name.isdigit() and "params" in children:
        run, _ = parent_and_name(parent)
        return _of_run(BucketFolder(run), int(name)) / FOLDER / name
    if name == FOLDER:
        return _of_run(BucketFolder(parent))
    return _of_run(folder)


def _release(folder: BucketFolder) -> Path:
    entries = folder.entries()

    def fill(local: Path) -> None:
        for name in entries:
            (local / name).parent.mkdir(parents=True, exist_ok=True)
            folder.download(name, local / name)

    return _kept(folder.address, entries, fill)


def _of_run(run: BucketFolder, step: int | None = None) -> Path:
    """A directory with a run's configuration and the step that counts, or the one that is named."""
    steps = BucketSteps(run)
    sealed = steps.sealed()
    if not sealed or (step is not None and step not in sealed):
        raise CheckpointError(
            f"{run.address}: no checkpoint there; looked for model.safetensors, and for "
            f"{FOLDER}/{'STEP' if step is None else step}/files.json, which a run writes last"
        )
    entries = {name: entry for name in _OF_RUN if (entry := run.entry(name))}
    seals = {str(one): run.entry(f"{FOLDER}/{one}/files.json") for one in sealed}
    made_of = {**entries, **{name: entry for name, entry in seals.items() if entry}}

    def fill(local: Path) -> None:
        for name in entries:
            run.download(name, local / name)
        AppendedFile(local / METRICS, run.folder(METRICS)).fetch()
        _fetch(steps, sealed if step is None else [step], local)

    return _kept(f"{run.address} {step}", made_of, fill)


def _fetch(steps: BucketSteps, sealed: list[int], local: Path) -> None:
    """Copy the step that evaluation has chosen, or the newest; also others until one is whole."""
    chosen = best_step(local)
    directory = local / FOLDER
    directory.mkdir()
    for step in sorted(sealed, key=lambda step: (step != chosen, -step)):
        steps.fetch(step, directory)
        if damage(directory / str(step)) is None:
            return


def _kept(address: str, made_of: dict[str, Entry], fill: Callable[[Path], None]) -> Path:
    """A folder of the cache for this content; one that is missing is filled."""
    versions = {name: [entry.size, entry.version] for name, entry in made_of.items()}
    told = json.dumps([address, versions], sort_keys=True)
    target = cache_folder() / "fetched" / hashlib.sha256(told.encode()).hexdigest()[:20]
    if target.is_dir():
        return target
    draft = target.with_name(f".{target.name}.{uuid.uuid4().hex}")
    draft.mkdir(parents=True)
    try:
        fill(draft)
        with contextlib.suppress(OSError):  # another process was faster
            draft.rename(target)
    finally:
        shutil.rmtree(draft, ignore_errors=True)
    return target
