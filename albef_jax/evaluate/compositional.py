"""Figures of the items that show a combination of colour and shape that training never shows.

Only the built-in world has such items; its sources know which they are.
"""

from collections.abc import Callable, Sequence
from typing import Any

NAMES = {"accuracy": "accuracy", "itm": "ITM", "itc": "ITC", "majority": "most frequent answer"}


def of_unseen(
    source: Any, indices: Sequence[int], figures: Callable[[list[int]], dict[str, float]]
) -> dict[str, Any]:
    """`{"unseen": figures and their count}`; empty if there are no such items.

    Args:
        source: the held-out records, perhaps with `unseen(index)`.
        indices: of the judged records, `[N]`.
        figures: in percent, of the judged records at some places in `indices`.
    """
    if not hasattr(source, "unseen"):
        return {}
    places = [place for place, index in enumerate(indices) if source.unseen(int(index))]
    return {"unseen": figures(places) | {"count": len(places)}} if places else {}


def in_words(unseen: dict[str, Any]) -> str:
    """A sentence on what `of_unseen` found, to print and for the report."""
    shares = ", ".join(
        f"{NAMES.get(name, name)} {value:.2f} %"
        for name, value in unseen.items()
        if name != "count"
    )
    return (
        f"{unseen['count']:,} show a combination of colour and shape that training never shows; of "
        f"these alone: {shares}."
    )


def lines_of(figures: dict[str, Any]) -> list[str]:
    """The sentence as a line to print, if the figures of a task hold `unseen`."""
    return [in_words(figures["unseen"])] if "unseen" in figures else []
