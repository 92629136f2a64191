import json
from pathlib import Path

import cv2
import numpy as np
import pytest
from PIL import Image

from albef_jax.data.images.augment import (
    EvalTransform,
    TrainTransform,
    draw_crop,
    resize_crop,
)

GOLDEN = Path(__file__).parents[2] / "golden" / "text" / "hyperparameters.json"


def photo(height=60, width=80):
    small = np.random.default_rng(0).integers(0, 255, (6, 8, 3), np.uint8)
    return np.array(Image.fromarray(small).resize((width, height), Image.Resampling.BICUBIC))


def test_the_default_is_the_official_pretraining_transform():
    crop, flip, randaugment = json.loads(GOLDEN.read_text("utf-8"))["image_transforms"]["pretrain"][
        0
    ]["transform"][:3]
    default = TrainTransform(256)
    assert crop["op"] == "RandomResizedCrop"
    assert crop["kwargs"]["scale"] == list(default.crop_scale)
    assert (flip["op"] == "RandomHorizontalFlip") == default.flip
    assert randaugment["args"] == [default.randaugment_ops, default.randaugment_level]


@pytest.mark.parametrize("shape", [(60, 80), (16, 16), (1, 1), (3, 500), (500, 3)])
@pytest.mark.parametrize("crop_scale", [(0.2, 1.0), None])
def test_any_image_comes_out_square(shape, crop_scale):
    transform = TrainTransform(16, crop_scale)
    for seed in range(5):
        out = transform(photo(*shape), np.random.default_rng(seed))
        assert out.shape == (16, 16, 3) and out.dtype == np.uint8


def test_all_randomness_comes_from_the_generator():
    transform, image = TrainTransform(32), photo()
    outs = [transform(image, np.random.default_rng(seed)) for seed in (1, 1, 2)]
    assert np.array_equal(outs[0], outs[1])
    assert not np.array_equal(outs[0], outs[2])


def test_the_input_is_left_alone():
    image = photo(32, 32)
    before = image.copy()
    for seed in range(20):
        TrainTransform(32, None)(image, np.random.default_rng(seed))
    assert np.array_equal(image, before)


def test_half_the_images_are_flipped():
    image = photo(16, 16)
    transform = TrainTransform(16, crop_scale=None, randaugment_ops=0)
    rng = np.random.default_rng(0)
    outs = [transform(image, rng) for _ in range(400)]
    flipped = sum(np.array_equal(out, image[:, ::-1]) for out in outs)
    plain = sum(np.array_equal(out, image) for out in outs)
    assert flipped + plain == 400
    assert 160 < flipped < 240
    never = TrainTransform(16, crop_scale=None, flip=False, randaugment_ops=0)
    assert np.array_equal(never(image, rng), image)


def test_crops_have_the_allowed_area_and_aspect_ratio_and_lie_inside():
    rng = np.random.default_rng(0)
    crops = np.array([draw_crop(500, 500, (0.2, 1.0), rng) for _ in range(2000)])
    top, left, height, width = crops.T
    assert (top >= 0).all() and (top + height <= 500).all()
    assert (left >= 0).all() and (left + width <= 500).all()
    share, ratio = height * width / 500**2, width / height
    assert share.min() > 0.199 and share.max() > 0.9
    assert ratio.min() > 0.745 and ratio.max() < 1.34
    assert np.log(ratio).mean() == pytest.approx(0, abs=0.03)
    assert len(np.unique(top)) > 100 and len(np.unique(left)) > 100


@pytest.mark.parametrize(
    ("shape", "box"), [((10, 1000), (0, 493, 10, 13)), ((1000, 10), (493, 0, 13, 10))]
)
def test_a_image_too_narrow_for_any_crop_gives_its_centre(shape, box):
    assert draw_crop(*shape, (0.9, 1.0), np.random.default_rng(0)) == box


def detailed(height, width):
    noise = np.random.default_rng(1).normal(0, 20, (height, width, 3))
    return np.clip(photo(height, width) + noise, 0, 255).astype(np.uint8)


def off(resized, image, size=64):
    """How far this is from what the official transform gives, on average."""
    pillow = Image.fromarray(image).resize((size, size), Image.Resampling.BICUBIC)
    return np.abs(resized.astype(int) - np.array(pillow)).mean()


SHAPES = [(24, 30), (68, 70), (100, 130), (150, 120), (158, 60), (30, 150), (400, 300), (900, 160)]


@pytest.mark.parametrize("shape", SHAPES)
def test_resizing_stays_close_to_pillow_bicubic(shape):
    image = detailed(*shape)
    transform = TrainTransform(64, crop_scale=None, flip=False, randaugment_ops=0)
    out = transform(image, np.random.default_rng(0))
    assert off(out, image) < 2.1
    if max(shape) > 100:  # OpenCV's own filters are farther off
        for plain in (cv2.INTER_AREA, cv2.INTER_LINEAR, cv2.INTER_CUBIC):
            assert off(out, image) < off(cv2.resize(image, (64, 64), interpolation=plain), image)


def test_a_image_of_the_right_size_is_not_resized():
    image = detailed(64, 64)
    assert resize_crop(image, 64) is image


def test_eval_squeezes_the_whole_image_and_passes_the_right_size_through():
    image = photo()
    out = EvalTransform(32)(image)
    expected = Image.fromarray(image).resize((32, 32), Image.Resampling.BICUBIC)
    assert np.array_equal(out, np.array(expected))
    drawn = photo(32, 32)
    assert EvalTransform(32)(drawn, np.random.default_rng(0)) is drawn
