"""Converts a checkpoint into a bucket: written here first, and uploaded when it is complete."""

import tempfile
from pathlib import Path
from typing import Any

from albef_jax.checkpoints.convert.conversion import Report, convert
from albef_jax.checkpoints.integrity import NAME as SEAL
from albef_jax.checkpoints.official.weights_file import WEIGHTS
from albef_jax.errors import CheckpointError
from albef_jax.storage.addresses import in_bucket, parent_and_name
from albef_jax.storage.bucket import BucketFolder
from albef_jax.storage.retries import StorageError

# What readers look for, and so what is written last.
_LAST = (WEIGHTS, SEAL)


def convert_anywhere(src: str, dst: str, *, overwrite: bool = False, **options: Any) -> Report:
    """`conversion.convert`, where `dst` may be in a bucket.

    Args:
        options: of `convert`.

    Raises:
        CheckpointError: as of `convert`; or the bucket cannot be written.
    """
    if not in_bucket(dst):
        return convert(src, Path(dst), overwrite=overwrite, **options)
    parent, name = parent_and_name(dst)
    # A file of this name is a release, with others beside it.
    root = parent if name == WEIGHTS else dst
    try:
        folder = BucketFolder(parent_and_name(root)[0])
        named = parent_and_name(root)[1]
        before = list(folder.entries(named)) + ([named] if folder.entry(named) else [])
        if before and not overwrite:
            raise CheckpointError(f"{root} exists; choose another name, or pass --overwrite")
        with tempfile.TemporaryDirectory(prefix="albef_jax-convert-") as work:
            local = Path(work) / named
            target = local / WEIGHTS if name == WEIGHTS else local
            report = convert(src, target, **options)
            if report.ok:
                _replace(folder, before, Path(work), local)
    except StorageError as error:
        raise CheckpointError(str(error)) from error
    return report


def _replace(folder: BucketFolder, before: list[str], work: Path, local: Path) -> None:
    """Upload the files, those that make them count last; of what was there those go first."""
    folder.delete(sorted(before, key=lambda name: not name.endswith(_LAST)))
    files = [path for path in local.rglob("*") if path.is_file()] if local.is_dir() else [local]
    for file in sorted(files, key=lambda path: (path.name in _LAST, path)):
        folder.upload(file, file.relative_to(work).as_posix())
