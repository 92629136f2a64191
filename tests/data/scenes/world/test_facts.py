"""Each fact judged on a scene made for it: holds, does not, not clear."""

import pytest

from albef_jax.data.scenes.world.facts import (
    Count,
    Exists,
    On,
    Placed,
    Related,
    Row,
    Statement,
    Together,
    in_clear_order,
)
from albef_jax.data.scenes.world.graph import Background, Description, Scene, SceneObject

RED, BLUE = Description(colour="red"), Description(colour="blue")
BALL, STAR = Description(shape="ball"), Description(shape="star")


def thing(shape, colour, x, y=0.5):
    return SceneObject(shape, colour, "small", "plain", x, y, 0.08)


# A red ball, a blue ball, and a blue star close above the blue ball.
WORLD = Scene(
    (thing("ball", "red", 0.2), thing("ball", "blue", 0.7), thing("star", "blue", 0.8, 0.2)),
    Background("sky"),
)


@pytest.mark.parametrize(
    ("fact", "expected"),
    [
        (Exists(RED), True),
        (Exists(Description(colour="red", shape="star")), False),
        (Count(BALL, 2), True),
        (Count(BALL, 1), False),
        (Count(Description(), 3), True),
        (On("sky"), True),
        (On("sand"), False),
        (Related(RED, "left of", STAR), True),
        (Related(STAR, "left of", RED), False),
        (Related(STAR, "right of", BALL), True),  # of the red one
        (Related(STAR, "right of", Description("ball", "blue")), None),
        (Related(RED, "next to", RED), False),  # nothing is next to itself
        (Related(RED, "next to", BLUE), False),
        (Placed(RED, "left"), True),
        (Placed(BLUE, "left"), False),
        (Placed(BLUE, "top"), True),
        (Together((BLUE, BALL)), True),
        (Together((BLUE, BLUE, RED)), True),
        (Together((BALL, BALL, BALL)), False),
        (Together((STAR, BLUE, Description("ball", "blue"))), False),
        (Row((RED, BALL, STAR)), True),
        (Row((RED, STAR, BALL)), False),
        (Row((RED, BALL)), None),
        (Row((RED, RED)), False),
    ],
)
def test_judge(fact, expected):
    assert fact.judge(WORLD) is expected


def test_together_looks_for_an_assignment_not_for_the_first_fit():
    # The open description must leave the red ball to the narrow one.
    assert Together((BALL, RED)).judge(WORLD) is True


def test_row_is_not_clear_among_objects_above_each_other():
    tower = Scene(
        (thing("ball", "red", 0.50, 0.2), thing("star", "red", 0.51, 0.8)), WORLD.background
    )
    assert not in_clear_order(tower)
    assert Row((BALL, STAR)).judge(tower) is None
    assert in_clear_order(WORLD)


def test_a_statement_is_false_if_one_fact_is_and_unclear_if_one_is():
    unclear = Related(STAR, "right of", Description("ball", "blue"))
    assert Statement("", (Exists(RED), On("sky"))).judge(WORLD) is True
    assert Statement("", (Exists(RED), unclear)).judge(WORLD) is None
    assert Statement("", (unclear, On("sand"))).judge(WORLD) is False
