"""Images: shape, determinism, and colours and patterns that can be told from pixels."""

from dataclasses import replace
from itertools import pairwise

import cv2
import numpy as np
import pytest

from albef_jax.data.scenes.drawing.backgrounds import paint_background
from albef_jax.data.scenes.drawing.rendering import render
from albef_jax.data.scenes.drawing.sprites import _INK
from albef_jax.data.scenes.world.graph import (
    BACKGROUNDS,
    COLOURS,
    TEXTURES,
    Background,
    Scene,
    SceneObject,
)
from albef_jax.data.scenes.world.sample import VARIANTS, sample_scene
from albef_jax.data.scenes.world.shapes import SHAPES


def one(shape="ball", colour="red", texture="plain", kind="paper", radius=0.17, x=0.5, y=0.5):
    thing = SceneObject(shape, colour, "large", texture, x, y, radius)
    return Scene((thing,), Background(kind))


@pytest.mark.parametrize("size", [16, 64, 97, 256, 600])
def test_any_size_gives_a_uint8_image(size):
    image = render(sample_scene(0, "train", 3), size)
    assert image.shape == (size, size, 3)
    assert image.dtype == np.uint8
    assert image.flags.c_contiguous


def test_equal_scenes_give_equal_pixels_and_images_do_not_share_memory():
    first = render(sample_scene(0, "train", 1), 64)
    kept = first.copy()
    first[:] = 0
    np.testing.assert_array_equal(render(sample_scene(0, "train", 1), 64), kept)


def test_one_scene_looks_the_same_at_every_size():
    for index in range(8):
        scene = sample_scene(0, "val", index)
        scene = replace(scene, background=replace(scene.background, x=0.0, y=0.0))
        small = render(scene, 64).astype(float)
        large = cv2.resize(render(scene, 256), (64, 64), interpolation=cv2.INTER_AREA)
        assert np.abs(small - large).mean() < 6


@pytest.mark.parametrize("size", [64, 96, 224])
@pytest.mark.parametrize("shape", SHAPES)
def test_the_drawn_pixels_fill_the_stated_box(shape, size):
    scene = one(shape, "black", x=0.43, y=0.58)
    changed = render(scene, size).max(axis=2) < 150
    rows, columns = np.nonzero(changed)
    seen = np.array([columns.min(), rows.min(), columns.max() + 1, rows.max() + 1]) / size
    np.testing.assert_allclose(seen, scene.objects[0].box, atol=1.8 / size)


def nearest_ink(pixel):
    return min(COLOURS, key=lambda name: np.abs(np.array(_INK[name][0]) - pixel).sum())


@pytest.mark.parametrize("kind", BACKGROUNDS)
def test_colours_are_told_apart_on_every_background(kind):
    for colour in COLOURS:
        image = render(one("square", colour, kind=kind), 64).astype(float)
        inside = np.median(image[24:40, 24:40].reshape(-1, 3), axis=0)
        assert nearest_ink(inside) == colour
        ground = paint_background(Background(kind), 64).astype(float).mean((0, 1))
        assert np.linalg.norm(inside - ground) > 75


@pytest.mark.parametrize("size", [64, 96])
@pytest.mark.parametrize("radius", [0.1, 0.17])
def test_patterns_show_even_on_small_objects(size, radius):
    half = int(0.55 * radius * size)
    centre = slice(size // 2 - half, size // 2 + half)
    for colour in COLOURS:
        views = {
            texture: render(one("square", colour, texture, radius=radius), size)[centre, centre]
            for texture in TEXTURES
        }
        spread = {name: view.astype(float).std((0, 1)).max() for name, view in views.items()}
        assert spread["plain"] < 12
        assert min(spread[name] for name in TEXTURES[1:]) > 16
        differences = [
            np.abs(views[a].astype(float) - views[b]).max(2).mean()
            for a, b in (("striped", "dotted"), ("striped", "checked"), ("dotted", "checked"))
        ]
        assert min(differences) > 12


def test_the_later_object_is_in_front():
    red, blue = one().objects[0], one(colour="blue").objects[0]
    scene = Scene((red, replace(blue, x=0.6)), Background("sand"))
    assert nearest_ink(render(scene, 96)[48, 54]) == "blue"
    assert nearest_ink(render(replace(scene, objects=scene.objects[::-1]), 96)[48, 54]) == "red"


def test_moving_less_than_a_pixel_changes_the_image_smoothly():
    images = [render(one(x=0.5 + step / 640), 64).astype(float) for step in range(3)]
    steps = [np.abs(a - b).max() for a, b in pairwise(images)]
    assert all(2 < step < 60 for step in steps)


def test_backgrounds_differ_in_kind_variant_and_place():
    images = [
        paint_background(Background(kind, variant, 0.3, 0.6), 64).tobytes()
        for kind in BACKGROUNDS
        for variant in range(VARIANTS)
    ]
    assert len(set(images)) == len(BACKGROUNDS) * VARIANTS
    corners = [paint_background(Background("wood", 0, x, y), 64) for x, y in ((0, 0), (1, 1))]
    assert np.abs(corners[0].astype(float) - corners[1]).mean() > 1
    assert min(image.mean() for image in corners) > 140
