import msgpack
import pytest

from albef_jax.data.records import EncodedPair
from albef_jax.data.shards.packed_record import VERSION, decode_pair, encode_pair
from albef_jax.errors import BadSample

PAIR = EncodedPair("a/Ü.jpg", b"\xff\xd8 bytes \x00", ("a dog", "two\nlines 😀"), 7)


def changed(**fields):
    return msgpack.packb({**msgpack.unpackb(encode_pair(PAIR)), **fields})


def test_a_pair_comes_back_as_it_was():
    assert decode_pair(encode_pair(PAIR), "x") == PAIR


def test_a_record_says_what_it_is():
    fields = msgpack.unpackb(encode_pair(PAIR))
    assert fields["format"] == "albef_jax.pair"
    assert fields["version"] == 1


def test_halves_of_surrogate_pairs_do_not_stop_packing():
    back = decode_pair(encode_pair(EncodedPair("a\ud800", b"x", ("b\udfff",), 0)), "x")
    assert back.name == "a\ufffd" and back.captions == ("b\ufffd",)


def test_unknown_fields_are_ignored():
    assert decode_pair(changed(licence="CC0"), "x") == PAIR


@pytest.mark.parametrize(
    ("record", "reason"),
    [
        (b"", "the record is damaged"),
        (b"\xc1", "the record is damaged"),
        (encode_pair(PAIR)[:-3], "the record is damaged"),
        (encode_pair(PAIR) + b"x", "the record is damaged"),
        (b"\x80\x04\x95\x05\x00\x00", "the record is damaged"),
        (b"\x07", "not a record of a packed pair"),
        (msgpack.packb({"image": b"x"}), "not a record of a packed pair"),
        (msgpack.packb([1, 2]), "not a record of a packed pair"),
        (changed(version=VERSION + 1), "version 2; this program reads 1"),
        (changed(name=""), "'name' is missing or wrong"),
        (changed(name=b"a"), "'name' is missing or wrong"),
        (changed(image="text"), "'image' is missing or wrong"),
        (changed(captions=[]), "'captions' is missing or wrong"),
        (changed(captions=[" "]), "'captions' is missing or wrong"),
        (changed(captions=[b"a"]), "'captions' is missing or wrong"),
        (changed(captions="a dog"), "'captions' is missing or wrong"),
        (changed(image_id=-1), "'image_id' is missing or wrong"),
        (changed(image_id=2**31), "'image_id' is missing or wrong"),
        (changed(image_id=True), "'image_id' is missing or wrong"),
    ],
)
def test_damaged_and_foreign_records_are_bad_samples(record, reason):
    with pytest.raises(BadSample, match=reason) as caught:
        decode_pair(record, "shard[3]")
    assert caught.value.name == "shard[3]"
    assert "\n" not in caught.value.reason
