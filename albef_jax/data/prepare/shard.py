"""Packs one shard: a range of the source to an ArrayRecord file, and facts about it.

Files get their names when they are complete, the shard first and its facts last, so the facts mark
a finished shard.
"""

import hashlib
import json
import os
import uuid
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from array_record.python.array_record_module import ArrayRecordWriter

from albef_jax.data.prepare.digests import digest
from albef_jax.data.prepare.lengths import Lengths, as_json
from albef_jax.data.prepare.plan import PackingError, Plan
from albef_jax.data.prepare.stored_image import stored
from albef_jax.data.records import PairSource
from albef_jax.data.shards.packed_record import encode_pair
from albef_jax.data.tokenizer import Tokenizer
from albef_jax.errors import BadSample
from albef_jax.storage.paths import path_of
from albef_jax.storage.retries import StorageError
from albef_jax.system.atomic import write_text

WORKING = "packing"  # directory of the facts, while packing is not complete
# Each record by itself, for random access; images are compressed already.
_OPTIONS = "group_size:1,uncompressed"
_LARGEST_ID = 2**31 - 1

Facts = dict[str, Any]


def facts_path(out: Path, number: int) -> Path:
    """The path of the facts about a shard."""
    return out / WORKING / f"{number:05d}.json"


def finished(out: Path, plan: Plan, number: int) -> Facts | None:
    """The facts about a finished shard; None if it is unfinished, or it or its images changed."""
    try:
        facts = json.loads(facts_path(out, number).read_bytes())
        if "stored" not in facts:  # written by a version with other names
            return None
        if "images" in facts:
            names = json.loads(facts_path(out, number).with_suffix(".names").read_bytes())
            if facts["images"] != _stamp([*names, *(bad["name"] for bad in facts["bad"])]):
                return None
        if facts["file"] is not None:
            whole = (out / facts["file"]).stat().st_size == facts["bytes"]
            return facts if whole else None
        return facts
    except StorageError:
        raise
    except (OSError, ValueError, KeyError, TypeError):
        return None


def pack_shard(
    source: PairSource,
    plan: Plan,
    number: int,
    out: Path,
    tokenizer: Tokenizer,
    packed_one: Callable[[], None] = lambda: None,
) -> Facts:
    """Write shard `number` and its facts.

    Args:
        out: directory of the shards.
        packed_one: called after each item; its exceptions stop the shard.

    Raises:
        PackingError: a file cannot be written; nothing half-written remains.
    """
    path = out / plan.file(number)
    # A unique name, since a cluster may start a shard twice, when one machine seems too slow.
    part = path.with_name(f"{path.name}.{uuid.uuid4().hex}.part")
    shard = _Shard(plan, Lengths(tokenizer))
    try:
        with _writing(path):
            writer = ArrayRecordWriter(str(part), _OPTIONS)
        try:
            for index in plan.places(number):
                if (record := shard.record(source, index)) is not None:
                    with _writing(path):
                        writer.write(record)
                packed_one()
        finally:
            with _writing(path):
                writer.close()
        with _writing(path):
            facts = shard.facts(number, _finish(part, path) if shard.records else None)
            _write_beside(facts_path(out, number), shard)
            write_text(facts_path(out, number), json.dumps(facts) + "\n")
    finally:
        with suppress(OSError):
            part.unlink(missing_ok=True)
    return facts


@contextmanager
def _writing(path: Path) -> Iterator[None]:
    """Errors in this block are the disk's, not the source's."""
    try:
        yield
    except (OSError, RuntimeError) as error:
        reason = getattr(error, "strerror", None) or str(error).partition(";")[0]
        raise PackingError(
            f"{path}: cannot be written: {reason}. Finished shards are kept; make room or fix the "
            "directory, and give the same command again"
        ) from error


class _Shard:
    """Counts while a shard is written."""

    def __init__(self, plan: Plan, lengths: Lengths):
        self.records = 0
        self.names: list[str] = []
        self.digests: list[bytes] = []
        self._plan, self._lengths = plan, lengths
        self._bad: list[dict[str, str]] = []
        self._how: Counter[str] = Counter()
        self._image_id_limit = 0

    def record(self, source: PairSource, index: int) -> bytes | None:
        """The record of an item; None for a bad one, which is recorded."""
        try:
            pair, how = stored(source, index, self._plan.resize, self._plan.quality)
            if not 0 <= pair.image_id <= _LARGEST_ID:
                raise BadSample(pair.name, f"its image_id {pair.image_id} is not within 31 bits")
        except BadSample as bad:
            self._bad.append({"name": bad.name, "reason": bad.reason})
            return None
        self.records += 1
        self._how[how] += 1
        self._lengths.add(pair.captions)
        self._image_id_limit = max(self._image_id_limit, pair.image_id + 1)
        self.names.append(pair.name)
        self.digests.append(digest(pair.data, pair.name))
        return encode_pair(pair)

    def facts(self, number: int, file: dict[str, Any] | None) -> Facts:
        """What the manifest needs."""
        return {
            "number": number,
            **(file or {"file": None, "bytes": 0, "sha256": None}),
            "records": self.records,
            "captions": self._lengths.words.total(),
            "stored": dict(self._how),
            "image_id_limit": self._image_id_limit,
            "words": as_json(self._lengths.words),
            "tokens": as_json(self._lengths.tokens),
            "bad": self._bad,
            **self._images(),
        }

    def _images(self) -> Facts:
        """The image files of a list, for its fingerprint; other sources have shards."""
        if self._plan.given.get("source") != "json":
            return {}
        return {"images": _stamp([*self.names, *(bad["name"] for bad in self._bad)])}


def _stamp(files: Iterable[str]) -> str:
    """A digest of sizes and times of change."""
    total = hashlib.sha256()
    for file in files:
        try:
            status = path_of(file).stat()
        except StorageError:
            raise
        except (OSError, ValueError):  # ValueError: no file can have such a name
            total.update(b"missing;")
        else:
            total.update(b"%d %d;" % (status.st_size, status.st_mtime_ns))
    return total.hexdigest()


def _finish(part: Path, path: Path) -> dict[str, Any]:
    """Digest, flush to the disk, and give the file its name."""
    with part.open("rb") as file:
        digest = hashlib.file_digest(file, "sha256").hexdigest()
        os.fsync(file.fileno())
    size = part.stat().st_size
    part.replace(path)
    return {"file": path.name, "bytes": size, "sha256": digest}


def _write_beside(facts: Path, shard: _Shard) -> None:
    """Write digests and names, to find duplicates at the end."""
    facts.with_suffix(".digests").write_bytes(b"".join(shard.digests))
    write_text(facts.with_suffix(".names"), json.dumps(shard.names) + "\n")
