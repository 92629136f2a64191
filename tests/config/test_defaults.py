"""Every recipe loads; mistakes give one clear line each before anything is built."""

import importlib.util
import json
import subprocess
import sys
from pathlib import Path

import pytest

from albef_jax.config.auto import OPTIONS, asked, change, use_auto, values
from albef_jax.config.defaults import default, model_config, use_preset
from albef_jax.config.file_patterns import split_list
from albef_jax.config.tasks import TASKS
from albef_jax.errors import ConfigError
from albef_jax.losses import pretraining
from albef_jax.models.config import PRESETS
from albef_jax.tasks.shared.base import for_devices
from albef_jax.validate import LOSSES, validate, value_of
from albef_jax.workdir.saved_steps import has_steps
from tests.helpers.command_line import refused

ROOT = Path(__file__).parents[2]
RECIPES = ("demo", "world", "4m", "14m", "4m_fast", "14m_fast", "local", "laptop")


def get_config(preset: str):
    spec = importlib.util.spec_from_file_location("pretrain", ROOT / "configs" / "pretrain.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module.get_config(preset)


@pytest.fixture
def config():
    return get_config("demo")


@pytest.mark.parametrize("preset", RECIPES)
def test_recipes_are_consistent(preset, tmp_path):
    config = get_config(preset)
    config.data.root = str(tmp_path)
    for name in config.data.train_files.split(","):
        (tmp_path / name).touch()
    if preset in ("local", "laptop"):
        (tmp_path / "a.json").touch()
        config.data.train_files = "a.json"
    validate(config)


def test_unknown_recipe_names_the_known_ones():
    with pytest.raises(ValueError, match=r"no preset 'dmeo'.*world"):
        get_config("dmeo")


def test_official_recipe_has_the_official_values():
    config = get_config("14m")
    assert config.train.batch_size == 512
    assert config.train.epochs == 30
    assert config.train.queue_size == 65536
    assert config.model.image_size == 256
    assert model_config(config) == PRESETS["base"]
    assert config.data.train_files.endswith("cc12m.json")


@pytest.mark.parametrize("recipe", ["4m", "14m"])
def test_the_fast_recipes_are_the_official_ones_but_for_speed(recipe):
    official, fast = get_config(recipe), get_config(f"{recipe}_fast")
    assert not asked(official)
    assert asked(fast) == OPTIONS
    change(fast, values(official))
    fast.preset = recipe
    assert fast.to_dict() == official.to_dict()


@pytest.mark.parametrize("recipe", ["demo", "world", "laptop"])
def test_what_runs_on_cpus_is_not_auto(recipe):
    assert not asked(get_config(recipe))
    assert asked(get_config("local")) == OPTIONS


@pytest.mark.parametrize("task", TASKS)
def test_every_task_may_be_auto(task):
    config = default(task)
    config.data.source = "scenes"
    use_auto(config)
    validate(config)


def test_auto_is_checked_like_a_value(config):
    use_auto(config)
    config.model.attention = "cudnn"
    validate(config)
    config.model.dtype = "float32"
    with pytest.raises(ConfigError, match=r"model\.attention=cudnn with model\.dtype=float32"):
        validate(config)
    config = get_config("demo")
    for wrong in ("many", 2.0, True):
        config.train.microbatches = wrong
        with pytest.raises(ConfigError, match=r"train\.microbatches=.*whole number, or auto"):
            validate(config)
    config.train.microbatches = 0
    with pytest.raises(ConfigError, match=r"train\.microbatches=0: must be greater than 0"):
        validate(config)


@pytest.mark.parametrize(
    ("option", "value", "message"),
    [
        ("train.queue_size", 1000, "train.queue_size=1000 is not a multiple of train.batch_size"),
        ("train.batch_size", 48, "train.batch_size=48 is not a multiple of train.contrast_group"),
        ("train.contrast_group", 1, "needs 1 negative"),
        ("train.batch_size", 0, "train.batch_size=0: must be greater than 0"),
        ("train.momentum", 1.5, "train.momentum=1.5: must lie between 0 and 1"),
        ("optimizer.schedule", "oficial", "did you mean 'official'"),
        ("data.source", "jsn", "did you mean 'json'"),
        ("data.text_len", 65, "exceeds model.max_positions=64"),
        ("data.text_len", 1, "at least 2"),
        ("data.crop_scale", (0.5, 0.2), "0 < low <= high <= 1"),
        ("model.image_size", 65, "the nearest is model.image_size=64"),
        ("model.text_heads", 3, "is not a multiple of model.text_heads=3"),
        ("optimizer.weight_decay", -1.0, "must not be negative"),
        ("train.steps", 0, "train.steps=0: must be at least 1"),
        ("train.losses", "itc,mln", "mln is unknown; choose among itc, mlm, itm"),
        ("train.losses", " , ", "name at least one of itc, mlm, itm"),
        ("train.distilled", "itc,itm", "itm is unknown; choose among itc, mlm"),
        ("train.negatives", "hardest", "hard"),
        ("model.image_stem", "convolution", "did you mean 'convolutions'"),
        ("model.patch_size", 12, "needs a power of two; use 4, 8, 16 or 32"),
        ("model.image_width", 130, "image_positions=sincos needs a multiple of 4"),
    ],
)
def test_problems_are_named(config, option, value, message):
    section, name = option.rsplit(".", 1)
    value_of(config, section)[name] = value
    with pytest.raises(ConfigError, match=message.replace("(", r"\(")):
        validate(config)


def test_the_losses_by_default_are_all_that_there_are():
    for option, wanted in (
        ("train.losses", pretraining.LOSSES),
        ("train.distilled", pretraining.DISTILLED),
    ):
        assert split_list(value_of(default(), option)) == LOSSES[option][0] == wanted


def test_nearest_multiple_is_one(config):
    config.train.queue_size = 1000
    with pytest.raises(ConfigError) as error:
        validate(config)
    nearest = int(str(error.value).rsplit("=", 1)[1])
    config.train.queue_size = nearest
    validate(config)


def test_all_problems_at_once(config):
    config.train.momentum = 2.0
    config.data.source = "jsn"
    with pytest.raises(ConfigError) as error:
        validate(config)
    assert len(str(error.value).splitlines()) == 2


def test_missing_files_suggest_the_nearest_name(tmp_path):
    (tmp_path / "captions.json").write_text("[]")
    config = get_config("local")
    config.data.update({"train_files": str(tmp_path / "caption.json"), "image_root": str(tmp_path)})
    with pytest.raises(ConfigError, match=r"no such file: .*did you mean .*captions\.json"):
        validate(config)
    config.data.update({"train_files": "", "image_root": str(tmp_path / "nowhere")})
    with pytest.raises(ConfigError, match=r"train_files is empty[\s\S]*no such directory"):
        validate(config)


def test_unknown_keys_and_wrong_types_are_refused():
    config = default()
    with pytest.raises(AttributeError, match="batch_size"):
        config.train.batchsize = 3
    with pytest.raises(TypeError):
        config.train.batch_size = "many"


def test_presets_set_every_size():
    config = default()
    use_preset(config, "large", image_size=384)
    assert model_config(config).image_width == 1024
    assert model_config(config).encoder_width == 1024
    assert model_config(config).text_width == 768
    assert model_config(config).image_size == 384


def command_line(*arguments: str) -> subprocess.CompletedProcess:
    command = [sys.executable, "-m", "albef_jax.main", *arguments]
    return subprocess.run(command, capture_output=True, text=True, cwd=ROOT, check=False)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((), "--config is missing"),
        (("--config", "configs/pretrain.py", "--config.train.batchsize=8"), "batch_size"),
        (("--config", "configs/pretrain.py", "--config.train.batch_size=abc"), "batch_size"),
        (("--config", "configs/pretrain.py:dmeo"), "no preset 'dmeo'"),
        (("--config", "configs/pretrian.py"), "configs/pretrian.py"),
        (("--config", "configs/pretrain.py", "--config.train.queue_size=100"), "not a multiple"),
        (("--config", "configs/pretrain.py", "--workdr", "x"), "workdr"),
    ],
)
def test_command_line_mistakes_are_one_line(arguments, message, capsys, monkeypatch):
    monkeypatch.chdir(ROOT)
    refused(*arguments)
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("error:")
    assert message in line


def test_a_process_ends_with_its_mistake():
    result = command_line("--config=configs/pretrain.py", "--config.train.queue_size=100")
    assert result.returncode == 2
    assert result.stderr.startswith("error: train.queue_size=100 is not a multiple")
    assert len(result.stderr.splitlines()) == 1


def test_print_config_prints_the_checked_configuration_and_nothing_else(tmp_path):
    result = command_line(
        "--config=configs/pretrain.py",
        "--config.seed=7",
        "--config.train.microbatches=auto",
        "--config.model.dtype=auto",
        "--print_config",
        f"--workdir={tmp_path / 'run'}",
    )
    assert result.returncode == 0, result.stderr
    wanted = get_config("demo")
    wanted.seed = 7
    wanted.train.microbatches = wanted.model.dtype = "auto"
    assert json.loads(result.stdout) == json.loads(wanted.to_json())
    assert list(json.loads(result.stdout)) == list(json.loads(default().to_json()))
    assert not (tmp_path / "run").exists()


def test_help_has_an_example():
    result = command_line("--help")
    assert "python -m albef_jax.main --config configs/pretrain.py --workdir" in result.stdout


@pytest.mark.parametrize(
    ("arguments", "start"),
    [
        (("--profile=5",), "error: --profile"),
        (("--profile=5:2", "--eval_only"), "error: --profile"),
        (("--workdir=https://host/run",), "error: --workdir: https://host/run is an address"),
    ],
)
def test_wrong_flags_are_refused_before_the_run(arguments, start, capsys, monkeypatch):
    monkeypatch.chdir(ROOT)
    refused("--config=configs/pretrain.py", *arguments)
    assert capsys.readouterr().err.startswith(start)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"dtype": "float32"}, r"model\.attention=cudnn with model\.dtype=float32: .*bfloat16"),
        ({"image_width": 144, "image_heads": 12}, "multiples of 8 and at most 128 wide.* is 12;"),
        ({"image_width": 512, "image_heads": 2}, "at most 128 wide.* is 256;"),
    ],
)
def test_what_cudnn_cannot_run_is_refused(config, changes, message):
    config.model.update({"attention": "cudnn", "dtype": "bfloat16", "image_width": 128, **changes})
    with pytest.raises(ConfigError, match=message):
        validate(config)


def test_without_an_nvidia_card_cudnn_falls_back(config, capsys):
    config.model.update({"attention": "cudnn", "dtype": "bfloat16"})
    validate(config)
    assert for_devices(model_config(config)).attention == "xla"
    assert "needs an NVIDIA card" in capsys.readouterr().out
    config.model.attention = "xla"
    assert for_devices(model_config(config)) == model_config(config)
    assert not capsys.readouterr().out


def test_what_a_run_began_with_may_go_once_it_has_checkpoints(config, tmp_path):
    config.init.checkpoint = str(tmp_path / "gone.pth")
    with pytest.raises(ConfigError, match=r"init\.checkpoint: no such file"):
        validate(config, started=has_steps(tmp_path))
    (tmp_path / "checkpoints" / "7.orbax-checkpoint-tmp").mkdir(parents=True)
    assert not has_steps(tmp_path)
    (tmp_path / "checkpoints" / "7").mkdir()
    validate(config, started=has_steps(tmp_path))
    config.train.batch_size = 0
    with pytest.raises(ConfigError, match=r"train\.batch_size=0"):
        validate(config, started=has_steps(tmp_path))
