"""What `--profile` asks for, and what a run leaves of it."""

import gzip
import json

import jax
import pytest

from albef_jax.checkpoints.manager import Checkpoints
from albef_jax.distributed.mesh import make_mesh
from albef_jax.errors import ConfigError
from albef_jax.observability.profile_window import ProfileWindow
from albef_jax.observability.profiler import Profile
from albef_jax.tasks.pretrain import Pretraining
from albef_jax.train.loop import train
from tests.helpers.tiny_run import scenes_config


def test_a_span_is_read_as_typed():
    assert ProfileWindow.parse("20:5") == (20, 5)
    assert ProfileWindow.parse("20:5").last == 24


@pytest.mark.parametrize("text", ["", "20", "20:", "0:5", "20:0", "a:5", "-1:5", "1:2:3"])
def test_another_text_is_refused(text):
    with pytest.raises(ConfigError, match="give STEP:N"):
        ProfileWindow.parse(text)


@pytest.mark.parametrize("span", [ProfileWindow(5, 1), ProfileWindow(9, 3)])
def test_steps_that_are_not_ahead_are_refused(span, tmp_path):
    with pytest.raises(ConfigError, match="this run does steps 6 to 10"):
        Profile(span, tmp_path, 5, 10)


def test_the_steps_asked_for_are_traced(tmp_path, capsys):
    task = Pretraining(scenes_config(), tmp_path)
    mesh = make_mesh(devices=jax.devices()[:1])
    with Checkpoints(tmp_path / "checkpoints", keep=1) as checkpoints:
        options = {"log_every": 1, "save_every": 20, "profile": ProfileWindow(2, 1)}
        train(task, tmp_path, mesh, checkpoints, **options)
    (file,) = (tmp_path / "profile").rglob("perfetto_trace.json.gz")
    assert list((tmp_path / "profile").rglob("*.xplane.pb"))
    events = json.loads(gzip.decompress(file.read_bytes()))["traceEvents"]
    steps = {event["args"]["step_num"] for event in events if event.get("name") == "train"}
    assert steps == {"2"}
    assert f"profile: {tmp_path / 'profile'}" in capsys.readouterr().out
