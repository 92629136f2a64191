"""The candidates of a ranking: images or texts, never guessed; and distinct answers."""

from collections.abc import Iterable, Sequence
from typing import Any

from albef_jax.data.tokenizer import Tokenizer
from albef_jax.inference.arguments import ArgumentError
from albef_jax.inference.inputs import is_one_image

_CALLS = "call rank(image=..., texts=[...]) or rank(text=..., images=[...])"


def sides_of(positional: tuple[Any, Any], named: dict[str, Any]) -> tuple[str, Any, Any]:
    """The kind of the query of `rank`, "image" or "text", the query, and the candidates.

    Args:
        positional: query and candidates, None if not given. Two strings could be a text and paths
            or a path and texts, so they need names.
        named: image, texts, text and images, None if not given.

    Raises:
        ArgumentError: not one query with candidates of the other kind, or ambiguous.
    """
    given = {name for name, value in named.items() if value is not None}
    if any(one is not None for one in positional):
        if given or any(one is None for one in positional):
            raise ArgumentError(f"rank takes a query and its candidates: {_CALLS}")
        return _told_apart(*positional)
    for query, candidates in (("image", "texts"), ("text", "images")):
        if given == {query, candidates}:
            return query, named[query], named[candidates]
    told = f"got {', '.join(sorted(given))}" if given else "got neither"
    raise ArgumentError(f"rank takes an image with texts, or a text with images, {told}: {_CALLS}")


def _told_apart(query: Any, candidates: Any) -> tuple[str, Any, Any]:
    query, candidates = (_listed(one) for one in (query, candidates))
    kinds = _strings(query), _strings(candidates)
    if all(kinds):
        raise ArgumentError(
            f"rank({_shown(query)}, {_shown(candidates)}): texts and paths of images look alike; "
            f"{_CALLS}"
        )
    if not any(kinds):
        raise ArgumentError(f"rank cannot compare images with images; {_CALLS}")
    return ("text" if kinds[0] else "image"), query, candidates


def _listed(given: Any) -> Any:
    """A list that can be iterated twice."""
    one = is_one_image(given) or not isinstance(given, Iterable)
    return given if one or isinstance(given, Sequence) else list(given)


def _strings(given: Any) -> bool:
    if is_one_image(given) or not isinstance(given, Sequence):
        return isinstance(given, str)
    return all(isinstance(one, str) for one in given)


def _shown(given: Any) -> str:
    return repr(given) if isinstance(given, str) else "[...]"


def distinct_answers(answers: Sequence[str], tokenizer: Tokenizer) -> tuple[str, ...]:
    """Answers to rank, without duplicates, which would share their probability.

    Raises:
        ArgumentError: a blank answer, or two that the vocabulary cannot distinguish.
    """
    seen: dict[tuple[int, ...], str] = {}
    ids, _ = tokenizer.encode([f"{answer}[SEP]" for answer in answers], fixed_width=False)
    for answer, row in zip(answers, ids.tolist(), strict=True):
        if not answer.strip():
            raise ArgumentError("answers: one of them is empty; leave it out")
        first = seen.setdefault(tuple(row), answer)
        whole = tokenizer.sep_id in row and tokenizer.unk_id not in row
        if not whole and _plain(first) != _plain(answer):
            raise ArgumentError(
                f"answers: {first!r} and {answer!r} are the same to this vocabulary, which lacks "
                "their words, or cuts them; leave one out"
            )
    return tuple(seen.values())


def _plain(answer: str) -> str:
    return " ".join(answer.lower().split())
