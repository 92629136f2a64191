"""A run goes on with the data that it was begun with, or says so."""

import json

import pytest
from PIL import Image

from albef_jax.config.defaults import default
from albef_jax.data.build import open_train_pairs
from albef_jax.errors import ConfigError, RunError
from albef_jax.run import run
from albef_jax.workdir.trained_on import check_data


@pytest.fixture
def root(tmp_path):
    for number in range(12):
        Image.new("RGB", (8, 6), (number, 0, 0)).save(tmp_path / f"{number}.png")
    written(tmp_path, 4)
    return tmp_path


def written(root, items, word="dog", name="a.json"):
    listed = [{"image": f"{number}.png", "caption": f"a {word}"} for number in range(items)]
    (root / name).write_text(json.dumps(listed), "utf-8")


@pytest.fixture
def config(root):
    config = default()
    config.data.update({"root": str(root), "train_files": "*.json"})
    config.train.update({"batch_size": 2, "contrast_group": 2, "queue_size": 4})
    return config


def check(root, config, **options):
    return check_data(
        root / "run", config, open_train_pairs(config), **{"eval_only": False, **options}
    )


@pytest.fixture
def begun(root, config):
    (root / "run" / "checkpoints" / "5").mkdir(parents=True)
    assert check(root, config) == []
    return root / "run"


@pytest.mark.usefixtures("begun")
def test_the_same_data_go_on(root, config):
    assert check(root, config) == []


@pytest.mark.usefixtures("begun")
@pytest.mark.parametrize(
    ("change", "told"),
    [
        (lambda root: written(root, 12), r"items: 4 before, 12 now\n.*a\.json: \d+ bytes before"),
        (lambda root: written(root, 4, "cat"), r"a\.json: has other content than before"),
        (lambda root: written(root, 4, name="b.json"), r"b\.json: is new"),
    ],
)
def test_other_data_are_refused_until_they_are_accepted(root, config, change, told):
    change(root)
    for _ in range(2):
        with pytest.raises(ConfigError, match=told) as error:
            check(root, config)
    assert "--config.data.if_changed=accept" in str(error.value)
    config.data.if_changed = "accept"
    assert check(root, config)
    config.data.if_changed = "refuse"  # from now on it is these
    assert check(root, config) == []


def test_the_run_is_refused_before_anything_is_compiled(root, config, begun):
    written(root, 12)
    config.train.update({"batch_size": 8, "queue_size": 16})
    config.evaluation.batch_size = 8
    with pytest.raises(RunError, match="was trained on other data than there are now"):
        run(config, begun, "the command", eval_only=False)


def test_a_run_that_saved_nothing_takes_what_there_is(root, config):
    (root / "run").mkdir()
    check(root, config)
    written(root, 12)
    assert check(root, config) == []


def test_a_run_from_before_is_given_a_fingerprint(root, config, begun):
    (begun / "trained_on.json").unlink()
    written(root, 12)
    assert check(root, config) == []
    written(root, 4)
    with pytest.raises(ConfigError, match="12 before, 4 now"):
        check(root, config)


def test_the_vocabulary_counts_in_an_evaluation_too(root, config, begun):
    vocab = root / "vocab.txt"
    words = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "dog", "cat"]
    vocab.write_text("\n".join(words))
    config.data.vocab = str(vocab)
    (begun / "trained_on.json").unlink()
    check(root, config)
    written(root, 12)
    assert check(root, config, eval_only=True) == []  # no training data are opened
    vocab.write_text("\n".join([*words[:5], "cat", "dog"]))
    with pytest.raises(ConfigError, match=r"vocab\.txt: has other content"):
        check(root, config, eval_only=True)


def test_a_damaged_file_is_named(root, config, begun):
    (begun / "trained_on.json").write_text("{")
    with pytest.raises(ConfigError, match=r"trained_on\.json: damaged"):
        check(root, config)


def test_the_built_in_world_has_no_files(root, config):
    config.data.update({"source": "scenes", "train_files": ""})
    (root / "run").mkdir()
    assert check(root, config) == []
    found = json.loads((root / "run" / "trained_on.json").read_text())
    assert found["training"] == {} and found["items"] == config.data.scenes.train_size
