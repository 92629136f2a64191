"""Mistakes in `data.text_buckets` and `data.bucket_order`, each named with a remedy."""

import pytest

from albef_jax.config import text_buckets
from albef_jax.config.defaults import default
from albef_jax.errors import ConfigError
from albef_jax.validate import validate
from tests.helpers.tiny_run import scenes_config, task_config


def problems_of(task="pretrain", **data):
    config = default(task)
    with config.ignore_type():
        config.data.update(data)
    return list(text_buckets.problems(config))


def test_off_by_default():
    config = default()
    assert text_buckets.widths(config.data.text_buckets) == ()
    assert problems_of(source="webdataset") == []


@pytest.mark.parametrize("buckets", ["25", "8,25", " 8, 16 ,25 "])
def test_widths(buckets):
    assert problems_of(text_buckets=buckets) == []
    assert text_buckets.widths(buckets)[-1] == 25


@pytest.mark.parametrize(
    ("buckets", "message"),
    [
        ("8,16", "'8,16': the last width must be data.text_len=25, .*; write 8,16,25"),
        ("8,16,30", "the last width must be data.text_len=25, .*; write 8,16,25"),
        ("16,8,25", "greater than the one before; write 8,16,25"),
        ("8,8,25", "greater than the one before; write 8,25"),
        ("8,x,25", "x is no width"),
        ("1,25", "1 is no width; .* at least 2"),
        ("-8,25", "-8 is no width"),
    ],
)
def test_mistakes(buckets, message):
    config = scenes_config()
    config.data.text_buckets = buckets
    with pytest.raises(ConfigError, match=rf"data\.text_buckets=.*{message}"):
        validate(config)


def test_an_unknown_order():
    config = scenes_config()
    config.data.bucket_order = "grouping"
    with pytest.raises(ConfigError, match=r"data\.bucket_order='grouping'.*did you mean 'grouped'"):
        validate(config)


@pytest.mark.parametrize("source", ["webdataset", "array_record", "tfds"])
def test_sources_that_cannot_be_grouped_name_the_order_that_works(source):
    given = {"text_buckets": "8,25", "source": source}
    (line,) = problems_of(**given)
    assert line.startswith("data.bucket_order=grouped: ") and source in line
    assert "set data.bucket_order=published" in line
    assert problems_of(**given, bucket_order="published") == []


def test_parts_of_a_mixture_are_checked_instead_of_the_source():
    json = {"name": "a", "source": "json", "files": "a.json"}
    shards = {"name": "b", "source": "array_record", "files": "b.array_record"}
    mixture = {"text_buckets": "8,25", "source": "webdataset"}
    assert problems_of(**mixture, mixture=(json,)) == []
    (line,) = problems_of(**mixture, mixture=(json, shards))
    assert "array_record" in line and "webdataset" not in line
    assert problems_of(**mixture, mixture=("no part",)) != []


@pytest.mark.parametrize("task", ["retrieval", "entailment", "vqa", "grounding", "nlvr"])
def test_every_task_has_both_options(task):
    config = task_config(task)
    config.data.text_buckets = "8,25"
    validate(config)
