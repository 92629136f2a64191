"""Four ways in, and mixtures of them: what the configuration says is checked, then opened."""

import io
import itertools
import json
import tarfile

import numpy as np
import pytest
from PIL import Image

from albef_jax.config.defaults import default
from albef_jax.data.annotations.by_image import PairsByImage
from albef_jax.data.build import open_eval_pairs, open_train_pairs
from albef_jax.data.mixture import MixedPairs
from albef_jax.data.scenes.source import ScenesSource
from albef_jax.data.shards.array_record import ArrayRecordPairs
from albef_jax.data.shards.webdataset import TarPairs
from albef_jax.distributed.mesh import make_mesh
from albef_jax.errors import ConfigError
from albef_jax.tasks.pretrain import Pretraining
from albef_jax.validate import validate


@pytest.fixture
def config(tmp_path):
    """Six images as JSON, four as two shards."""
    (tmp_path / "images").mkdir()
    items = [{"image": f"{number}.png", "caption": f"json {number}"} for number in range(6)]
    for item in items:
        Image.new("RGB", (8, 8)).save(tmp_path / "images" / item["image"])
    (tmp_path / "a.json").write_text(json.dumps(items), "utf-8")
    data = (tmp_path / "images" / "0.png").read_bytes()
    for shard in range(2):
        with tarfile.open(tmp_path / f"0000{shard}.tar", "w") as tar:
            for name, content in (
                ("0.png", data),
                ("0.txt", b"tar"),
                ("1.png", data),
                ("1.txt", b"x"),
            ):
                info = tarfile.TarInfo(name)
                info.size = len(content)
                tar.addfile(info, io.BytesIO(content))
    config = default()
    config.data.update({"root": str(tmp_path), "image_root": "images", "train_files": "a.json"})
    config.data.scenes.train_size = 20
    config.train.update({"batch_size": 4, "contrast_group": 2, "queue_size": 8})
    config.model.image_size = 32
    return config


JSON = {"name": "mine", "source": "json", "files": "a.json", "image_root": "images"}
TARS = {"name": "web", "source": "webdataset", "files": "{00000..00001}.tar"}
DRAWN = {"name": "drawn", "source": "scenes"}


def mix(config, *parts):
    config.data.update({"train_files": "", "mixture": parts})


def problems(config, eval_only=False):
    with pytest.raises(ConfigError) as refused:
        validate(config, eval_only)
    return str(refused.value)


def test_shards_by_a_pattern(config):
    config.data.update({"source": "webdataset", "train_files": "*.tar"})
    validate(config)
    pairs = open_train_pairs(config)
    assert isinstance(pairs, TarPairs) and len(pairs) == 4
    held_out, what = open_eval_pairs(config)
    assert len(held_out) == 4 and what.startswith("TRAINING items")


def test_a_field_of_the_json_is_forwarded(config):
    config.data.update({"source": "webdataset", "train_files": "*.tar", "caption_field": "text"})
    validate(config)
    with pytest.raises(ValueError, match=r"no sample has a \.json"):
        open_train_pairs(config)


def test_evaluation_may_be_of_another_kind(config):
    data = {"source": "webdataset", "train_files": "*.tar", "eval_source": "json"}
    config.data.update({**data, "eval_files": "a.json"})
    validate(config)
    held_out, what = open_eval_pairs(config)
    assert isinstance(held_out, PairsByImage) and what == "held-out items of data.eval_files"
    config.data.update({"eval_source": "scenes", "eval_files": ""})
    validate(config)
    assert isinstance(open_eval_pairs(config)[0], ScenesSource)
    assert isinstance(open_train_pairs(config), TarPairs)


def test_packed_pairs(config, tmp_path):
    config.data.update({"source": "array_record", "train_files": "*.array_record"})
    assert "no such file" in problems(config)
    (tmp_path / "0.array_record").write_bytes(b"x")
    validate(config)
    with pytest.raises(ValueError, match=r"0\.array_record"):
        ArrayRecordPairs([tmp_path / "0.array_record"])
    with pytest.raises(ValueError, match=r"0\.array_record"):
        open_train_pairs(config)


def test_data_sets_of_tfds_are_names_and_not_files(config):
    config.data.update({"source": "tfds", "train_files": "no_such_set:train[:5%]"})
    validate(config)
    with pytest.raises(
        ValueError, match=r"data\.train_files[\s\S]*no_such_set:train.*no such data"
    ):
        open_train_pairs(config)


def test_a_mixture_of_three_kinds(config):
    mix(config, {**JSON, "weight": 2}, {**TARS, "weight": 1.0}, {**DRAWN, "weight": 1})
    validate(config)
    pairs = open_train_pairs(config)
    assert isinstance(pairs, MixedPairs) and len(pairs) == 6 + 4 + 20
    assert [pairs[index].captions[0] for index in (0, 5, 6)] == ["json 0", "json 5", "tar"]
    assert pairs[9].name.startswith("web: ") and pairs[10].name == "drawn: scenes/train/0"
    order = pairs.order(4, config.seed)
    drawn = np.array([order[position] for position in range(28)])
    assert [(drawn < 6).sum(), (drawn >= 10).sum()] == [14, 7]
    held_out, what = open_eval_pairs(config)
    assert len(held_out) == 30 and what.startswith("TRAINING items")


def test_a_task_trains_on_a_mixture_by_its_weights(config, tmp_path):
    mix(config, {**JSON, "weight": 2}, {**TARS, "weight": 1}, {**DRAWN, "weight": 1})
    config.data.threads = 0
    task = Pretraining(config, tmp_path / "run")
    assert task.steps_per_epoch == 7
    assert task.describe_data().startswith("mixture, 30 images an epoch; mine 50.0%, its 6")
    whole = [batch["sample_index"] for batch in itertools.islice(task.batches(0, make_mesh()), 7)]
    drawn = np.concatenate(whole)
    assert [(drawn < 6).sum(), (drawn >= 10).sum()] == [14, 7]
    assert np.array_equal(next(task.batches(5, make_mesh()))["sample_index"], whole[5])


def test_a_part_without_a_sample_is_refused_before_training(config):
    mix(config, {**JSON, "weight": 1}, {**TARS, "weight": 1e-9})
    validate(config)
    with pytest.raises(ValueError, match=r"data\.mixture: web gets none of the 8 samples"):
        open_train_pairs(config)


def test_a_mixture_goes_through_config_json(config):
    mix(config, {**JSON, "weight": 2}, {**TARS, "weight": 1.0})
    kept = json.loads(config.to_json())["data"]["mixture"]
    assert kept == [{**JSON, "weight": 2}, {**TARS, "weight": 1.0}]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"source": "tar"}, "part 1 (web): 'source' is 'tar': choose one of json, webdataset"),
        ({"source": "webdatset"}, "did you mean 'webdataset'?"),
        ({"wieght": 2}, "part 1 (web): no such key 'wieght'; did you mean 'weight'?"),
        ({"weight": 0}, "'weight' is 0: must be a number greater than 0"),
        ({"weight": "2"}, "'weight' is '2': must be"),
        ({"weight": float("nan")}, "'weight' is nan: must be"),
        ({"weight": 1}, "give every part a 'weight', or none"),
        ({"name": ""}, "part 1: has no 'name'"),
        ({"name": "mine"}, "part 1 (mine): another part has that name"),
        ({"files": ""}, "part 1 (web): files is empty: name tar shards"),
        ({"files": ["00000.tar"]}, "'files' must be a text"),
        ({"files": "0000{1..3}.tar"}, "files: no such file"),
        ({"image_field": "image"}, "'image_field' is for tfds; leave it out"),
        (
            {"files": "https://host/{0..9}.tar"},
            "https://host/{0..9}.tar is an address that data are",
        ),
    ],
)
def test_problems_of_a_mixture_are_named(config, change, message):
    mix(config, JSON, {**TARS, **change})
    assert message in problems(config)


def test_more_problems_of_a_mixture(config):
    mix(config, {**JSON, "image_root": "imags"}, "b.json")
    assert "part 1: 'b.json' is no dictionary" in problems(config)
    mix(config, {**JSON, "image_root": "imags"})
    assert "part 0 (mine): image_root: no such directory" in problems(config)
    mix(config, JSON)
    config.data.train_files = "a.json"
    assert "data.train_files and data.mixture exclude each other" in problems(config)


def test_a_mixture_is_not_looked_at_when_only_evaluating(config):
    mix(config, {**TARS, "files": "gone.tar"})
    config.data.eval_files = "a.json"
    validate(config, eval_only=True)
    assert "gone.tar" in problems(config)


@pytest.mark.parametrize(
    ("data", "message"),
    [
        ({"source": "webdataset", "train_files": ""}, "data.train_files is empty: name tar shards"),
        ({"source": "tfds", "train_files": ""}, "data.train_files is empty: name data sets"),
        (
            {"train_files": "pipe:cat a.json"},
            "pipe:cat a.json is an address that data are not read",
        ),
        ({"root": "https://host"}, "https://host is an address"),
        (
            {"image_root": "https://host/images"},
            "data.image_root: https://host/images is an address",
        ),
        ({"source": "tfds", "root": "gs://b", "train_files": "x:train"}, "gs://b is an address"),
        ({"eval_source": "jsn"}, "data.eval_source='jsn': choose one of"),
        ({"caption_field": "text"}, "data.caption_field is for data.source=webdataset and tfds"),
        ({"train_files": "{00000..00331}.json"}, "... and 327 more that are not there"),
    ],
)
def test_problems_of_pairs_are_named(config, data, message):
    config.data.update(data)
    assert message in problems(config)


@pytest.mark.parametrize("source", ["webdataset", "array_record", "tfds"])
def test_other_tasks_read_json_alone(source):
    config = default("entailment")
    config.data.update({"source": source, "train_files": "x"})
    assert f"data.source={source}: entailment reads its annotations from JSON files" in problems(
        config
    )


def test_other_tasks_read_no_other_addresses_either():
    config = default("entailment")
    config.data.update({"train_files": "https://host/a.json"})
    assert "data.train_files: https://host/a.json is an address" in problems(config)
