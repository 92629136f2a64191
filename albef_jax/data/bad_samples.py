"""Counts and records unusable images, and stops the run if there are too many."""

import json
import logging
import threading
from collections import defaultdict
from pathlib import Path

from albef_jax.errors import BadSample, TooManyBadSamples
from albef_jax.system import atomic

_log = logging.getLogger(__name__)
_LOGGED_SINGLY = 10
_FIRST_REQUESTS = 64
_REASONS_SHOWN = 3


class BadSamples:
    """The register of unusable samples. Safe to share between threads.

    Args:
        path: a JSON Lines file, one `{"name", "reason"}` for each distinct name; entries of an
            earlier run count. None keeps no file.
        max_share: the share of the data set that may be bad. One bad sample is always allowed,
            unless this is 0.
        dataset_size: the number of samples in the data set.
        process: of those that share `path`. All except process 0 write beside it, to `NAME-I`;
            `merge` collects these files.
    """

    def __init__(
        self, path: str | Path | None, max_share: float, dataset_size: int, process: int = 0
    ):
        self._path = None if path is None else Path(path)
        self._first = process == 0
        self._own = self._path
        if self._path and not self._first:
            self._own = self._path.with_name(f"{self._path.stem}-{process}{self._path.suffix}")
        self._max_share = max_share
        self._size = dataset_size
        self._reasons = {} if self._path is None else _read(self._path)
        if self._own and not self._first:
            self._reasons |= _read(self._own)
        self._requests = 0
        self._early_failures = 0
        self._lock = threading.Lock()

    @property
    def count(self) -> int:
        """How many distinct samples are known to be bad."""
        return len(self._reasons)

    def requested(self) -> None:
        """Count one attempt to read a sample, with any outcome."""
        with self._lock:
            self._requests += 1

    def report(self, bad: BadSample) -> None:
        """Register one bad sample; a name seen before is not written again.

        Raises:
            TooManyBadSamples: distinct names exceed the share, or more than half of the first 64
                requests failed (to notice a wrong directory early).
        """
        with self._lock:
            if bad.name not in self._reasons:
                self._reasons[bad.name] = bad.reason
                self._write(bad)
            self._early_failures += self._requests <= _FIRST_REQUESTS
            self._check()

    def merge(self, *, last: bool = False) -> None:
        """On process 0, collect the entries of the others; elsewhere, do nothing.

        Args:
            last: remove the files of the others, which are complete.

        Raises:
            TooManyBadSamples: all together exceed the share.
        """
        if self._path is None or not self._first:
            return
        with self._lock:
            before = self.count
            for beside in sorted(self._path.parent.glob(f"{self._path.stem}-*{self._path.suffix}")):
                for name, reason in _parse(beside.read_text("utf-8"), beside).items():
                    if name not in self._reasons:
                        self._reasons[name] = reason
                        self._write(BadSample(name, reason))
                if last:
                    beside.unlink()
            if self.count > before:
                self._check()

    def _write(self, bad: BadSample) -> None:
        if self.count <= _LOGGED_SINGLY or self.count % 100 == 0:
            _log.warning("bad sample %d: %s", self.count, bad)
        if self._own is not None:
            self._own.parent.mkdir(parents=True, exist_ok=True)
            with self._own.open("a", encoding="utf-8") as file:
                file.write(json.dumps({"name": bad.name, "reason": bad.reason}) + "\n")

    def _check(self) -> None:
        allowed = self._max_share * self._size
        if self.count > (max(1, allowed) if allowed else 0):
            raise TooManyBadSamples(self._explain("that is more than data.max_bad_share allows"))
        if self._early_failures > _FIRST_REQUESTS // 2:
            raise TooManyBadSamples(
                self._explain(f"{self._early_failures} of the first {self._requests} reads failed")
            )

    def _explain(self, verdict: str) -> str:
        lines = [
            f"{self.count} of {self._size} samples ({self.count / max(1, self._size):.2%}) cannot "
            f"be used: {verdict} (data.max_bad_share={self._max_share:g}). Most common reasons:"
        ]
        names = defaultdict(list)
        for name, reason in self._reasons.items():
            names[reason].append(name)
        commonest = sorted(names, key=lambda reason: -len(names[reason]))
        for reason in commonest[:_REASONS_SHOWN]:
            lines.append(f"  {len(names[reason])} x {reason}, as {names[reason][0]}")
        lines.append("Repair or remove these samples, or raise data.max_bad_share.")
        if self._path is not None:
            lines.append(f"All are listed in {self._path}; delete that file after a repair.")
        return "\n".join(lines)


def _read(path: Path) -> dict[str, str]:
    if not path.exists():
        return {}
    text = path.read_text("utf-8")
    if text and not text.endswith("\n"):  # the last run was killed while it wrote this line
        text = text[: text.rfind("\n") + 1]
        atomic.write_text(path, text)
    return _parse(text, path)


def _parse(text: str, path: Path) -> dict[str, str]:
    """The entries of all whole lines."""
    try:
        entries = [json.loads(line) for line in text[: text.rfind("\n") + 1].splitlines()]
        return {entry["name"]: entry["reason"] for entry in entries}
    except (ValueError, KeyError, TypeError):
        raise ValueError(f"{path}: not a list of bad samples; move or delete the file") from None
