import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageEnhance, ImageOps

from albef_jax.data.images import randaugment
from albef_jax.data.images.randaugment import FILL, OPS, RandAugment, op_arguments

GOLDEN = Path(__file__).parents[2] / "golden" / "text" / "hyperparameters.json"
OFFICIAL = json.loads(GOLDEN.read_text("utf-8"))
DRAWS = {"any_draw": (0.1, 0.9), "draw_above_half": (0.51, 0.9), "draw_below_half": (0.1, 0.49)}


def photo(seed=0):
    small = np.random.default_rng(seed).integers(30, 220, (6, 8, 3), np.uint8)
    return np.array(Image.fromarray(small).resize((64, 48), Image.Resampling.BICUBIC))


def difference(image, other):
    return np.abs(image.astype(int) - np.asarray(other)).max()


def test_the_ops_and_their_strength_are_the_official_ones():
    call = OFFICIAL["image_transforms"]["pretrain"][0]["transform"][2]
    assert call["op"] == "RandomAugment"
    assert set(OPS) == set(call["kwargs"]["augs"])
    assert call["args"] == [RandAugment().num_ops, RandAugment().level]
    defaults = OFFICIAL["randaugment"]["defaults"]
    assert defaults["fill"] == list(FILL)
    assert defaults["max_level"] == randaugment.MAX_LEVEL
    assert defaults["probability_per_op"] == randaugment.PROBABILITY


@pytest.mark.parametrize("op", OPS)
def test_arguments_equal_the_official_ones_at_all_levels(op):
    for side, levels in OFFICIAL["randaugment"]["op_arguments_by_level"][op].items():
        assert len(levels) == 11
        for level, expected in levels.items():
            for draw in DRAWS[side]:
                found = op_arguments(op, int(level), draw)
                assert len(found) == len(expected)
                if expected:
                    assert found[0] == pytest.approx(expected[0])
                    assert [list(fill) for fill in found[1:]] == expected[1:]


@pytest.mark.parametrize("op", OPS)
def test_every_op_keeps_shape_and_type_and_its_input(op):
    image = photo()
    before = image.copy()
    out = OPS[op](image, *op_arguments(op, 7, 0.2))
    assert out.shape == image.shape and out.dtype == np.uint8
    assert np.array_equal(image, before)
    assert np.array_equal(out, image) == (op == "Identity")


@pytest.mark.parametrize("seed", range(3))
def test_photometric_ops_follow_pillow(seed):
    image = photo(seed)
    pillow = Image.fromarray(image)
    assert difference(OPS["AutoContrast"](image), ImageOps.autocontrast(pillow)) <= 1
    assert difference(OPS["Equalize"](image), ImageOps.equalize(pillow)) == 0
    for level in range(11):
        (factor,) = op_arguments("Brightness", level, 0)
        bright = ImageEnhance.Brightness(pillow).enhance(factor)
        sharp = ImageEnhance.Sharpness(pillow).enhance(factor)
        assert difference(OPS["Brightness"](image, factor), bright) <= 1
        assert difference(OPS["Sharpness"](image, factor), sharp) <= 1


def test_sharpness_saturates_and_does_not_wrap_around():
    image = np.zeros((9, 9, 3), np.uint8)
    image[:, 5:] = 255
    out = OPS["Sharpness"](image, 1.9)
    assert (out[:, :5] == 0).all() and (out[:, 5:] == 255).all()


@pytest.mark.parametrize("op", ["AutoContrast", "Equalize"])
def test_a_image_of_one_colour_stays(op):
    image = np.full((8, 8, 3), 77, np.uint8)
    assert np.array_equal(OPS[op](image), image)


def test_translations_shift_and_fill_with_grey():
    image = photo()
    left = OPS["TranslateX"](image, 7.0, FILL)
    assert np.array_equal(left[:, :-7], image[:, 7:])
    assert (left[:, -7:] == 128).all()
    down = OPS["TranslateY"](image, -7.0, FILL)
    assert np.array_equal(down[7:], image[:-7])
    assert (down[:7] == 128).all()


@pytest.mark.parametrize("pixels", [-9, -7, 0, 3, 40, 64, 100])
@pytest.mark.parametrize("op", ["TranslateX", "TranslateY"])
def test_shifts_by_whole_pixels_equal_the_warp(op, pixels):
    image = photo()
    nearly = OPS[op](image, pixels + 1e-9, FILL)  # not whole, so it is warped
    assert np.array_equal(OPS[op](image, float(pixels), FILL), nearly)


def test_shears_move_rows_and_columns_by_their_distance():
    image = photo()
    row, column = 40, 30
    assert np.array_equal(OPS["ShearX"](image, 0.1, FILL)[row, 4:], image[row, :-4])
    assert np.array_equal(OPS["ShearY"](image, -0.1, FILL)[:-3, column], image[3:, column])


def test_rotation_is_anticlockwise_about_the_centre():
    image = photo()
    turned = OPS["Rotate"](image, 21.0, FILL)
    expected = Image.fromarray(image).rotate(21, Image.Resampling.BILINEAR, center=(32.5, 24.5))
    inside = (slice(16, 32), slice(22, 42))
    assert difference(turned[inside], np.array(expected)[inside]) <= 6
    assert difference(turned[inside], image[inside]) > 20
    assert (turned[0, 0] == 128).all()


def test_same_generator_same_image():
    image = photo()
    first, second = (RandAugment()(image, np.random.default_rng(5)) for _ in range(2))
    assert np.array_equal(first, second)


def test_about_a_quarter_of_the_images_meet_no_op(monkeypatch):
    met = []
    monkeypatch.setattr(
        randaugment, "OPS", {op: lambda image, *_, op=op: met.append(op) or image for op in OPS}
    )
    rng = np.random.default_rng(0)
    counts = []
    for _ in range(2000):
        met.clear()
        RandAugment()(photo(), rng)
        counts.append(len(met))
    assert np.bincount(counts) / 2000 == pytest.approx([0.25, 0.5, 0.25], abs=0.05)
