"""`None` on the command line, for the options that may be None: the flags cannot parse it."""

from collections.abc import Sequence

from ml_collections import ConfigDict

OPTIONAL = ("train.steps",)


def without_none(arguments: Sequence[str]) -> tuple[list[str], list[str]]:
    """Command-line arguments without `--config.OPTION=None`, and those options.

    Of several values for an option the last one counts, as for all flags.
    """
    rest: list[str] = []
    emptied: dict[str, None] = {}
    words = iter(arguments)
    for word in words:
        flag, equals, value = word.partition("=")
        option = flag.lstrip("-").removeprefix("config.")
        if not flag.startswith("-") or option not in OPTIONAL:
            rest.append(word)
            continue
        given = value if equals else next(words, "")
        if given.strip().lower() == "none":
            emptied[option] = None
        else:
            emptied.pop(option, None)
            rest.append(f"{flag}={given}")
    return rest, list(emptied)


def set_none(config: ConfigDict, options: Sequence[str]) -> None:
    """Set each of these options to None."""
    for option in options:
        section, _, name = option.rpartition(".")
        config[section][name] = None
