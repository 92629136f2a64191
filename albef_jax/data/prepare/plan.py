"""The plan of a packing: source and options. A directory holds shards of one plan."""

from dataclasses import asdict, dataclass, field
from typing import Any


class PackingError(Exception):
    """Packing cannot start or continue; the message has the remedy."""


@dataclass(frozen=True)
class Plan:
    """How a source becomes shards.

    Attributes:
        items: length of the source.
        given: the origin of the source: options and files, for the manifest and to distinguish
            plans.
        name: prefix of the shards' file names.
        shard_size: items in a shard; bad items give fewer records.
        resize: longest short side of an image in pixels; longer ones are reduced to it; 0 keeps
            the bytes of every file.
        quality: of JPEG files that are made here.
        vocab: whose tokens are counted.
        origin: a note on the origin of the data.
        licence: of the data.
    """

    items: int
    given: dict[str, Any] = field(default_factory=dict)
    name: str = "pairs"
    shard_size: int = 10_000
    resize: int = 0
    quality: int = 95
    vocab: str = "bert-base-uncased"
    origin: str = ""
    licence: str = ""

    def __post_init__(self):
        problems = []
        if self.items < 1:
            problems.append("there is nothing to pack")
        if self.shard_size < 1:
            problems.append(f"--shard_size={self.shard_size}: must be greater than 0")
        if self.resize < 0:
            problems.append(f"--resize={self.resize}: must not be negative; 0 keeps images")
        if not 1 <= self.quality <= 100:
            problems.append(f"--quality={self.quality}: must lie between 1 and 100")
        if not self.name or "/" in self.name or set(self.name) & set("*?[]{},"):
            problems.append(f"--name={self.name!r}: give a plain word, it begins file names")
        if problems:
            raise PackingError("\n".join(problems))

    @property
    def shards(self) -> int:
        """The number of shards."""
        return -(-self.items // self.shard_size)

    def places(self, number: int) -> range:
        """The items of a shard."""
        start = number * self.shard_size
        return range(start, min(start + self.shard_size, self.items))

    def file(self, number: int) -> str:
        """The name of a shard."""
        return f"{self.name}-{number:05d}-of-{self.shards:05d}.array_record"

    def as_json(self) -> dict[str, Any]:
        """The plan as JSON."""
        return asdict(self)


def differences(ours: dict[str, Any], theirs: dict[str, Any], at: str = "") -> list[str]:
    """The differences of two plans as JSON, such as 'shard_size: 100 before, 200 now'."""
    found = []
    for key in [*ours, *(key for key in theirs if key not in ours)]:
        mine, before = ours.get(key), theirs.get(key)
        if isinstance(mine, dict) and isinstance(before, dict):
            found += differences(mine, before, f"{at}{key}.")
        elif mine != before:
            found.append(f"{at}{key}: {before!r} before, {mine!r} now")
    return found
