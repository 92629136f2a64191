"""Learning rates of single modules: what the option means, and what it refuses."""

import pytest

from albef_jax.config.defaults import default
from albef_jax.config.lr_scale import parsed, problems
from albef_jax.errors import ConfigError
from albef_jax.validate import validate

MODULES = ("image_encoder", "text_encoder", "temperature")


def test_entries_are_read_with_or_without_spaces():
    assert parsed("temperature=0.1, image_encoder = 2") == {
        "temperature": 0.1,
        "image_encoder": 2.0,
    }
    assert parsed("") == {}
    assert not list(problems("temperature=0.1, image_encoder = 2", MODULES))


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("temperatur=0.1", "no module 'temperatur'; did you mean temperature?"),
        ("zzz=1", "no module 'zzz'; choose among image_encoder, text_encoder, temperature"),
        ("temperature", "'temperature' must be temperature and a number above 0"),
        ("temperature=0", "must be temperature and a number above 0"),
        ("temperature=nan", "must be temperature and a number above 0"),
        ("temperature=1,temperature=2", "temperature is there twice"),
    ],
)
def test_mistakes_are_one_line(text, message):
    (line,) = problems(text, MODULES)
    assert message in line


def test_modules_are_those_of_the_task():
    config = default("vqa")
    config.data.source = "scenes"
    config.optimizer.lr_scale = "answer_decoder=0.5"
    validate(config)
    config.optimizer.lr_scale = "mlm_head=0.5"
    with pytest.raises(ConfigError, match="no module 'mlm_head'"):
        validate(config)
