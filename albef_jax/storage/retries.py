"""Repeats what failed for a passing reason, with growing pauses, for a stated time.

The clients repeat some requests themselves, for seconds; a run must survive minutes.
"""

import asyncio
import errno
import random
import sys
import time
from collections.abc import Callable
from typing import TypeVar

from albef_jax.errors import ConfigError

Result = TypeVar("Result")

PATIENCE = 300.0  # seconds; `storage.retry_seconds`
_FIRST_PAUSE, _LONGEST_PAUSE = 0.5, 30.0  # seconds
_REASON = 300  # characters
# Errors that another attempt does not mend. Bad requests are among them.
_PERMANENT = {errno.EINVAL, errno.EPERM, errno.ENAMETOOLONG, errno.ENOSYS, errno.EACCES}
_PASSING_CODES = {"408", "429", "500", "502", "503", "504"}
_NO_CREDENTIALS = (
    "NoCredentialsError",
    "PartialCredentialsError",
    "CredentialRetrievalError",
    "DefaultCredentialsError",
    "ProfileNotFound",
    "TokenRetrievalError",
    "SSOTokenLoadError",
    "UnauthorizedSSOTokenError",
)


class StorageError(ConfigError):
    """Object storage that cannot be used; the message has the address, the reason and a remedy."""


class NoAnswer(StorageError):
    """No success for as long as one may wait; later the same may succeed."""


class AccessDenied(StorageError):
    """This account may not do it; another object may be readable nevertheless."""


def retried(action: Callable[[], Result], address: str, patience: float = PATIENCE) -> Result:
    """The result of `action`, which is repeated while it fails for a passing reason.

    Args:
        action: safe to repeat.
        address: for messages.
        patience: seconds until an error is final; the attempt that runs then is waited for.

    Raises:
        FileNotFoundError: there is nothing of that name; also where there is no such bucket.
        FileExistsError: a condition of a write does not hold.
        AccessDenied: this account may not do it.
        NoAnswer: no success for `patience` seconds.
        StorageError: no credentials, or a request that is refused.
    """
    pause, began = _FIRST_PAUSE, time.monotonic()
    while True:
        try:
            return action()
        except (FileNotFoundError, FileExistsError):
            raise
        except Exception as error:
            if (line := _permanent(error, address)) is not None:
                raise (AccessDenied if _is_denied(error) else StorageError)(line) from error
            lasted = time.monotonic() - began
            if lasted + pause > patience:
                raise NoAnswer(
                    f"{address}: no success for {lasted:.0f} s: {reason(error)}. The same command "
                    f"goes on from what is saved; storage.retry_seconds={patience:g} is how long "
                    "to try"
                ) from error
            if lasted > _LONGEST_PAUSE / 2:
                print(
                    f"WARNING: {address}: {reason(error)}; trying again",
                    file=sys.stderr,
                    flush=True,
                )
        time.sleep(pause * random.uniform(0.5, 1))
        pause = min(2 * pause, _LONGEST_PAUSE)


def reason(error: BaseException) -> str:
    """The message of an error in one line, or its type if it has none."""
    return (" ".join(str(error).split()) or type(error).__name__)[:_REASON]


def _permanent(error: Exception, address: str) -> str | None:
    """The message for an error that waiting does not mend; None for one that may pass."""
    names = {kind.__name__ for kind in type(error).__mro__}
    if names.intersection(_NO_CREDENTIALS):
        return f"{address}: no credentials were found ({reason(error)}); {_how_to_log_in(address)}"
    code = str(getattr(error, "code", ""))
    if _is_denied(error):
        return (
            f"{address}: access denied ({reason(error)}). Give this account the right to list, "
            f"read, write and delete objects there, or {_how_to_log_in(address)}"
        )
    if isinstance(error, ConnectionError | TimeoutError | asyncio.TimeoutError):
        return None
    if isinstance(error, OSError) and error.errno in _PERMANENT:
        return f"{address}: refused ({reason(error)})"
    if code and code not in _PASSING_CODES:
        return f"{address}: refused with code {code} ({reason(error)})"
    # What is left of OSError, the clients' own errors of connections, and of broken answers.
    modules = {kind.__module__.partition(".")[0] for kind in type(error).__mro__}
    if isinstance(error, OSError) or modules & {"aiohttp", "botocore", "gcsfs", "requests"}:
        return None
    return f"{address}: {type(error).__name__}: {reason(error)}"


def _is_denied(error: Exception) -> bool:
    if isinstance(error, PermissionError) or str(getattr(error, "code", "")) in ("401", "403"):
        return True
    # gcsfs reports code 403 as an OSError without a number.
    return isinstance(error, OSError) and str(error).startswith("Forbidden")


def _how_to_log_in(address: str) -> str:
    if address.startswith("gs:"):
        return (
            "log in with `gcloud auth application-default login`, or set "
            "GOOGLE_APPLICATION_CREDENTIALS"
        )
    return (
        "set AWS_PROFILE, or AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or give the node a role"
    )
