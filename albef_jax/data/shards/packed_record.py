"""The record of a packed pair: one self-describing MessagePack map.

    {"format": "albef_jax.pair", "version": 1, "name": text, "image": the bytes of an image file,
     "captions": [text, ...], "image_id": number}

Reading it builds texts, numbers and bytes, and cannot execute anything. Further fields are allowed
and ignored, so a later version may add some without a new number.
"""

from typing import Any

import msgpack

from albef_jax.data.records import EncodedPair
from albef_jax.data.tokenizer import well_formed
from albef_jax.errors import BadSample

FORMAT, VERSION = "albef_jax.pair", 1
_REMEDY = "pack the data again (python -m tools.pack_dataset)"
_LARGEST_ID = 2**31 - 1


def encode_pair(pair: EncodedPair) -> bytes:
    """The record of a pair."""
    return msgpack.packb(
        {
            "format": FORMAT,
            "version": VERSION,
            "name": well_formed(pair.name),
            "image": pair.data,
            "captions": [well_formed(text) for text in pair.captions],
            "image_id": pair.image_id,
        }
    )


def decode_pair(record: bytes, place: str) -> EncodedPair:
    """The pair in a record, the inverse of `encode_pair`.

    Args:
        record: the bytes of a record.
        place: its place, for errors.

    Raises:
        BadSample: not such a record, a newer version, or a field that is missing or wrong.
    """
    try:
        fields = msgpack.unpackb(record)
    except Exception:  # damaged bytes raise several unrelated kinds
        raise BadSample(place, f"the record is damaged; {_REMEDY}") from None
    if not isinstance(fields, dict) or fields.get("format") != FORMAT:
        raise BadSample(place, f"not a record of a packed pair; {_REMEDY}")
    if fields.get("version") != VERSION:
        raise BadSample(
            place,
            f"a packed pair of version {fields.get('version')!r}; this program reads {VERSION}: "
            "update it, or pack the data with it",
        )
    for field, fits in _FITS.items():
        if not fits(fields.get(field)):
            raise BadSample(place, f"a packed pair whose {field!r} is missing or wrong; {_REMEDY}")
    return EncodedPair(
        fields["name"], fields["image"], tuple(fields["captions"]), fields["image_id"]
    )


def _are_captions(value: Any) -> bool:
    return (
        isinstance(value, list)
        and all(isinstance(text, str) for text in value)
        and any(text.strip() for text in value)
    )


_FITS = {
    "name": lambda value: isinstance(value, str) and value != "",
    "image": lambda value: isinstance(value, bytes),
    "captions": _are_captions,
    "image_id": lambda value: type(value) is int and 0 <= value <= _LARGEST_ID,
}
