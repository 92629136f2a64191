"""Draws search results on one image: thumbnails in order, with both scores; or captions."""

from collections.abc import Sequence

import numpy as np
from PIL import Image, ImageDraw, ImageFont, ImageOps

from albef_jax.apps.search.index import Hit
from albef_jax.apps.search.reading import image_at
from albef_jax.errors import BadSample

TILE, GAP, MARGIN, HEAD, FOOT = 240, 20, 32, 96, 66
LINE = 58  # a row of a caption sheet
GROUND, CARD, RULE = (246, 246, 243), (255, 255, 255), (221, 221, 214)
INK, FAINT, BLUE, ORANGE = (28, 30, 34), (112, 116, 122), (0, 114, 178), (214, 130, 0)


def image_sheet(query: str, hits: Sequence[Hit], columns: int | None = None) -> Image.Image:
    """Images found by a text, best first, each with its name, ITM and ITC.

    Args:
        columns: by default four, or fewer for few images.
    """
    columns = columns or min(4, max(2, len(hits)))
    rows = -(-len(hits) // columns)
    width = 2 * MARGIN + columns * (TILE + GAP) - GAP
    sheet = _sheet(width, HEAD + rows * (TILE + FOOT + GAP) - GAP + MARGIN, query, _told(hits))
    for place, hit in enumerate(hits):
        left = MARGIN + place % columns * (TILE + GAP)
        _tile(sheet, left, HEAD + place // columns * (TILE + FOOT + GAP), place, hit)
    return sheet


def caption_sheet(image: np.ndarray, hits: Sequence[Hit]) -> Image.Image:
    """Captions found by an image, best first, beside the image, uint8 `[H, W, 3]`."""
    side, text = 2 * TILE, 620
    height = HEAD + max(side, LINE * len(hits)) + MARGIN
    width = 2 * MARGIN + side + GAP + text
    sheet = _sheet(width, height, "captions of an image", _told(hits))
    shown = ImageOps.contain(Image.fromarray(image), (side, side))
    sheet.paste(shown, (MARGIN, HEAD))
    for place, hit in enumerate(hits):
        _row(sheet, MARGIN + side + GAP, HEAD + place * LINE, text, place, hit)
    return sheet


def _told(hits: Sequence[Hit]) -> str:
    by = "probability of a match (ITM)" if hits[0].itm is not None else "cosine (ITC)"
    return f"{len(hits)} best, ordered by {by}"


def _sheet(width: int, height: int, title: str, told: str) -> Image.Image:
    sheet = Image.new("RGB", (width, height), GROUND)
    draw = ImageDraw.Draw(sheet)
    _write(draw, (MARGIN, 26), title, 26, width - 2 * MARGIN)
    _write(draw, (MARGIN, 60), told, 15, width - 2 * MARGIN, FAINT)
    return sheet


def _tile(sheet: Image.Image, left: int, top: int, place: int, hit: Hit) -> None:
    draw = ImageDraw.Draw(sheet)
    card = (left, top, left + TILE - 1, top + TILE + FOOT - 1)
    draw.rounded_rectangle(card, 8, CARD, RULE)
    inner = TILE - 16
    try:
        # The whole image: a crop might cut off the match.
        whole = Image.fromarray(image_at(hit.path)) if hit.path else None
    except BadSample as problem:
        _write(draw, (left + 12, top + TILE // 2), problem.reason, 13, inner, FAINT)
        whole = None
    if whole is not None:
        small = ImageOps.contain(whole, (inner, inner), Image.Resampling.LANCZOS)
        at = left + (TILE - small.width) // 2, top + (TILE - small.height) // 2
        sheet.paste(small, at)
        draw.rectangle(
            (at[0], at[1], at[0] + small.width - 1, at[1] + small.height - 1), None, RULE
        )
    _write(draw, (left + 10, top + TILE), f"{place + 1}. {hit.name}", 13, TILE - 20)
    _scores(draw, left + 10, top + TILE + 24, TILE - 20, hit)


def _row(sheet: Image.Image, left: int, top: int, width: int, place: int, hit: Hit) -> None:
    draw = ImageDraw.Draw(sheet)
    draw.rounded_rectangle((left, top, left + width - 1, top + LINE - 8), 8, CARD, RULE)
    _write(draw, (left + 12, top + 5), f"{place + 1}. {hit.name}", 16, width - 24)
    _scores(draw, left + 12, top + 30, width - 24, hit, side_by_side=True)


def _scores(
    draw: ImageDraw.ImageDraw, left: int, top: int, width: int, hit: Hit, side_by_side: bool = False
) -> None:
    """A bar for each score, from 0 to 1; empty below 0."""
    shown = [("ITC", hit.itc, BLUE)]
    if hit.itm is not None:
        shown.insert(0, ("ITM", hit.itm, ORANGE))
    for place, (name, value, colour) in enumerate(shown):
        x, y = (left + place * (width // 2), top) if side_by_side else (left, top + 18 * place)
        room = width // 2 - 16 if side_by_side else width
        _write(draw, (x, y), name, 12, 40, FAINT)
        first, last = x + 36, x + room - 46
        draw.rounded_rectangle((first, y + 6, last, y + 11), 2, RULE)
        filled = first + round(min(max(value, 0), 1) * (last - first))
        if filled > first + 1:
            draw.rounded_rectangle((first, y + 6, filled, y + 11), 2, colour)
        _write(draw, (x + room - 40, y), f"{value:.3f}", 12, 40)


def _write(
    draw: ImageDraw.ImageDraw,
    at: tuple[int, int],
    text: str,
    size: int,
    width: int,
    colour: tuple[int, int, int] = INK,
) -> None:
    """A line of text; its middle is left out if it exceeds `width` pixels."""
    font = ImageFont.load_default(size)
    text = " ".join(text.encode("utf-8", "replace").decode().split())
    shown, kept = text, len(text)
    while draw.textlength(shown, font=font) > width and kept > 4:
        kept -= 1
        shown = f"{text[: kept - kept // 2]}...{text[len(text) - kept // 2 :]}"
    draw.text(at, shown, colour, font=font)
