"""The files of an index: a manifest, the items, the vectors; and blocks while it is being built.

        manifest.json           facts of the index and its files; written last
    vectors-STEM.faiss      features of the items [N, E], float32, exact inner product
        items-STEM.jsonl        name, size and modification time of each item, in the vectors' order
    bad_samples.jsonl       unusable images, with the reasons
    building/               blocks of features, until the index is complete

A file gets its name when it is complete. STEM depends on the items, so the old index can be used
during an update, until the new manifest replaces the old one.
"""

import hashlib
import json
import shutil
import warnings
import zipfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import Any

import jax
import numpy as np

from albef_jax.apps.search.item import Item
from albef_jax.inference.model import Model
from albef_jax.inference.outputs import SearchError
from albef_jax.inference.programs import ENCODERS
from albef_jax.storage.paths import AnyPath
from albef_jax.storage.retries import StorageError
from albef_jax.system.atomic import write_text
from albef_jax.system.optional import needed

try:
    import fcntl
except ImportError:  # Windows
    fcntl = None  # type: ignore[assignment]

FORMAT, VERSION = "albef_jax index", 2  # 2: of upright images
MANIFEST, BAD, BUILDING = "manifest.json", "bad_samples.jsonl", "building"
BEGUN = "begun.json"  # in `building`: of which kind and model its blocks are

Rows = dict[Item, np.ndarray]


def faiss() -> Any:
    """The vector library, which only search needs."""
    with warnings.catch_warnings():  # of its wrapper, on newer Pythons
        warnings.simplefilter("ignore", DeprecationWarning)
        return needed("faiss", "searching", "search", "faiss-cpu", raises=SearchError)


def model_digest(model: Model) -> str:
    """SHA-256 over all that features depend on: the encoders' weights, sizes, and vocabulary."""
    total = hashlib.sha256(f"{model.config.image_size} {model.tokenizer.vocab_size}".encode())
    parts = {name: model.params[name] for name in ENCODERS}
    for path, leaf in jax.tree_util.tree_leaves_with_path(parts):
        array = np.asarray(leaf, "<f4", order="C")
        total.update(f"{jax.tree_util.keystr(path)} {array.shape}".encode())
        total.update(array.reshape(-1).view(np.uint8).data)
    return total.hexdigest()


def stem_of(items: Sequence[Item]) -> str:
    """The stem of the file names of these items."""
    lines = "\n".join(_line(item) for item in items)
    return hashlib.sha256(lines.encode()).hexdigest()[:12]


def read_manifest(folder: AnyPath) -> dict[str, Any] | None:
    """The manifest, or None if there is none yet.

    Raises:
        SearchError: it is not one of ours.
    """
    path = folder / MANIFEST
    try:
        manifest = json.loads(path.read_bytes())
    except FileNotFoundError:
        return None
    except StorageError:
        raise
    except (OSError, ValueError) as error:
        raise SearchError(f"{path}: cannot be read: {error}") from None
    if not isinstance(manifest, dict) or manifest.get("format") != FORMAT:
        raise SearchError(f"{path}: not the manifest of an index")
    if manifest.get("version") != VERSION:
        raise SearchError(
            f"{path}: version {manifest.get('version')}, this program reads {VERSION}; build again"
        )
    return manifest


def read_index(folder: AnyPath, manifest: dict[str, Any]) -> tuple[list[Item], Any]:
    """The items and faiss's index of their vectors.

    Raises:
        SearchError: a file is missing or not as the manifest says.
    """
    files = manifest["files"]
    vectors, items = folder / files["vectors"]["name"], folder / files["items"]["name"]
    for path, facts in ((vectors, files["vectors"]), (items, files["items"])):
        size = path.stat().st_size if path.is_file() else None
        if size != facts["bytes"]:
            told = "missing" if size is None else f"{size} bytes instead of {facts['bytes']}"
            raise SearchError(f"{path}: {told}; delete {folder / MANIFEST} and build again")
    try:
        with vectors.open("rb") as file:
            library = faiss().read_index(faiss().PyCallbackIOReader(file.read))
        listed = [Item(**json.loads(line)) for line in items.read_text("utf-8").splitlines()]
    except StorageError:
        raise
    except (RuntimeError, ValueError, TypeError) as error:
        reason = str(error).splitlines()[0]
        raise SearchError(f"{folder}: damaged: {reason}; delete it and build again") from None
    if (library.ntotal, library.d, len(listed)) != (
        manifest["count"],
        manifest["embed_dim"],
        manifest["count"],
    ):
        raise SearchError(f"{folder}: files do not belong together; delete it and build again")
    return listed, library


def write_index(
    folder: Path,
    items: Sequence[Item],
    features: np.ndarray,
    bad: Sequence[tuple[Item, str]],
    about: dict[str, Any],
) -> dict[str, Any]:
    """Write everything, the manifest last, and remove other files; returns the manifest."""
    stem = stem_of(items)
    vectors, listed = folder / f"vectors-{stem}.faiss", folder / f"items-{stem}.jsonl"
    library = faiss()
    index = library.IndexFlatIP(features.shape[1])
    index.add(np.ascontiguousarray(features, np.float32))
    draft = folder / f".{vectors.name}.new"
    with draft.open("wb") as file:  # written by us, since faiss cannot open every file name
        library.write_index(index, library.PyCallbackIOWriter(file.write))
    draft.replace(vectors)
    write_text(listed, "".join(_line(item) + "\n" for item in items))
    told = [{"name": item.name, "reason": reason} for item, reason in bad]
    write_text(folder / BAD, "".join(json.dumps(entry) + "\n" for entry in told))
    manifest = {
        "format": FORMAT,
        "version": VERSION,
        **about,
        "count": len(items),
        "bad": len(bad),
        "embed_dim": features.shape[1],
        "dtype": "float32",
        "metric": "inner product of unit vectors, exact",
        "files": {
            "vectors": {"name": vectors.name, "bytes": vectors.stat().st_size},
            "items": {"name": listed.name, "bytes": listed.stat().st_size},
        },
    }
    write_text(folder / MANIFEST, json.dumps(manifest, indent=2) + "\n")
    for path in (*folder.glob("vectors-*.faiss"), *folder.glob("items-*.jsonl")):
        if path not in (vectors, listed):
            path.unlink()
    return manifest


def read_blocks(folder: Path) -> Rows:
    """The blocks of an unfinished build; a damaged block is reported and computed again."""
    rows: Rows = {}
    for path in sorted((folder / BUILDING).glob("*.npz")):
        try:
            with np.load(path, allow_pickle=False) as block:
                items = [Item(**entry) for entry in json.loads(block["items"].tobytes())]
                rows.update(zip(items, block["features"], strict=True))
        except (OSError, ValueError, KeyError, TypeError, zipfile.BadZipFile) as error:
            warnings.warn(f"{path}: damaged ({error}); it is computed again", stacklevel=2)
            path.unlink()
    return rows


def write_block(folder: Path, items: Sequence[Item], features: np.ndarray) -> Path:
    """Write computed features as the next block; returns its path."""
    taken = [int(path.stem) for path in (folder / BUILDING).glob("*.npz")]
    path = folder / BUILDING / f"{max(taken, default=-1) + 1:06d}.npz"
    draft = path.with_suffix(".part")
    names = json.dumps([asdict(item) for item in items]).encode()
    with draft.open("wb") as file:
        np.savez(file, features=features, items=np.frombuffer(names, np.uint8))
    draft.replace(path)
    return path


@contextmanager
def building(folder: Path, about: dict[str, Any]) -> Iterator[None]:
    """Hold the folder, whose unfinished blocks are of the same kind and model.

    Raises:
        SearchError: it holds something else, is in use, or cannot be written.
    """
    work = folder / BUILDING
    _refuse_others(folder)
    try:
        work.mkdir(parents=True, exist_ok=True)
        lock = (work / "lock").open("w")
    except OSError as error:
        raise SearchError(f"{folder}: cannot be written: {error.strerror}") from None
    with lock:
        _take(lock, folder)
        begun = work / BEGUN
        facts = {"kind": about["kind"], "model": about["model"]["digest"]}
        if begun.exists() and json.loads(begun.read_bytes()) != facts:
            raise SearchError(
                f"{work}: begun with another model or kind; choose another folder, or delete this"
            )
        write_text(begun, json.dumps(facts))
        yield
        shutil.rmtree(work)


def _refuse_others(folder: Path) -> None:
    if folder.exists() and not folder.is_dir():
        raise SearchError(f"{folder}: a file; an index is a folder")
    ours = (folder / MANIFEST).exists() or (folder / BUILDING).exists()
    if folder.is_dir() and not ours and any(folder.iterdir()):
        raise SearchError(f"{folder}: a folder with other files; choose a new one for the index")


def _take(lock: Any, folder: Path) -> None:
    if fcntl is None:
        return
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        raise SearchError(f"{folder}: another process is building it; wait for its end") from None
    except OSError:
        return  # a file system without locks


def _line(item: Item) -> str:
    return json.dumps(asdict(item))
