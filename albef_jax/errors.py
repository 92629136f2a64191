"""Errors that a user can mend: each message says what is wrong and what to do.

Raised anywhere and caught at the top, so every module can import them; they import nothing.
"""

import signal


class ConfigError(ValueError):
    """A configuration that cannot run; the message lists every problem found."""


class CheckpointError(ValueError):
    """A checkpoint that cannot be read, or does not hold what it should."""


class SaveError(Exception):
    """A checkpoint could not be written; those before it are intact."""


class RunError(Exception):
    """A run that cannot start or go on, with a message for the user."""


class BadSample(Exception):
    """A record that cannot be used; the pipeline replaces and reports it.

    Args:
        name: the record's name (see `data.records.Pair.name`).
        reason: one line a person can act on.
    """

    def __init__(self, name: str, reason: str):
        super().__init__(f"{name}: {reason}")
        self.name = name
        self.reason = reason

    def __reduce__(self):
        return (BadSample, (self.name, self.reason))


class TooManyBadSamples(Exception):
    """More of the data is unusable than `data.max_bad_share` allows."""


class WorkerLost(Exception):
    """A data worker process ended by itself."""


class NothingToEvaluate(Exception):
    """Not one image of the evaluation set can be used."""


class UnsoundScores(ValueError):
    """A model gave NaN or infinity; the message names the first item."""


def came_from(error: BaseException | None, kind: type[BaseException]) -> bool:
    """Whether an error, or one that it was raised for, is of a kind."""
    while error is not None and not isinstance(error, kind):
        error = error.__cause__ or error.__context__
    return error is not None


class Interrupted(Exception):
    """The run was asked to stop, and has saved its state.

    Args:
        signum: of the signal; the process should end with code 128 + `signum`.
    """

    def __init__(self, signum: int):
        super().__init__(f"stopped by {signal.Signals(signum).name}")
        self.signum = signum
