"""`None` on the command line, for the knobs that may be None: the flags cannot parse it."""

from collections.abc import Sequence

from ml_collections import ConfigDict

OPTIONAL = ("train.steps",)


def without_none(arguments: Sequence[str]) -> tuple[list[str], list[str]]:
    """Command-line arguments without `--config.KNOB=None`, and those knobs.

    Of several values for a knob the last one counts, as for all flags.
    """
    rest: list[str] = []
    emptied: dict[str, None] = {}
    words = iter(arguments)
    for word in words:
        flag, equals, value = word.partition("=")
        knob = flag.lstrip("-").removeprefix("config.")
        if not flag.startswith("-") or knob not in OPTIONAL:
            rest.append(word)
            continue
        given = value if equals else next(words, "")
        if given.strip().lower() == "none":
            emptied[knob] = None
        else:
            emptied.pop(knob, None)
            rest.append(f"{flag}={given}")
    return rest, list(emptied)


def set_none(config: ConfigDict, knobs: Sequence[str]) -> None:
    """Set each of these knobs to None."""
    for knob in knobs:
        section, _, name = knob.rpartition(".")
        config[section][name] = None
