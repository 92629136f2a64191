"""Changed scenes: exact numbers, and nothing in them that sampled scenes could not show."""

import numpy as np
import pytest

from albef_jax.data.scenes.world.edits import changed, flipped, mirrored, with_counts
from albef_jax.data.scenes.world.graph import Background, Description, Scene, SceneObject
from albef_jax.data.scenes.world.sample import HELD_OUT, sample_scene
from tests.helpers.scene_reader import shared

BALL, STAR = Description(shape="ball"), Description(shape="star")
RED_BALL = Description(shape="ball", colour="red")


@pytest.fixture(scope="module")
def scenes():
    return [sample_scene(5, "train", index) for index in range(300)]


def held_out(scene):
    return {(thing.colour, thing.shape) for thing in scene.objects} & HELD_OUT


@pytest.mark.parametrize(
    "whats",
    [(BALL,), (RED_BALL,), (Description(texture="dotted"),), (BALL, STAR)],
    ids=["shape", "shape and colour", "texture", "two"],
)
@pytest.mark.parametrize("number", [0, 1, 2])
def test_counts_are_what_is_asked_for(scenes, whats, number):
    rng = np.random.default_rng(0)
    made = 0
    for scene in scenes:
        numbers = [(what, number) for what in whats]
        if (edited := with_counts(scene, numbers, rng, train=True)) is not None:
            assert [len(edited.find(what)) for what in whats] == [number] * len(whats)
            assert not held_out(edited)
            made += 1
        elif number * len(whats) <= len(scene.objects):
            assert any(shared(a, b) for a in scene.objects for b in scene.objects if a is not b)
    assert made > 100


def test_objects_that_fit_already_stay_as_they_are(scenes):
    rng = np.random.default_rng(0)
    for scene in scenes:
        count = len(scene.find(BALL))
        assert with_counts(scene, [(BALL, count)], rng, train=True) == scene


def test_a_surplus_object_loses_one_attribute():
    red_ball = SceneObject("ball", "red", "small", "plain", 0.3, 0.5, 0.1)
    scene = Scene((red_ball,), Background("sky"))
    lost = set()
    for seed in range(40):
        edited = with_counts(scene, [(RED_BALL, 0)], np.random.default_rng(seed), train=True)
        (thing,) = edited.objects
        lost |= {
            name for name in ("shape", "colour") if getattr(thing, name) != getattr(red_ball, name)
        }
        assert (thing.shape == "ball") != (thing.colour == "red")
        assert (thing.size, thing.texture, thing.x) == ("small", "plain", 0.3)
    assert lost == {"shape", "colour"}


def test_too_few_objects_give_none(scenes):
    scene = next(scene for scene in scenes if len(scene.objects) == 2)
    assert with_counts(scene, [(BALL, 3)], np.random.default_rng(0), train=True) is None


def test_held_out_combinations_may_come_about_outside_training():
    colour, shape = sorted(HELD_OUT)[0]
    thing = SceneObject(shape, "red", "small", "plain", 0.3, 0.5, 0.1)
    scene, what = Scene((thing,), Background("sky")), Description(colour=colour)
    rng = np.random.default_rng(0)
    assert held_out(with_counts(scene, [(what, 1)], rng, train=False)) == {(colour, shape)}
    trained = with_counts(scene, [(what, 1)], rng, train=True)
    assert not held_out(trained) and trained.objects[0].colour == colour


def test_mirrored_and_flipped_exchange_directions_and_keep_all_else(scenes):
    swaps = {"left of": "right of", "right of": "left of"}, {"above": "below", "below": "above"}
    flips = 0
    for scene in scenes[:100]:
        for other, swap in zip((mirrored(scene), flipped(scene)), swaps, strict=True):
            if other is None:
                continue
            flips += swap is swaps[1]
            for i in range(len(scene.objects)):
                for j in range(len(scene.objects)):
                    for name in ("left of", "right of", "above", "below") if i != j else ():
                        assert other.related(i, swap.get(name, name), j) is scene.related(
                            i, name, j
                        )
    assert flips > 90


def test_mirroring_twice_is_no_change(scenes):
    for scene in scenes[:50]:
        again = mirrored(mirrored(scene))
        assert [t.x for t in again.objects] == pytest.approx([t.x for t in scene.objects])
        for i in range(len(scene.objects)):
            for j in range(len(scene.objects)):
                if i != j:
                    hidden = mirrored(scene).hidden(i, j)
                    assert hidden == pytest.approx(scene.hidden(i, j), abs=0.05)


def test_a_change_is_one_change_and_every_sort_happens(scenes):
    rng = np.random.default_rng(0)
    sorts = set()
    for scene in scenes:
        other = changed(scene, rng, train=True)
        if other is None:
            continue
        assert not held_out(other)
        differing = {
            name
            for a, b in zip(scene.objects, other.objects, strict=True)
            for name in ("shape", "colour", "texture", "size", "radius", "x", "y")
            if getattr(a, name) != getattr(b, name)
        } | ({"background"} if scene.background != other.background else set())
        assert len(differing) == 1
        sorts |= differing
    assert sorts == {"shape", "colour", "texture", "x", "y", "background"}


def test_no_edit_hides_an_object_more_than_sampled_scenes_do(scenes):
    rng = np.random.default_rng(0)
    for scene in scenes:
        edited = with_counts(
            scene, [(Description(shape="square"), len(scene.objects))], rng, train=True
        )
        for other in filter(None, (edited, flipped(scene), changed(scene, rng, train=True))):
            for back in range(len(other.objects)):
                assert sum(other.hidden(back, f) for f in range(len(other.objects))) <= 0.36
