"""Addresses in object storage: `gs://BUCKET/KEY` and `s3://BUCKET/KEY`. Needs no package."""

import re

# The protocol of an address, with the extra of ours and the package that it needs.
PROTOCOLS = {"gs": ("gcs", "gcsfs"), "s3": ("s3", "s3fs")}
_ADDRESS = re.compile(r"(gs|s3)://([^/\s]*)/*(.*)", re.DOTALL)


def in_bucket(name: str) -> bool:
    """Whether this is an address of object storage, and not a path."""
    return name.startswith(tuple(f"{protocol}://" for protocol in PROTOCOLS))


def split(address: str) -> tuple[str, str, str]:
    """Protocol, bucket and key; the key has no slash at its ends, and may be empty.

    Raises:
        ValueError: no bucket is named.
    """
    match = _ADDRESS.fullmatch(address)
    if not match or not match[2]:
        raise ValueError(f"{address}: an address has the form gs://BUCKET/NAME or s3://BUCKET/NAME")
    return match[1], match[2], "/".join(part for part in match[3].split("/") if part)


def join(address: str, name: str) -> str:
    """The address of `name`, relative to a folder's address; an absolute address stays."""
    if in_bucket(name):
        return name
    return "/".join([address.rstrip("/"), name.strip("/")]).rstrip("/")


def parent_and_name(address: str) -> tuple[str, str]:
    """The address of the folder that something lies in, and its name there."""
    protocol, bucket, key = split(address)
    folder, _, name = key.rpartition("/")
    return "/".join([f"{protocol}://{bucket}", *filter(None, [folder])]), name
