import pytest

from albef_jax.data.annotations.checks import (
    did_you_mean,
    parsed_items,
    probe_images,
    running_numbers,
)


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ("Neutrl", "; did you mean 'neutral'?"),
        ("NEUTRAL", "; did you mean 'neutral'?"),
        ("dog", ""),
        (None, ""),
        (["neutral"], "; did you mean 'neutral'?"),
    ],
)
def test_the_nearest_word_is_proposed(given, expected):
    assert did_you_mean(given, ("neutral", "entailment")) == expected


def test_good_items_are_handed_out_and_the_others_named_at_the_end(tmp_path):
    (tmp_path / "a.json").write_text('[{"n": 1}, 2, {"n": 3}]')
    found = parsed_items([tmp_path / "a.json"], lambda item: item["n"])
    assert [next(found), next(found)] == [1, 3]
    with pytest.raises(ValueError, match="item 1: is a int, not an object"):
        next(found)


def test_numbers_run_in_order_of_appearance():
    assert running_numbers(["b", "a", "b", 1]).tolist() == [0, 1, 0, 2]


def test_no_images_are_no_missing_images(tmp_path):
    probe_images(tmp_path, [])


def test_half_of_the_images_may_be_missing(tmp_path):
    (tmp_path / "here").touch()
    probe_images(tmp_path, ["here", "gone"])
    with pytest.raises(ValueError, match=r"^data\.other=.* 2 of 3 images"):
        probe_images(tmp_path, ["here", "gone", "lost"], "data.other")
