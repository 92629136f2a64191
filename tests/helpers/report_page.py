"""A report's page as tests read it, and what it shows in them."""

from html.parser import HTMLParser

import numpy as np

from albef_jax.inference.masked_words import MaskedWord
from albef_jax.report.retrieval_examples import (
    Examples,
    ImagesOfText,
    MaskedCaption,
    RankedImage,
    RankedText,
    TextsOfImage,
)

IMAGE = np.full((8, 8, 3), 200, np.uint8)
COMMAND = "python -m albef_jax.main --config configs/pretrain.py:demo --workdir runs/demo"
VOID = {"meta", "img", "br", "path", "circle"}


class Page(HTMLParser):
    """Reads a page: its text, its tags with attributes, and whether every tag is closed."""

    def __init__(self, html):
        super().__init__()
        self.text, self.tags = "", []
        self._open: list[str] = []
        self.feed(html)
        assert self._open == []

    def handle_starttag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))
        if tag not in VOID:
            self._open.append(tag)

    def handle_startendtag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))

    def handle_endtag(self, tag):
        assert self._open.pop() == tag

    def handle_data(self, data):
        self.text += data

    def all(self, tag, **attributes):
        return [a for t, a in self.tags if t == tag and attributes.items() <= a.items()]


def recalls(*percent):
    return dict(zip(("r1", "r5", "r10"), percent, strict=True))


def examples(caption="a red ball", word="red"):
    ranked_texts = [RankedText("two stars", 3.2, False), RankedText(caption, 1.5, True)]
    ranked_images = [RankedImage(IMAGE, 2.0, True), RankedImage(255 - IMAGE, -1.0, False)]
    guesses = MaskedWord(2, word, [(word, 0.625), ("blue", 0.25)])
    return Examples(
        [TextsOfImage(IMAGE, caption, ranked_texts)],
        [ImagesOfText(caption, ranked_images)],
        [MaskedCaption(IMAGE, caption, [guesses])],
    )
