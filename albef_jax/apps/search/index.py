"""Builds and searches indexes of images or captions: the nearest by ITC, re-ranked by ITM.

Shape letters: N items, E width of the contrastive space.
"""

import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from tqdm import tqdm

from albef_jax.apps.search import storage
from albef_jax.apps.search.item import Item, Items
from albef_jax.apps.search.reading import image_at, read_ahead
from albef_jax.apps.search.storage import Rows, model_digest
from albef_jax.errors import BadSample
from albef_jax.inference.arguments import ArgumentError, whole_number
from albef_jax.inference.inputs import ImageInput, is_one_image
from albef_jax.inference.model import Model, load
from albef_jax.inference.outputs import SearchError
from albef_jax.pretrained.folders import locate
from albef_jax.storage.addresses import in_bucket
from albef_jax.storage.paths import AnyPath, path_of, under
from albef_jax.storage.staged import Staged, staged
from albef_jax.version import __version__

BLOCK = 256  # items between two writes, at most lost by a kill
_THREADS = 4


@dataclass(frozen=True)
class Hit:
    """A search result.

    Attributes:
        name: the image's path below the index's root, or the caption.
        itc: cosine of the features, -1 to 1.
        itm: probability of the match head, 0 to 1; None without re-ranking.
        path: of the image, `shard.tar/key` in a tar shard; None for a caption.
    """

    name: str
    itc: float
    itm: float | None
    path: AnyPath | None = None


@dataclass(frozen=True)
class Built:
    """An index that is complete.

    Attributes:
        manifest: see `storage`.
        computed: how many items were encoded now; the others existed.
        bad: unusable images, with the reasons.
    """

    manifest: dict[str, Any]
    computed: int
    bad: list[tuple[Item, str]]


def build_index(
    model: Model,
    items: Items,
    folder: str | AnyPath,
    *,
    model_path: str | Path = "",
    vocab: str | Path | None = None,
    block: int = BLOCK,
    known: Rows | None = None,
    bar: bool = False,
) -> Built:
    """Build an index, continue an interrupted one, or update one.

    Only new and changed items are encoded. Bad images are left out and reported.

    Args:
        folder: of the index. One in a bucket gets each block of features when it is computed; there
            is no lock, so only one process may build there.
        model_path, vocab: the arguments that loaded the model, to load it again for searching.
        block: items between two writes.
        known: features that were computed before by the same model, as `tools.embed` writes them.
        bar: show progress.

    Raises:
        CannotServe: the checkpoint has no features.
        SearchError: the folder holds something else, no image can be used, or the items are
            captions in tar shards.
    """
    if items.kind == "text" and items.root:
        raise SearchError(
            f"{items.source}: tools.embed encodes captions of tar shards, but an index keeps "
            "captions by their texts; write them into a file, one a line"
        )
    block = whole_number("block", block, 1)
    model.need("image_proj", "features")
    storage.faiss()  # not after an hour of encoding
    about = {
        "albef_jax": __version__,
        "kind": items.kind,
        "source": items.source,
        "root": items.root,
        "model": {
            "path": _kept_model(model_path),
            "vocab": _kept_vocab(vocab),
            "task": model.task,
            "image_size": model.config.image_size,
            "digest": model_digest(model),
        },
    }
    with staged(folder) as out:
        out.fetch()
        try:
            return _build(model, items, out, about, known or {}, block, bar)
        except SearchError as error:
            raise SearchError(out.told(error)) from error


def _build(
    model: Model,
    items: Items,
    out: Staged,
    about: dict[str, Any],
    known: Rows,
    block: int,
    bar: bool,
) -> Built:
    folder = out.here
    before = _before(folder, about)
    with storage.building(folder, about):
        out.send(folder / storage.BUILDING / storage.BEGUN)
        rows = known | before | storage.read_blocks(folder)
        todo = [item for item in items.items if item not in rows]
        bad = _encode(model, items, todo, rows, out, block, bar)
        good = [item for item in items.items if item in rows]
        if not good:
            (worst, reason), *_ = bad
            raise SearchError(f"none of {len(bad)} images can be used, as {worst.name}: {reason}")
        features = np.stack([rows[item] for item in good])
        manifest = storage.write_index(folder, good, features, bad, about)
    names = [file["name"] for file in manifest["files"].values()]
    out.send(*(folder / name for name in (*names, storage.BAD, storage.MANIFEST)))
    out.remove_gone()
    return Built(manifest, len(todo) - len(bad), bad)


def _kept_model(path: str | Path) -> str:
    """The name of a model in the package, an address, or else an absolute path; empty for none."""
    if in_bucket(str(path)):
        return str(path)
    named = locate(path) != Path(path)
    return str(path if named or not path else Path(path).absolute())


def _kept_vocab(vocab: str | Path | None) -> str | None:
    """A built-in name or an address unchanged, a file as its absolute path."""
    if vocab is None or in_bucket(str(vocab)):
        return None if vocab is None else str(vocab)
    return str(Path(vocab).absolute()) if Path(vocab).is_file() else str(vocab)


def _before(folder: Path, about: dict[str, Any]) -> Rows:
    """The rows of the existing index."""
    manifest = storage.read_manifest(folder)
    if manifest is None:
        return {}
    for what, ours, theirs in (
        ("kind", about["kind"], manifest["kind"]),
        ("model", about["model"]["digest"], manifest["model"]["digest"]),
        ("root", about["root"], manifest["root"]),
    ):
        if ours != theirs:
            raise SearchError(
                f"{folder}: an index with another {what} ({theirs}, now {ours}); choose another "
                "folder, or delete this one"
            )
    listed, library = storage.read_index(folder, manifest)
    vectors = library.reconstruct_n(0, len(listed)) if listed else []
    return dict(zip(listed, vectors, strict=True))


def _encode(
    model: Model,
    items: Items,
    todo: Sequence[Item],
    rows: Rows,
    out: Staged,
    block: int,
    bar: bool,
) -> list[tuple[Item, str]]:
    """Fill `rows`, a block at a time; the bad ones."""
    bad: list[tuple[Item, str]] = []
    total = len(items.items)
    with tqdm(total=total, initial=total - len(todo), unit="item", disable=not bar) as progress:
        for given, read in read_ahead(items, todo, block, model.config.image_size, _THREADS):
            kept: list[tuple[Item, Any]] = []
            for item, content in zip(given, read, strict=True):
                if isinstance(content, BadSample):
                    bad.append((item, content.reason))
                    progress.write(f"left out: {item.name}: {content.reason}", file=sys.stderr)
                else:
                    kept.append((item, content))
            if kept:
                features = _features(model, items.kind, [content for _, content in kept])
                out.send(storage.write_block(out.here, [item for item, _ in kept], features))
                rows.update(zip([item for item, _ in kept], features, strict=True))
            progress.update(len(given))
    return bad


def _features(model: Model, kind: str, contents: list[Any]) -> np.ndarray:
    """Unit vectors `[n, E]`; a batch at a time, since tokens come with them and are dropped."""
    encode = model.encode_image if kind == "image" else model.encode_text
    starts = range(0, len(contents), model.batch_size)
    parts = [encode(contents[start : start + model.batch_size]).feature for start in starts]
    return np.concatenate(parts).astype(np.float32)


@dataclass(frozen=True)
class Index:
    """An index with its model; see `open_index`."""

    folder: AnyPath
    manifest: dict[str, Any]
    model: Model
    items: list[Item]
    vectors: Any

    @property
    def kind(self) -> str:
        """The kind of results: "image" or "text"."""
        return self.manifest["kind"]

    def __len__(self) -> int:
        return len(self.items)

    def search(self, query: str | ImageInput, k: int = 12, rerank: bool = True) -> list[Hit]:
        """The k nearest by ITC, exactly; best first, by ITM where they are re-ranked.

        Args:
            query: a text for an index of images; an image for one of captions.
            k: how many; all if there are fewer.
            rerank: order the k by the match head.

        Raises:
            SearchError: k is no whole number of 1 or more, a query of the wrong kind, or an image
                that no longer exists.
            CannotServe: re-ranking by a checkpoint without a match head.
        """
        try:
            k = whole_number("k", k, 1)
        except ArgumentError as error:
            raise SearchError(str(error)) from None
        self._check(query)
        encode: Any = self.model.encode_text if self.kind == "image" else self.model.encode_image
        feature = encode(query).feature[:1].astype(np.float32)
        scores, places = self.vectors.search(feature, min(k, len(self)))
        found = [self.items[place] for place in places[0]]
        itm = self._match(query, found) if rerank else [None] * len(found)
        hits = [
            Hit(item.name, float(score), share, self._path(item))
            for item, score, share in zip(found, scores[0], itm, strict=True)
        ]
        return sorted(hits, key=lambda hit: -hit.itm if hit.itm is not None else 0)

    def _check(self, query: Any) -> None:
        text = isinstance(query, str)
        if not text and not is_one_image(query):
            raise SearchError(f"one query at a time, not {type(query).__name__}")
        if self.kind == "image" and not text:
            raise SearchError(f"{self.folder} holds images: ask it by a text, not by an image")
        if self.kind == "text" and text and not Path(query).is_file():
            raise SearchError(
                f"{self.folder} holds captions: ask it by an image; there is no file {query!r}"
            )
        if text and not query.strip():
            raise SearchError("the query is empty")

    def _match(self, query: Any, found: Sequence[Item]) -> list[float]:
        if self.kind == "text":
            return self.model.match(query, [item.name for item in found]).itm.tolist()
        images = []
        for item in found:
            try:
                path = under(self.manifest["root"], item.name)
                images.append(image_at(path))
            except BadSample as problem:
                raise SearchError(
                    f"{problem}; it was there when {self.folder} was built: build it again, or "
                    "search without re-ranking"
                ) from None
        return self.model.match(images, query).itm.tolist()

    def _path(self, item: Item) -> AnyPath | None:
        return under(self.manifest["root"], item.name) if self.kind == "image" else None


def open_index(
    folder: str | AnyPath,
    model: Model | str | Path | None = None,
    *,
    vocab: str | Path | None = None,
) -> Index:
    """An index to search.

    Args:
        model: the one that it was built with, or its path; by default the path at that time.
        vocab: for `load`; by default as at that time.

    Raises:
        SearchError: no index, a damaged one, or one of another model.
        CheckpointError: the model cannot be read.
    """
    folder = path_of(folder)
    manifest = storage.read_manifest(folder)
    if manifest is None:
        unfinished = (folder / storage.BUILDING).is_dir()
        told = "its building is not complete; give the same command again" if unfinished else ""
        raise SearchError(f"{folder}: {told or 'no index here; build one first'}")
    items, vectors = storage.read_index(folder, manifest)
    if not isinstance(model, Model):
        path, vocab = model or manifest["model"]["path"], vocab or manifest["model"]["vocab"]
        if not path or not (in_bucket(str(path)) or locate(path).exists()):
            raise SearchError(
                f"{folder}: its model is no longer at {path or '(unknown)'}; name it by --model"
            )
        model = load(path, vocab=vocab)
    model.need("image_proj", "features")
    if (digest := model_digest(model)) != manifest["model"]["digest"]:
        raise SearchError(
            f"{folder}: built with another model ({manifest['model']['path']}, "
            f"{manifest['model']['digest'][:12]}, not {digest[:12]}); give that one, or build again"
        )
    return Index(folder, manifest, model, items, vectors)
