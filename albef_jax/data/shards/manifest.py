"""`manifest.json` of a directory of shards. It is written last and so marks complete packing."""

import json
from typing import Any, NamedTuple

from albef_jax.storage.paths import AnyPath
from albef_jax.storage.retries import StorageError

MANIFEST = "manifest.json"
FORMAT, VERSION = "albef_jax.shards", 1


class Listed(NamedTuple):
    """The part of a manifest that a reader needs.

    Attributes:
        records: number of records of each shard, by file name.
        image_id_limit: above every image_id of the directory.
        sha256: of the shards, by file name, as far as it is known.
    """

    records: dict[str, int]
    image_id_limit: int
    sha256: dict[str, str]


def read_manifest(directory: AnyPath) -> dict[str, Any] | None:
    """The manifest of a directory; None if there is none.

    Raises:
        ValueError: a file that is no manifest, or one of a newer version.
    """
    path = directory / MANIFEST
    try:
        found = json.loads(path.read_bytes())
    except FileNotFoundError:
        return None
    except OSError as error:
        raise ValueError(f"{path}: cannot be read: {error.strerror}") from None
    except StorageError:
        raise
    except ValueError:
        found = None
    if not isinstance(found, dict) or found.get("format") != FORMAT:
        raise ValueError(f"{path}: not a manifest of packed pairs; move it away, or pack again")
    if found.get("version") != VERSION:
        raise ValueError(
            f"{path}: version {found.get('version')!r}, this program reads {VERSION}; update it"
        )
    return found


def listed(directory: AnyPath) -> Listed | None:
    """The result of `read_manifest` for a reader of shards."""
    found = read_manifest(directory)
    if found is None:
        return None
    try:
        records = {shard["file"]: int(shard["records"]) for shard in found["shards"]}
        digests = {shard["file"]: shard["sha256"] for shard in found["shards"] if "sha256" in shard}
        return Listed(records, int(found["image_id_limit"]), digests)
    except (KeyError, TypeError, ValueError):
        raise ValueError(f"{directory / MANIFEST}: damaged; pack again") from None
