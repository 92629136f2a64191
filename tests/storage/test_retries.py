"""What is tried again, for how long, and what is said of the rest."""

import errno

import aiohttp
import pytest

from albef_jax.storage.retries import AccessDenied, StorageError, retried

ADDRESS = "s3://bucket/run"


@pytest.fixture(autouse=True)
def no_pauses(monkeypatch):
    """Time passes in steps of what would have been slept."""
    now = [0.0]
    monkeypatch.setattr("time.monotonic", lambda: now[0])
    monkeypatch.setattr("time.sleep", lambda seconds: now.__setitem__(0, now[0] + seconds))
    return now


def failing(*errors):
    """Raises each of them once, then returns."""
    left = list(errors)

    def action():
        if left:
            raise left.pop(0)
        return "done"

    return action


def always(error):
    def action():
        raise error

    return action


class HttpError(Exception):
    """As gcsfs has it."""

    def __init__(self, code):
        super().__init__(f"answer {code}")
        self.code = code


HttpError.__module__ = "gcsfs.retry"
PASSING = [
    ConnectionResetError("reset"),
    TimeoutError("slow"),
    OSError(errno.EBUSY, "SlowDown"),
    OSError(errno.EREMOTEIO, "InternalError"),
    HttpError(503),
    HttpError(429),
    aiohttp.ClientPayloadError("cut off"),
]


def test_what_may_pass_is_tried_again():
    assert retried(failing(*PASSING), ADDRESS) == "done"


@pytest.mark.parametrize("error", PASSING, ids=repr)
def test_it_is_given_up_after_the_stated_time(error, no_pauses):
    with pytest.raises(StorageError) as found:
        retried(always(error), ADDRESS, patience=100)
    assert 60 < no_pauses[0] <= 100
    told = str(found.value)
    assert told.startswith(f"{ADDRESS}: no success for ") and "storage.retry_seconds=100" in told
    assert "\n" not in told


def test_one_is_told_what_is_waited_for(capsys):
    retried(failing(*[ConnectionError("the network is gone")] * 8), ADDRESS)
    told = capsys.readouterr().err.splitlines()
    assert set(told) == {f"WARNING: {ADDRESS}: the network is gone; trying again"}


def named(name, *bases):
    return type(name, bases or (Exception,), {})("not to be had")


@pytest.mark.parametrize(
    ("error", "kind", "told"),
    [
        (PermissionError("no"), AccessDenied, r"access denied \(no\)\. Give this account"),
        (OSError("Forbidden: bucket"), AccessDenied, "access denied"),
        (HttpError(401), AccessDenied, "access denied"),
        (named("NoCredentialsError"), StorageError, "no credentials were found.*set AWS_PROFILE"),
        (named("DefaultCredentialsError"), StorageError, "no credentials were found"),
        (OSError(errno.EINVAL, "bad name"), StorageError, "refused .*bad name"),
        (HttpError(400), StorageError, "refused with code 400"),
        (KeyError("a bug"), StorageError, "KeyError: 'a bug'"),
    ],
)
def test_what_does_not_pass_is_told_at_once(error, kind, told, no_pauses):
    with pytest.raises(kind, match=told):
        retried(always(error), ADDRESS)
    assert no_pauses[0] == 0


@pytest.mark.parametrize("error", [FileNotFoundError("none"), FileExistsError("there")])
def test_a_missing_object_is_no_failure_of_the_storage(error):
    with pytest.raises(type(error)):
        retried(always(error), ADDRESS)


def test_how_to_log_in_at_google():
    with pytest.raises(StorageError, match="gcloud auth application-default login"):
        retried(always(named("DefaultCredentialsError")), "gs://bucket/run")
