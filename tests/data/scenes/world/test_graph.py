"""Queries of the scene graph on scenes small enough to judge by hand."""

import dataclasses

import pytest

from albef_jax.data.scenes.world.graph import (
    RELATIONS,
    Background,
    Description,
    Scene,
    SceneObject,
    describe,
)
from albef_jax.data.scenes.world.sample import sample_scene


def thing(shape="ball", colour="red", x=0.5, y=0.5, size="large", texture="plain", radius=0.1):
    return SceneObject(shape, colour, size, texture, x, y, radius)


def scene(*things):
    return Scene(things, Background("paper"))


def test_objects_are_frozen_and_scenes_compare_by_value():
    with pytest.raises(dataclasses.FrozenInstanceError):
        thing().x = 0.1
    assert scene(thing()) == scene(thing())
    assert scene(thing()) != scene(thing(x=0.4))


def test_box_of_a_square_and_of_a_triangle():
    assert thing("square").box == pytest.approx((0.416, 0.416, 0.584, 0.584))
    assert thing("triangle").box == pytest.approx((0.4, 0.405, 0.6, 0.58))


def test_find_matches_only_what_is_stated():
    world = scene(thing(), thing("star"), thing("star", "blue", texture="dotted"))
    assert world.find(Description()) == (0, 1, 2)
    assert world.find(Description(shape="star")) == (1, 2)
    assert world.find(Description(shape="star", colour="red")) == (1,)
    assert world.find(Description(texture="dotted", size="small")) == ()


def test_distinguish_gives_the_shortest_unique_description():
    world = scene(
        thing(), thing("star"), thing("star", "blue"), thing("star", "blue", size="small")
    )
    assert world.distinguish(0) == Description(shape="ball")
    assert world.distinguish(1) == Description(shape="star", colour="red")
    assert world.distinguish(2) == Description(shape="star", colour="blue", size="large")
    assert scene(thing(x=0.2), thing(x=0.8)).distinguish(0) is None


def test_describe_takes_the_named_attributes():
    assert describe(thing(), "colour", "size") == Description(colour="red", size="large")


@pytest.mark.parametrize(
    ("dx", "dy", "left", "above"),
    [
        (0.3, 0.0, True, False),  # level, hence not above: nobody would say so
        (0.3, 0.2, True, None),  # left, and lower only by the way
        (0.05, 0.3, None, True),
        (0.05, 0.0, None, False),
        (-0.3, 0.1, False, None),
        (-0.2, -0.4, False, False),
    ],
)
def test_sides_need_a_visible_margin(dx, dy, left, above):
    world = scene(thing(x=0.5, y=0.5), thing(x=0.5 + dx, y=0.5 + dy))
    assert world.related(0, "left of", 1) is left
    assert world.related(1, "right of", 0) is left
    assert world.related(0, "above", 1) is above
    assert world.related(1, "below", 0) is above


def test_overlap_and_depth_follow_the_drawing_order():
    world = scene(thing(x=0.5), thing(x=0.6))
    assert world.related(0, "overlapping", 1) is True
    assert world.related(1, "overlapping", 0) is True
    assert world.related(1, "in front of", 0) is True
    assert world.related(0, "behind", 1) is True
    assert world.related(0, "in front of", 1) is False
    assert world.related(1, "behind", 0) is False
    assert world.hidden(0, 1) > 0.3
    assert world.hidden(1, 0) == 0


def test_a_touch_is_too_little_to_be_stated():
    world = scene(thing(x=0.5), thing(x=0.68))
    assert 0 < world.hidden(0, 1) < 0.05
    assert world.related(0, "overlapping", 1) is None


@pytest.mark.parametrize(("gap", "expected"), [(0.02, True), (0.1, None), (0.3, False)])
def test_next_to(gap, expected):
    world = scene(thing(x=0.2), thing(x=0.4 + gap))
    assert world.related(0, "next to", 1) is expected


@pytest.mark.parametrize(
    ("x", "y", "place", "expected"),
    [
        (0.2, 0.5, "left", True),
        (0.4, 0.5, "left", None),
        (0.5, 0.5, "left", False),
        (0.8, 0.1, "right", True),
        (0.8, 0.1, "top", True),
        (0.8, 0.1, "bottom", False),
        (0.55, 0.45, "middle", True),
        (0.5, 0.7, "middle", None),
        (0.2, 0.5, "middle", False),
    ],
)
def test_places(x, y, place, expected):
    assert scene(thing(x=x, y=y)).placed(0, place) is expected


def test_relations_never_contradict_their_opposites():
    opposites = [("left of", "right of"), ("above", "below"), ("in front of", "behind")]
    for index in range(150):
        world = sample_scene(3, "val", index)
        count = len(world.objects)
        for i, j in ((i, j) for i in range(count) for j in range(count) if i != j):
            answers = {name: world.related(i, name, j) for name in RELATIONS}
            for name, opposite in opposites:
                assert answers[name] is world.related(j, opposite, i)
                assert not (answers[name] and answers[opposite])
