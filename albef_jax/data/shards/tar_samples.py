"""Groups the members of a tar shard into samples: image, .txt and .json of one key.

Two rules exist. WebDataset's key is the part of the base name up to its first dot, and the rest is
the field, as in `0001.input.jpg`; other names contain dots, as in `22.05.jpg`, and their key ends
at the last one. A shard follows the rule that completes more samples or, if it has no captions at
all, the one that leaves fewer files over; in a tie, WebDataset's.
"""

from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Sequence
from posixpath import dirname, join, normpath
from typing import NamedTuple

from albef_jax.data.images.suffixes import IMAGE_ENDINGS

IMAGE, TEXT, JSON = 0, 1, 2
_ENDINGS: tuple[tuple[str, ...], ...] = (IMAGE_ENDINGS, ("txt",), ("json",))
_LINKS = 8  # that may form a chain


class Member(NamedTuple):
    """A file of a tar: the place of its bytes or, for a link, the name of its target.

    An `offset` of -1 and no `target`: neither (a sparse file or a device).
    """

    name: str
    offset: int
    size: int
    target: str = ""


class Sample(NamedTuple):
    """A key, and its image, .txt and .json, or None."""

    key: str
    files: tuple[Member | None, Member | None, Member | None]

    @property
    def whole(self) -> bool:
        """Whether it has an image and something that may hold a caption."""
        return self.files[IMAGE] is not None and self.files[1:] != (None, None)


class Stray(NamedTuple):
    """A member that belongs to no sample, with the reason."""

    name: str
    reason: str


class Grouped(NamedTuple):
    """The samples of a shard in the order of their first member, and the remaining members."""

    samples: list[Sample]
    strays: list[Stray]


def group(members: Iterable[Member]) -> Grouped:
    """The samples of a shard."""
    found, strays = _readable(list(members))
    webdataset, everyday = (_group(found, rule) for rule in (_to_first_dot, _to_last_dot))
    best = max((webdataset, everyday), key=_worth)
    return Grouped(best.samples, strays + best.strays)


def link_target(name: str, link: str) -> str:
    """The target member of the symbolic link `name`."""
    return normpath(join(dirname(name), link))


def _worth(found: Grouped) -> tuple[int, int]:
    whole = sum(sample.whole for sample in found.samples)
    return whole, 0 if whole else -len(found.strays)


def _readable(members: Sequence[Member]) -> tuple[list[Member], list[Stray]]:
    """Members with the places of their bytes, links resolved; and hidden or empty ones."""
    by_name = {member.name: member for member in members}
    found, strays = [], []
    for member in members:
        end = member
        for _ in range(_LINKS):
            if not end.target:
                break
            end = by_name.get(end.target, end._replace(target="", offset=-1))
        if member.name.rpartition("/")[2].startswith("."):
            strays.append(Stray(member.name, "a hidden file"))
        elif end.offset >= 0:
            found.append(Member(member.name, end.offset, end.size))
        elif member.target:
            strays.append(Stray(member.name, f"a link to {member.target}, which is not there"))
        else:
            strays.append(Stray(member.name, "no regular file"))
    return found, strays


def _to_first_dot(base: str) -> tuple[str, str]:
    key, _, field = base.partition(".")
    return key, field.lower()


def _to_last_dot(base: str) -> tuple[str, str]:
    key, _, field = base.rpartition(".")
    return key, field.lower()


def _group(members: Sequence[Member], rule: Callable[[str], tuple[str, str]]) -> Grouped:
    by_key: dict[str, list[tuple[str, Member]]] = defaultdict(list)
    for member in members:
        folder, slash, base = member.name.rpartition("/")
        key, field = rule(base)
        by_key[folder + slash + key].append((field, member))
    kinds = _kinds(field for parts in by_key.values() for field, _ in parts)
    place_of = {id(member): place for place, member in enumerate(members)}
    placed: list[tuple[int, Sample]] = []
    strays: list[Stray] = []
    for key, parts in by_key.items():
        known = [part for part in parts if part[0] in kinds]
        if not known or not key.rpartition("/")[2]:
            strays += [Stray(member.name, _why(field, kinds)) for field, member in parts]
            continue
        for turn in _turns(known, strays):
            first = min(place_of[id(member)] for member in turn.values())
            placed.append((first, _sample(key, turn, kinds)))
    return Grouped([sample for _, sample in sorted(placed, key=lambda one: one[0])], strays)


def _kinds(fields: Iterable[str]) -> dict[str, int]:
    """The kind of each field of a shard.

    `jpg` is an image, and so is `input.jpg` if it is the shard's only such field: among several
    (`left.jpg`, `right.jpg`) the choice is unknown. A number is part of a name, not a field.
    """
    distinct = sorted(set(fields))
    kinds: dict[str, int] = {}
    for kind, endings in enumerate(_ENDINGS):
        kinds |= {field: kind for field in distinct if field in endings}
        named = [
            field
            for field in distinct
            if (parts := field.rpartition("."))[2] in endings and parts[0].isidentifier()
        ]
        if len(named) == 1:
            kinds[named[0]] = kind
    return kinds


def _why(field: str, kinds: dict[str, int]) -> str:
    ending = field.rpartition(".")[2]
    if field in kinds or any(ending in endings for endings in _ENDINGS):
        return "its name fits no sample"
    return f"neither an image nor .txt nor .json (.{ending})" if ending else "has no ending"


def _turns(parts: Sequence[tuple[str, Member]], strays: list[Stray]) -> Iterator[dict[str, Member]]:
    """The samples of one key: a repeated field begins another one.

    An incomplete one instead replaces files of the previous one, as an appended file does in a
    tar; the replaced files are strays.
    """
    turns: list[dict[str, Member]] = [{}]
    for field, member in parts:
        if field in turns[-1]:
            turns.append({})
        turns[-1][field] = member
    done: list[dict[str, Member]] = []
    for turn in turns:
        if not done or set(turn) == set(done[-1]):
            done.append(turn)
            continue
        for field in turn.keys() & done[-1].keys():
            strays.append(Stray(done[-1][field].name, "replaced by a later file of the same name"))
        done[-1] |= turn
    yield from done


def _sample(key: str, files: dict[str, Member], kinds: dict[str, int]) -> Sample:
    """Among several files of a kind, plain suffixes precede fields', and `jpg` precedes `png`."""
    chosen: list[Member | None] = [None, None, None]
    order = [ending for endings in _ENDINGS for ending in endings]
    for field in sorted(files, key=lambda one: order.index(one) if one in order else len(order)):
        if chosen[kinds[field]] is None:
            chosen[kinds[field]] = files[field]
    return Sample(key, tuple(chosen))  # type: ignore[arg-type]
