"""Options that name parts of a model: what they mean, and what they refuse."""

import pytest

from albef_jax.config.defaults import default
from albef_jax.config.parts import frozen_parts, frozen_problems, scale_problems, scales
from albef_jax.errors import ConfigError
from albef_jax.validate import validate

MODULES = ("image_encoder", "text_encoder", "temperature")
DEPTHS = {"image_encoder": 4, "text_encoder": 2}


def test_entries_are_read_with_or_without_spaces():
    text = "temperature=0.1, image_encoder:2 = 2"
    assert scales(text) == {("temperature", None): 0.1, ("image_encoder", 2): 2.0}
    assert not list(scale_problems(text, MODULES, DEPTHS))
    assert frozen_parts("temperature, image_encoder:2") == (
        ("temperature", None),
        ("image_encoder", 2),
    )
    assert not list(frozen_problems("temperature, image_encoder:2", MODULES, DEPTHS))
    assert scales("") == {}
    assert frozen_parts("") == ()


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("temperatur=0.1", "no module 'temperatur'; did you mean temperature?"),
        ("zzz=1", "no module 'zzz'; choose among image_encoder, text_encoder, temperature"),
        ("temperature", "'temperature' must be temperature and a number above 0"),
        ("temperature=0", "must be temperature and a number above 0"),
        ("temperature=nan", "must be temperature and a number above 0"),
        ("temperature=1,temperature=2", "temperature is there twice"),
        ("image_encoder:5=1", "image_encoder has 4 layers (model.image_depth)"),
        ("temperature:1=1", "temperature has no layers that can be named"),
    ],
)
def test_mistakes_in_rates_are_one_line(text, message):
    (line,) = scale_problems(text, MODULES, DEPTHS)
    assert message in line


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("image_encode", "no module 'image_encode'; did you mean image_encoder?"),
        ("image_encoder:0", "write image_encoder:1 to image_encoder:4 for its first ones"),
        ("image_encoder:all", "image_encoder has 4 layers (model.image_depth)"),
        ("image_encoder,image_encoder:2", "image_encoder is there twice"),
        ("temperature:1", "temperature has no layers that can be named; write temperature"),
        ("image_encoder,text_encoder,temperature", "nothing is left to train"),
    ],
)
def test_mistakes_in_frozen_parts_are_one_line(text, message):
    (line,) = frozen_problems(text, MODULES, DEPTHS)
    assert message in line


def scenes(task):
    config = default(task)
    config.data.source = "scenes"
    return config


def test_modules_are_those_of_the_task():
    config = scenes("vqa")
    config.optimizer.lr_scale = "answer_decoder=0.5"
    config.train.frozen = "image_encoder,text_encoder:6"
    validate(config)
    config.optimizer.lr_scale = "mlm_head=0.5"
    with pytest.raises(ConfigError, match="no module 'mlm_head'"):
        validate(config)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"optimizer.lr_scale": "image_encoder:3=0.1"}, "image_encoder:3 is frozen by train.froz"),
        ({"train.cached_views": 1}, "one augmented view is worse than none; set data.augment=none"),
        ({"train.cached_views": 2, "data.augment": "none"}, "they are equal; set it to 1"),
        (
            {"train.cached_views": 2, "train.frozen": "image_encoder:12"},
            "the image encoder changes; add image_encoder to train.frozen",
        ),
    ],
)
def test_options_that_contradict_each_other(options, message):
    config = scenes("pretrain")
    config.update_from_flattened_dict({"train.frozen": "image_encoder", **options})
    with pytest.raises(ConfigError, match=message):
        validate(config)
