"""The page's answers, without the page: uploaded files and typed texts in, plain values out.

A visitor's mistake raises `Refused`, whose message the page shows.
"""

from collections.abc import Callable, Sequence
from functools import wraps
from pathlib import Path

import numpy as np

from albef_jax.apps.search.index import Index
from albef_jax.apps.search.reading import image_at
from albef_jax.data.annotations.checks import read_image
from albef_jax.errors import BadSample
from albef_jax.inference.arguments import ArgumentError
from albef_jax.inference.model import Model
from albef_jax.inference.outputs import CannotServe, SearchError
from albef_jax.report.overlays import heat_over, resized
from albef_jax.system.terminal import as_utf8

MOST_BYTES = 10 * 2**20  # of a file
MOST_FILES = 32
MOST_TEXTS = 32
MOST_LETTERS = 400  # of a text
_HEAT_SIDE = 640  # heat maps are as large as the image, one a word

Shown = tuple[np.ndarray, str]  # uint8 RGB [H, W, 3] and what stands below


class Refused(Exception):
    """A visitor's mistake; the message has the remedy."""


def polite(function: Callable) -> Callable:
    """Turn errors of use into `Refused`; others are bugs and pass through."""

    @wraps(function)
    def answered(*given, **named):
        try:
            return function(*given, **named)
        except BadSample as problem:
            name = Path(problem.name).name
            raise Refused(as_utf8(f"{name} cannot be used: {problem.reason}")) from None
        except (ArgumentError, CannotServe, SearchError) as problem:
            raise Refused(as_utf8(str(problem))) from None

    return answered


class Answers:
    """The answers of a model, for the tabs of a page.

    Args:
        model: any; a tab that it cannot serve refuses.
        index: of images, to search if no images are uploaded.

    Raises:
        SearchError: an index of captions.
    """

    def __init__(self, model: Model, index: Index | None = None):
        if index is not None and index.kind != "image":
            raise SearchError(
                f"{index.folder} holds captions, and the page searches images; use tools.search"
            )
        self.model, self.index = model, index

    @polite
    def match(self, file: str | None, texts: str) -> list[list]:
        """Rows of text, ITM and ITC, the best first.

        Args:
            file: of the image.
            texts: one a line.
        """
        image = _image(file)
        lines = [_text(line, "a text") for line in (texts or "").splitlines() if line.strip()]
        if not lines:
            raise Refused("Type at least one text, one a line.")
        if len(lines) > MOST_TEXTS:
            raise Refused(f"These are {len(lines)} texts; {MOST_TEXTS} at a time, please.")
        found = self.model.match(image, lines)
        rows = zip(lines, found.itm.tolist(), found.itc.tolist(), strict=True)
        ordered = sorted(rows, key=lambda row: -row[1])
        return [[text, round(itm, 3), round(itc, 3)] for text, itm, itc in ordered]

    @polite
    def search(self, files: Sequence[str] | None, query: str, k: int = 12) -> list[Shown]:
        """The images that match a text, best first, with their scores.

        Args:
            files: to search; none for the index.
        """
        query = _text(query, "what to look for")
        if files:
            return self._search_files(files, query, int(k))
        if self.index is None:
            raise Refused("Upload some images to search in.")
        hits = self.index.search(query, int(k))
        return [
            (resized(image_at(hit.path), _HEAT_SIDE), _scores(hit.name, hit.itm, hit.itc))
            for hit in hits
            if hit.path
        ]

    @polite
    def answer(self, file: str | None, question: str, answers: str = "") -> dict[str, float]:
        """Answers with their probabilities.

        Args:
            answers: to choose from, separated by commas; empty for the model's own.
        """
        image, question = _image(file), _text(question, "a question")
        listed = list(dict.fromkeys(one.strip() for one in (answers or "").split(",")))
        listed = [one for one in listed if one]
        if len(listed) > MOST_TEXTS:
            raise Refused(f"These are {len(listed)} answers; {MOST_TEXTS} at a time, please.")
        choice = [_text(one, "an answer") for one in listed] or None
        return dict(self.model.answer(image, question, choice))

    @polite
    def ground(self, file: str | None, text: str) -> list[Shown]:
        """Heat maps over the image: of the whole text, then of each word."""
        image, text = _image(file), _text(text, "a text")
        if max(image.shape[:2]) > _HEAT_SIDE:
            image = resized(image, _HEAT_SIDE)
        found = self.model.ground(image, text)
        whole = (heat_over(image, found.heatmap), f"whole text, ITM {found.match:.3f}")
        return [whole, *((heat_over(image, heat), word) for word, heat in found.words)]

    def _search_files(self, files: Sequence[str], query: str, k: int) -> list[Shown]:
        if len(files) > MOST_FILES:
            raise Refused(f"These are {len(files)} images; {MOST_FILES} at a time, please.")
        names = [Path(file).name for file in files]
        images = [_image(file) for file in files]
        found = self.model.match(images, query)
        best = np.argsort(-found.itm, kind="stable")[:k]
        return [
            (
                resized(images[place], _HEAT_SIDE),
                _scores(names[place], float(found.itm[place]), float(found.itc[place])),
            )
            for place in best
        ]


def _image(file: str | None) -> np.ndarray:
    if not file:
        raise Refused("Upload an image first, or take an example.")
    path = Path(file)
    if path.is_file() and path.stat().st_size > MOST_BYTES:
        raise Refused(f"{path.name} is larger than {MOST_BYTES // 2**20} MiB; scale it down.")
    return read_image(path, upright=True)  # phones record their orientation as EXIF data


def _text(text: str | None, what: str) -> str:
    text = (text or "").strip()
    if not text:
        raise Refused(f"Type {what} first.")
    if len(text) > MOST_LETTERS:
        raise Refused(f"That text is too long; {MOST_LETTERS} letters at most, please.")
    return text


def _scores(name: str, itm: float | None, itc: float) -> str:
    name = as_utf8(name)  # a page is sent as UTF-8
    return f"{name}: ITM {itm:.3f}, ITC {itc:.3f}" if itm is not None else f"{name}: ITC {itc:.3f}"
