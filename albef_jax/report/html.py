"""Embeds examples in a self-contained page: images as data URIs, marked captions."""

import base64
import io
import re

import numpy as np
from PIL import Image

from albef_jax.inference.masked_words import MaskedWord

# Drawn and other small images stay exact; a larger PNG photograph would swell the page.
MAX_PNG_SIDE = 128


def data_uri(image: np.ndarray) -> str:
    """An image, uint8 `[H, W, 3]`, as a data URI: PNG if small, else JPEG."""
    kind = "png" if max(image.shape[:2]) <= MAX_PNG_SIDE else "jpeg"
    buffer = io.BytesIO()
    Image.fromarray(image).save(buffer, kind, optimize=True)
    return f"data:image/{kind};base64,{base64.b64encode(buffer.getvalue()).decode()}"


def mark(caption: str, words: list[MaskedWord]) -> list[tuple[str, bool]]:
    """Cut a caption into `(text, masked)` parts, which joined give the caption again.

    A repeated word is marked nearest to its token position; a word that the tokenizer changed
    (accents) is not marked.
    """
    spans = sorted({span for word in words if (span := _span(caption, word))})
    parts, done = [], 0
    for start, end in spans:
        parts += [(caption[done:start], False), (caption[start:end], True)]
        done = end
    return [part for part in [*parts, (caption[done:], False)] if part[0]]


def _span(caption: str, word: MaskedWord) -> tuple[int, int] | None:
    # Token positions count [CLS] and word pieces, so the match is the nearest, not the exact place.
    places = [
        (abs(number - word.position), match.span())
        for number, match in enumerate(re.finditer(r"\w+", caption), start=1)
        if match.group().lower() == word.word.lower()
    ]
    return min(places)[1] if places else None
