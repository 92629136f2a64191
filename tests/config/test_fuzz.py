"""Two hundred wrong configurations: each is told in lines of its own, and nothing else happens."""

import math
import random
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from ml_collections import ConfigDict

from albef_jax.config.defaults import default
from albef_jax.config.tasks import TASKS
from albef_jax.errors import ConfigError
from albef_jax.validate import CHOICES, NOT_NEGATIVE, POSITIVE, RANGES, SHARES, validate
from albef_jax.workdir.config_file import flatten

COUNT = 200
Tree = dict[str, Any]
# What replaces a value of the kind on the left: never the same kind, never a number for a number.
WRONG_KINDS = {
    bool: ("yes", 1, None, ()),
    int: ("many", 2.5, None, True, (1,), math.nan),
    float: ("fast", None, True, (0.1,), math.nan, math.inf, -math.inf),
    str: (3, None, True, ("a",), 0.5),
    tuple: (3, "ab", None, 0.5, False),
    type(None): ("many", 2.5, True, ()),
}


def right(task: str) -> Tree:
    """A configuration that needs no files."""
    tree = default(task).to_dict()
    tree["data"]["source"] = "scenes"
    return tree


def parent(tree: Tree, option: str) -> tuple[Tree, str]:
    *sections, name = option.split(".")
    for section in sections:
        tree = tree[section]
    return tree, name


def put(tree: Tree, option: str, value: Any) -> str:
    section, name = parent(tree, option)
    section[name] = value
    return option


def wrong_kind(rng: random.Random, tree: Tree) -> str:
    option = rng.choice(sorted(flatten(tree)))
    section, name = parent(tree, option)
    return put(tree, option, rng.choice(WRONG_KINDS[type(section[name])]))


def out_of_range(rng: random.Random, tree: Tree) -> str:
    there = flatten(tree)
    wrong = {
        **dict.fromkeys(POSITIVE, (0, -1, -64)),
        **dict.fromkeys(NOT_NEGATIVE, (-1, -100)),
        **dict.fromkeys(SHARES, (-0.1, 1.01, 50.0)),
        **{option: (low - 1, high + 1) for option, (low, high) in RANGES.items()},
    }
    option = rng.choice(sorted(wrong.keys() & there.keys()))
    value = rng.choice(wrong[option])
    return put(tree, option, type(there[option])(value))


def wrong_choice(rng: random.Random, tree: Tree) -> str:
    option = rng.choice(sorted(CHOICES.keys() & flatten(tree).keys()))
    section, name = parent(tree, option)
    return put(tree, option, rng.choice(("", section[name] + "x", section[name].upper(), "none!")))


def missing(rng: random.Random, tree: Tree) -> str:
    option = rng.choice([*sorted(flatten(tree)), "train", "data.scenes", "guards"])
    section, name = parent(tree, option)
    del section[name]
    return option


def misspelt(rng: random.Random, tree: Tree) -> str:
    option = rng.choice(sorted(flatten(tree)))
    section, name = parent(tree, option)
    place = rng.randrange(len(name))
    typo = rng.choice((name[:place] + name[place + 1 :], name + "s", name[:place] + "_" + name))
    section[typo] = section.pop(name)
    return option


def no_section(rng: random.Random, tree: Tree) -> str:
    option = rng.choice(["model", "data", "train", "optimizer", "data.scenes", "evaluation"])
    return put(tree, option, rng.choice([5, "small", None, (1, 2)]))


def impossible(rng: random.Random, tree: Tree) -> str:
    model, train = tree["model"], tree["train"]
    cases = [
        ("model.image_size", model["patch_size"] * 3 + 1),
        ("model.image_heads", model["image_width"] - 1),
        ("model.text_heads", model["text_width"] - 1),
        ("data.text_len", model["max_positions"] + 1),
        ("data.text_len", 1),
        ("optimizer.min_lr", 1.0),
        ("data.vocab", "no/such/vocabulary.txt"),
        ("init.checkpoint", "no/such/run"),
        ("train.steps", 0),
        ("train.epochs", 0),
    ]
    if "contrast_group" in train:
        cases.append(("train.contrast_group", 1))
        cases.append(("train.batch_size", train["contrast_group"] + 1))
    if "queue_size" in train:
        cases.append(("train.queue_size", train["batch_size"] + 1))
    if "crop_scale" in tree["data"]:
        cases += [("data.crop_scale", scale) for scale in ((0.5,), (0.9, 0.1), (0.0, 1.0), (1, 2))]
    if "layer" in tree["evaluation"]:
        cases.append(("evaluation.layer", 99))
    return put(tree, *rng.choice(cases))


MUTATIONS: tuple[Callable[[random.Random, Tree], str], ...] = (
    wrong_kind,
    out_of_range,
    wrong_choice,
    missing,
    misspelt,
    no_section,
    impossible,
)


def wrong_configurations() -> Iterator[tuple[str, Tree]]:
    rng = random.Random(20)
    for number in range(COUNT):
        tree = right(TASKS[number % len(TASKS)])
        mutate = MUTATIONS[number // len(TASKS) % len(MUTATIONS)]
        yield mutate(rng, tree), tree


@pytest.mark.parametrize("task", TASKS)
def test_the_configurations_are_right_before(task):
    validate(ConfigDict(right(task)))


def test_each_wrong_configuration_is_told_line_by_line():
    for option, tree in wrong_configurations():
        with pytest.raises(ConfigError) as error:
            validate(ConfigDict(tree))
        lines = str(error.value).splitlines()
        where = f"{option}: {error.value}"
        assert any(option in line for line in lines), where
        assert len(lines) == len(set(lines)) and len(lines) <= 8, where
        assert all(10 < len(line) < 300 for line in lines), where


def test_several_mistakes_are_told_at_once():
    tree = right("pretrain")
    put(tree, "train.momentum", "high")
    put(tree, "train.batchsize", 3)
    del tree["log"]["every_steps"]
    with pytest.raises(ConfigError) as error:
        validate(ConfigDict(tree))
    assert sorted(str(error.value).splitlines()) == [
        "log.every_steps is missing; albef_jax.config.default sets all options",
        "train.batchsize: no such option; did you mean train.batch_size?",
        "train.momentum='high': must be a number",
    ]


def test_a_whole_number_is_a_number():
    tree = right("pretrain")
    put(tree, "train.momentum", 1)
    put(tree, "data.crop_scale", [0, 1])
    put(tree, "data.crop_scale", (0.5, 1))
    validate(ConfigDict(tree))
