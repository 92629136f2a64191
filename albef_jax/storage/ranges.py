"""Reads ranges of a stated version of an object: pieces of two versions are never mixed."""

import errno
from typing import Any


class Replaced(FileNotFoundError):
    """There is an object, but no longer the version that was asked for."""

    def __init__(self, address: str):
        super().__init__(errno.ENOENT, "it was written again meanwhile", address)
        self._address = address

    def __reduce__(self):
        return Replaced, (self._address,)


def read_range(fs: Any, bucket: str, key: str, start: int, stop: int, version: str) -> bytes:
    """The bytes from `start` to before `stop` of an object.

    Args:
        fs: the client, see `bucket.connect`.
        version: as listings have it: an ETag of S3, a generation of Google.

    Raises:
        Replaced: the object is of another version.
        OSError: fewer bytes came than asked for; errors of the client.
    """
    read = _from_s3 if "s3" in fs.protocol else _from_google
    found = read(fs, bucket, key, f"bytes={start}-{stop - 1}", version)
    if len(found) != stop - start:
        raise OSError(f"{len(found)} bytes came instead of {stop - start}")
    return found


def _from_google(fs: Any, bucket: str, key: str, span: str, version: str) -> bytes:
    asked = {"headers": {"Range": span}, "ifGenerationMatch": version}
    try:
        return fs.call("GET", fs.url(f"{bucket}/{key}"), **asked)[1]
    except FileExistsError:  # what gcsfs makes of code 412, a condition that does not hold
        raise Replaced(f"gs://{bucket}/{key}") from None


def _from_s3(fs: Any, bucket: str, key: str, span: str, version: str) -> bytes:
    from fsspec.asyn import sync

    async def attempt() -> bytes:
        asked = {"Bucket": bucket, "Key": key, "Range": span, "IfMatch": f'"{version}"'}
        found = await fs._call_s3("get_object", **asked)
        try:
            return await found["Body"].read()
        finally:
            found["Body"].close()

    try:
        return sync(fs.loop, attempt)
    except OSError as error:
        code = getattr(error.__cause__, "response", {}).get("Error", {}).get("Code")
        if code in ("PreconditionFailed", "412"):
            raise Replaced(f"s3://{bucket}/{key}") from None
        raise
