"""Packs a source: the missing shards on several threads, then the manifest.

Threads instead of processes: reading, decoding, hashing and writing release Python's lock, and a
source with millions of items is neither copied nor pickled.
"""

import json
import shutil
import threading
from collections import Counter
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from tqdm import tqdm

from albef_jax.data.prepare.duplicates import find_repeats
from albef_jax.data.prepare.plan import PackingError, Plan, differences
from albef_jax.data.prepare.shard import WORKING, Facts, facts_path, finished, pack_shard
from albef_jax.data.records import PairSource
from albef_jax.data.shards.manifest import FORMAT, MANIFEST, VERSION, read_manifest
from albef_jax.data.tokenizer import Tokenizer
from albef_jax.storage.paths import AnyPath
from albef_jax.storage.staged import Staged, staged
from albef_jax.system.atomic import write_text
from albef_jax.version import __version__

try:
    import fcntl
except ImportError:  # Windows
    fcntl = None  # type: ignore[assignment]

BAD, DUPLICATES = "bad_samples.jsonl", "duplicates.jsonl"
PLAN = "plan.json"  # while packing is not complete
_SHARD = ".array_record"


def pack(source: PairSource, plan: Plan, out: AnyPath, threads: int, bar: bool) -> dict[str, Any]:
    """Pack the missing shards; returns the manifest.

    Args:
        out: directory of the shards; made if missing. To one in a bucket each shard is sent when
            it is complete; there is no lock, so only one process may pack there.
        threads: each packs one shard at a time.
        bar: show progress.

    Raises:
        PackingError: other shards are there, or a file cannot be written.
        StorageError: the bucket cannot be reached.
    """
    with staged(out) as folder:
        folder.fetch(_SHARD)
        try:
            return _pack(source, plan, folder, threads, bar)
        except PackingError as error:
            raise PackingError(folder.told(error)) from error


def _pack(
    source: PairSource, plan: Plan, folder: Staged, threads: int, bar: bool
) -> dict[str, Any]:
    here = folder.here
    with opened(here, plan) as manifest:
        if manifest is not None:
            return manifest
        folder.send(here / WORKING / PLAN)
        todo = left_to_do(here, plan)
        done = plan.items - sum(len(plan.places(number)) for number in todo)
        with tqdm(total=plan.items, initial=done, unit="item", disable=not bar) as progress:
            _pack_all(source, plan, folder, todo, threads, progress)
        manifest = complete(here, plan)
    folder.send(here / BAD, here / DUPLICATES, here / MANIFEST)
    folder.remove_gone()
    return manifest


@contextmanager
def opened(out: Path, plan: Plan) -> Iterator[dict[str, Any] | None]:
    """Hold the directory, which is empty or of this plan; yields its manifest if it is complete.

    Raises:
        PackingError: it cannot be written, is in use, or holds something else.
    """
    try:
        out.mkdir(parents=True, exist_ok=True)
        manifest = read_manifest(out)
        if manifest is not None:
            _compare(out, plan, manifest.get("plan", {}))
            shutil.rmtree(out / WORKING, ignore_errors=True)  # a kill may have left it
            yield manifest
            return
        (out / WORKING).mkdir(exist_ok=True)
        lock = (out / WORKING / "lock").open("w")
    except OSError as error:
        raise PackingError(f"{out}: cannot be written: {error.strerror}") from None
    except ValueError as error:
        raise PackingError(str(error)) from None
    with lock:
        _take(lock, out)
        path = out / WORKING / PLAN
        if path.exists():
            _compare(out, plan, json.loads(path.read_bytes()))
        elif left := next(out.glob(f"*{_SHARD}"), None):
            raise PackingError(f"{left}: shards of unknown origin; choose another --out")
        else:
            write_text(path, json.dumps(plan.as_json(), indent=2) + "\n")
        for part in out.glob("*.part"):  # left by a killed run
            part.unlink()
        yield None


def left_to_do(out: Path, plan: Plan) -> list[int]:
    """The shards that are not there yet."""
    return [number for number in range(plan.shards) if finished(out, plan, number) is None]


def _take(lock: Any, out: Path) -> None:
    if fcntl is None:
        return
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        raise PackingError(f"{out}: another process is packing into it; wait for its end") from None
    except OSError:
        return  # a file system without locks


def _compare(out: Path, plan: Plan, before: dict[str, Any]) -> None:
    ours = json.loads(json.dumps(plan.as_json()))
    if found := differences(ours, before):
        raise PackingError(
            "\n  ".join([f"{out} was begun with other options or data:", *found])
            + "\nChoose another --out, delete the directory, or go back to the options"
        )


class _Stopped(Exception):
    """Another shard failed."""


def _pack_all(
    source: PairSource, plan: Plan, out: Staged, todo: Sequence[int], threads: int, progress: tqdm
) -> None:
    tokenizer = Tokenizer(plan.vocab, 2)  # only used for uncut texts
    stop, lock = threading.Event(), threading.Lock()

    def packed_one() -> None:
        if stop.is_set():
            raise _Stopped
        with lock:
            progress.update()

    def pack_one(number: int) -> None:
        facts = pack_shard(source, plan, number, out.here, tokenizer, packed_one)
        if facts["file"]:
            out.send(out.here / facts["file"], drop=True)
        beside = facts_path(out.here, number)
        out.send(beside.with_suffix(".digests"), beside.with_suffix(".names"), beside)

    with ThreadPoolExecutor(threads) as pool:
        shards = [pool.submit(pack_one, number) for number in todo]
        try:
            for shard in as_completed(shards):
                shard.result()
        except BaseException:  # Ctrl-C, too
            stop.set()
            pool.shutdown(cancel_futures=True)
            raise


def complete(out: Path, plan: Plan) -> dict[str, Any]:
    """Write the lists and, last, the manifest; remove temporary files."""
    facts = []
    for number in range(plan.shards):
        found = finished(out, plan, number)
        if found is None:
            raise PackingError(f"{facts_path(out, number)}: missing or damaged; pack again")
        facts.append(found)
    repeats = find_repeats(out, facts)
    bad = [entry for fact in facts for entry in fact["bad"]]
    manifest = {
        **_counted(plan, facts),
        "bad": len(bad),
        "bad_reasons": dict(Counter(entry["reason"] for entry in bad).most_common(20)),
        "same_item_again": repeats.same_name,
        "images_under_several_names": len(repeats.groups),
        "shards": [_shard(fact) for fact in facts if fact["file"]],
        "plan": plan.as_json(),
    }
    try:
        _write_lines(out / BAD, bad)
        _write_lines(out / DUPLICATES, [{"names": names} for names in repeats.groups])
        write_text(out / MANIFEST, json.dumps(manifest, indent=2) + "\n")
    except OSError as error:
        raise PackingError(f"{out / MANIFEST}: cannot be written: {error.strerror}") from None
    shutil.rmtree(out / WORKING, ignore_errors=True)
    return manifest


def _counted(plan: Plan, facts: Sequence[Facts]) -> dict[str, Any]:
    def total(key: str) -> dict[str, int]:
        counts: Counter[str] = Counter()
        for fact in facts:
            counts.update(fact[key])
        numbers = all(name.isdigit() for name in counts)
        return {name: counts[name] for name in sorted(counts, key=int if numbers else str)}

    return {
        "format": FORMAT,
        "version": VERSION,
        "albef_jax": __version__,
        "source": plan.origin,
        "licence": plan.licence,
        "items": plan.items,
        "records": sum(fact["records"] for fact in facts),
        "captions": sum(fact["captions"] for fact in facts),
        "bytes": sum(fact["bytes"] for fact in facts),
        "image_id_limit": max(fact["image_id_limit"] for fact in facts),
        "images": total("stored"),
        "words": total("words"),
        "tokens": total("tokens"),
    }


def _shard(fact: Facts) -> dict[str, Any]:
    return {key: fact[key] for key in ("file", "records", "bytes", "sha256")}


def _write_lines(path: Path, entries: Sequence[dict[str, Any]]) -> None:
    write_text(path, "".join(json.dumps(entry) + "\n" for entry in entries))
