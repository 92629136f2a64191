"""`data.text_buckets`: the widths that the texts of a batch are padded to, `8,16,25`."""

from collections.abc import Iterator
from itertools import pairwise

from ml_collections import ConfigDict

from albef_jax.config.file_patterns import split_list

# Sources that read an image's bytes with its texts, which is too slow to do twice.
TOGETHER = ("webdataset", "array_record", "tfds")


def widths(text: str) -> tuple[int, ...]:
    """The widths of a valid `data.text_buckets`, ascending; none if it is empty."""
    return tuple(int(entry) for entry in split_list(text))


def problems(config: ConfigDict) -> Iterator[str]:
    """One line for each mistake in the option, and for a source that cannot be grouped."""
    data = config.data
    if not (entries := split_list(data.text_buckets)):
        return
    option = f"data.text_buckets={data.text_buckets!r}"
    if wrong := [entry for entry in entries if not (entry.isdecimal() and int(entry) >= 2)]:
        yield f"{option}: {wrong[0]} is no width; give whole numbers, at least 2: [CLS] and a token"
        return
    found = widths(data.text_buckets)
    if any(low >= high for low, high in pairwise(found)):
        ascending = ",".join(map(str, sorted(set(found))))
        yield f"{option}: each width must be greater than the one before; write {ascending}"
    elif found[-1] != data.text_len:
        fitting = [width for width in found if width < data.text_len]
        remedy = ",".join(map(str, [*fitting, data.text_len]))
        yield (
            f"{option}: the last width must be data.text_len={data.text_len}, which texts are cut "
            f"to; write {remedy}"
        )
    if data.bucket_order == "grouped":
        yield from _sources(data)


def _sources(data: ConfigDict) -> Iterator[str]:
    """Texts must be known before their samples are read."""
    parts = [part for part in data.get("mixture", ()) if hasattr(part, "get")]
    sources = [part.get("source") for part in parts] if parts else [data.source]
    for source in dict.fromkeys(sources):
        if source in TOGETHER:
            yield (
                f"data.bucket_order=grouped: {source} knows the length of a text only once its "
                "image is read; set data.bucket_order=published, or read the pairs from JSON lists"
            )
