"""Converts a checkpoint into a bucket: written here first, and uploaded when it is complete."""

import tempfile
from pathlib import Path
from typing import Any

from albef_jax.checkpoints.convert import release
from albef_jax.checkpoints.convert.conversion import Report, convert
from albef_jax.checkpoints.integrity import NAME as SEAL
from albef_jax.checkpoints.official.weights_file import WEIGHTS
from albef_jax.errors import CheckpointError
from albef_jax.storage.addresses import in_bucket, parent_and_name
from albef_jax.storage.bucket import BucketFolder
from albef_jax.storage.retries import StorageError

# What readers look for, and so what is written last.
_LAST = (WEIGHTS, SEAL)
_ORBAX = {"checkpoints", "config.json"}  # what a conversion writes into a folder


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
        above, named = parent_and_name(root)
        folder = BucketFolder(above)
        as_release = name == WEIGHTS or options.get("as_release", False)
        before = _check(folder, named, root, as_release)
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


def _check(folder: BucketFolder, named: str, root: str, as_release: bool) -> list[str]:
    """The objects of an earlier conversion, which may be replaced; what else is there stays."""
    if not named:
        raise CheckpointError(f"{root} is a whole bucket; name a folder in it")
    before = list(folder.entries(named))
    if as_release:
        return [name for name in before if name.removeprefix(f"{named}/") in release.FILES]
    inside = {name.removeprefix(f"{named}/").partition("/")[0] for name in before}
    if not inside <= _ORBAX:
        raise CheckpointError(
            f"{root}: a folder with more in it than a converted checkpoint; choose another name, "
            "or remove it"
        )
    return before + ([named] if folder.entry(named) else [])


def _replace(folder: BucketFolder, before: list[str], work: Path, local: Path) -> None:
    """Upload the files, those that make them count last, and remove what else was there."""
    paths = [path for path in local.rglob("*") if path.is_file()] if local.is_dir() else [local]
    files = {path.relative_to(work).as_posix(): path for path in paths}
    folder.delete(name for name in before if name.endswith(f"/{SEAL}"))
    for name in sorted(files, key=lambda name: (name.endswith(_LAST), name)):
        folder.upload(files[name], name)
    folder.delete(name for name in before if name not in files)
