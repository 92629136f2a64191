"""Which members of a tar are one sample, by names as people have them."""

import pytest

from albef_jax.data.shards.tar_samples import Member, group


def grouped(*names):
    """Samples as (key, names of their files), and names of what is left over."""
    samples, strays = group([Member(name, place, 1) for place, name in enumerate(names)])
    found = [(key, [one.name for one in files if one]) for key, files in samples]
    return found, [stray.name for stray in strays]


@pytest.mark.parametrize(
    ("names", "keys"),
    [
        (("1.jpg", "1.txt", "2.jpg", "2.txt"), ["1", "2"]),
        (("22.05.png", "22.05.txt", "22.06.png", "22.06.txt"), ["22.05", "22.06"]),
        (("v1.2_0001.jpg", "v1.2_0001.txt", "v1.2_2.jpg", "v1.2_2.txt"), ["v1.2_0001", "v1.2_2"]),
        (("track 2.0 (clean).jpg", "track 2.0 (clean).txt"), ["track 2.0 (clean)"]),
        (("22.05.png", "22.05.txt"), ["22.05"]),
        (("s0.input.jpg", "s0.outputs.txt", "s1.input.jpg", "s1.outputs.txt"), ["s0", "s1"]),
        (("a/x.y/1.jpg", "a/x.y/1.txt"), ["a/x.y/1"]),
        (("1.jpg", "1.seg.png", "1.txt", "1.cls"), ["1"]),
        (("1.txt", "1.JPEG", "2.Json", "2.avif"), ["1", "2"]),
        (("a.b.jpg", "a.b.txt", "7.jpg", "7.txt", "c.d.jpg", "c.d.txt"), ["a.b", "7", "c.d"]),
    ],
)
def test_the_rule_by_which_more_pairs_up(names, keys):
    samples, strays = grouped(*names)
    assert [key for key, _ in samples] == keys
    assert all(len(files) == 2 for _, files in samples)
    assert strays == []


def test_a_plain_ending_comes_before_a_field():
    samples, _ = grouped("1.seg.png", "1.jpg", "1.txt")
    assert samples == [("1", ["1.jpg", "1.txt"])]


def test_names_of_different_files_are_not_joined():
    """22.05 lacks its caption and 22.06 its image: they are no sample together."""
    samples, _ = grouped("22.05.jpg", "22.06.txt")
    assert all(len(files) == 1 for _, files in samples)
    samples, strays = grouped("mr.smith.jpg", "mr.jones.jpg", "mr.jones.txt")
    assert ("mr.jones", ["mr.jones.jpg", "mr.jones.txt"]) in samples
    assert strays == []


def test_of_several_fields_none_is_the_image():
    samples, _ = grouped("1.left.jpg", "1.right.jpg", "1.txt")
    assert [files for _, files in samples if len(files) > 1] == []


def test_every_member_is_in_a_sample_or_named():
    names = ("1.jpg", "1.txt", "1.cls", "README", "notes.md", ".DS_Store", "d/._1.jpg")
    _, strays = grouped(*names)
    assert sorted(strays) == sorted(["README", "notes.md", ".DS_Store", "d/._1.jpg"])


@pytest.mark.parametrize(
    ("names", "keys"),
    [
        (("22.05.png", "22.06.png"), ["22.05", "22.06"]),
        (("1.jpg", "2.png"), ["1", "2"]),
        (("1.seg.png", "1.jpg", "2.seg.png", "2.jpg"), ["1", "2"]),
    ],
)
def test_images_alone(names, keys):
    samples, strays = grouped(*names)
    assert [key for key, _ in samples] == keys
    assert strays == []
