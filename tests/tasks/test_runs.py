"""Whole runs of the downstream tasks on the built-in world, from scratch and from a checkpoint."""

import json
import shutil
from contextlib import redirect_stdout
from functools import cache
from io import StringIO
from pathlib import Path

import jax
import numpy as np
import pytest

from albef_jax.checkpoints.init_from.unimodal import read_image_encoder, read_text_encoder
from albef_jax.checkpoints.load import read_checkpoint
from albef_jax.config.tasks import TASKS, task_spec
from albef_jax.distributed.mesh import state_shardings
from albef_jax.errors import RunError
from albef_jax.observability.metrics import read_lines
from albef_jax.run import run
from albef_jax.validate import validate
from tests.helpers.tiny_run import SIZES, scenes_config, task_config

UNIMODAL = Path(__file__).parents[1] / "golden" / "unimodal"
DOWNSTREAM = [task for task in TASKS if task != "pretrain" and task_spec(task).trains]
pytestmark = pytest.mark.usefixtures("one_device", "drawn_weights")
# Where results.json has figures of combinations that training never shows.
ENTRY = {
    "entailment": "judgement", "vqa": "answers", "nlvr": "judgement", "grounding": "grounding"
}  # fmt: skip


def config_of(task, **train):
    return task_config(task, dropout=0.0, **train)


def start(config, workdir, eval_only=False):
    validate(config)
    report = run(config, workdir, "the command", eval_only=eval_only)
    return json.loads((workdir / "results.json").read_text()), report


@pytest.fixture(scope="module")
def pretrained(one_device, drawn_weights, tmp_path_factory):
    workdir = tmp_path_factory.mktemp("pretrained")
    start(scenes_config(), workdir)
    return workdir


@pytest.fixture(scope="module")
def trained(one_device, drawn_weights, tmp_path_factory):
    """A task's run from scratch, made when it is first asked for: workdir, and what it printed."""

    @cache
    def trained(task):
        workdir, printed = tmp_path_factory.mktemp(task), StringIO()
        with redirect_stdout(printed):
            start(config_of(task), workdir)
        return workdir, printed.getvalue()

    return trained


def figure_of(task, results):
    """The task's main figure, in percent."""
    if task == "retrieval":
        return results["retrieval"]["itm"]["text_retrieval"]["r1"]
    if task == "vqa":
        return results["answers"]["overall"]
    if task == "grounding":
        return results["grounding"]["itm"]["accuracy"]["val"]
    return results["judgement"]["accuracy"]


@pytest.mark.parametrize("task", DOWNSTREAM)
def test_from_start_to_report(task, trained):
    workdir, printed = trained(task)
    results = json.loads((workdir / "results.json").read_text())
    assert results["task"] == task
    assert results["step"] == 4
    assert 0 <= figure_of(task, results) <= 100
    report = (workdir / "report" / "index.html").read_text()
    assert len(report) > 10_000
    if task in ENTRY:
        figures = results[ENTRY[task]]
        assert 0 < figures["unseen"]["count"] < figures["count"] == 12
        assert " that training never shows; of these alone: " in report
    lines = read_lines(workdir / "metrics.jsonl")
    assert [line["step"] for line in lines] == [2, 4]
    assert all(np.isfinite(line["loss"]) for line in lines)
    assert "TRAINING" not in printed


def test_the_same_again_from_what_was_saved(trained, tmp_path):
    workdir, _ = trained("retrieval")
    again = shutil.copytree(workdir, tmp_path / "again")
    (again / "results.json").unlink()
    results, _ = start(config_of("retrieval"), again, eval_only=True)
    assert results == json.loads((workdir / "results.json").read_text())


def fresh_state(config, workdir, mesh):
    task = task_spec(config.task).run(config, workdir)
    abstract = jax.eval_shape(task.init_state)
    return task.start(state_shardings(mesh, abstract))


def as_fresh(config, workdir, state):
    """Whether a run can go on from the state: it is laid out as one made from the seed."""
    fresh = jax.eval_shape(task_spec(config.task).run(config, workdir).init_state)
    kinds = [
        jax.tree.map(lambda leaf: (leaf.shape, leaf.dtype), one.items()) for one in (fresh, state)
    ]
    return kinds[0] == kinds[1]


@pytest.mark.parametrize("task", DOWNSTREAM)
def test_from_a_checkpoint_with_larger_images(one_device, task, pretrained, tmp_path, capsys):
    config = config_of(task)
    config.model.image_size = 2 * SIZES["image_size"]
    config.init.checkpoint = str(pretrained)
    state = fresh_state(config, tmp_path, one_device)
    assert as_fresh(config, tmp_path, state)
    printed = capsys.readouterr().out
    assert "starting from" in printed
    assert "resized" in printed
    before = read_checkpoint(pretrained).params
    for part in ("text_encoder", "image_encoder"):
        ours, theirs = dict(state.params[part]), dict(before[part])
        if part == "image_encoder":
            assert ours.pop("pos_embed").shape[1] == 1 + 8**2
            assert theirs.pop("pos_embed").shape[1] == 1 + 4**2
        jax.tree.map(np.testing.assert_array_equal, ours, theirs)
    assert int(state.step) == 0


@pytest.mark.parametrize("task", [task for task in DOWNSTREAM if task != "nlvr_pretrain"])
def test_distillation_can_be_switched_off(task, tmp_path):
    made = task_spec(task).run
    with_teacher, without = (
        jax.eval_shape(made(config_of(task, distill=on), tmp_path).init_state).teacher
        for on in (True, False)
    )
    assert with_teacher
    assert bool(without) == (task in ("retrieval", "grounding"))  # for the contrast's features


def test_evaluation_of_a_checkpoint_without_training(pretrained, tmp_path):
    config = config_of("retrieval")
    config.init.checkpoint = str(pretrained)
    results, _ = start(config, tmp_path, eval_only=True)
    assert results["step"] == 0
    assert results["retrieval"]["images"] == 12
    assert not (tmp_path / "metrics.jsonl").exists()


def test_two_images_from_text_assignment(one_device, trained, tmp_path):
    assignment, _ = trained("nlvr_pretrain")
    second = config_of("nlvr", steps=1)
    second.init.update({"checkpoint": str(assignment), "teacher": "student"})
    state = fresh_state(second, tmp_path, one_device)
    theirs = read_checkpoint(assignment).params["pair_encoder"]
    for ours in (state.params, state.teacher):
        jax.tree.map(np.testing.assert_array_equal, ours["pair_encoder"], theirs)


def test_an_incomplete_checkpoint_is_refused_unless_allowed(one_device, trained, tmp_path):
    """Text assignment has no match head, so retrieval cannot start from it."""
    second = config_of("retrieval", steps=1)
    second.init.checkpoint = str(trained("nlvr_pretrain")[0])
    with pytest.raises(RunError, match="itm_head"):
        start(second, tmp_path / "refused")
    second.init.allow_missing = "itm_head, fusion_encoder"
    assert int(fresh_state(second, tmp_path, one_device).step) == 0


def test_pretraining_from_encoders_of_one_modality(one_device, tmp_path, capsys):
    config = scenes_config(steps=1)
    sizes = {"text_width": 32, "text_intermediate": 64, "text_depth": 2, "image_width": 32}
    config.model.update({**sizes, "image_depth": 3})
    config.init.update({"text": str(UNIMODAL / "bert"), "vision": str(UNIMODAL / "deit.pth")})
    validate(config)
    state = fresh_state(config, tmp_path, one_device)
    image = read_image_encoder(UNIMODAL / "deit.pth").params
    layers = read_text_encoder(UNIMODAL / "bert").params["layers"]
    assert as_fresh(config, tmp_path, state)
    for ours in (state.params, state.teacher):
        jax.tree.map(np.testing.assert_array_equal, ours["image_encoder"], image)
        kernel = ours["fusion_encoder"]["layers"]["output"]["kernel"]
        np.testing.assert_array_equal(kernel, layers["output"]["kernel"][2:])
    printed = capsys.readouterr().out
    assert f"starting from {config.init.text} and {config.init.vision}:" in printed


def test_an_encoder_of_another_size_is_refused(tmp_path):
    config = scenes_config(steps=1)
    config.init.vision = str(UNIMODAL / "vit")
    with pytest.raises(RunError, match=r"model\.image_width is 32 there and 16 here"):
        start(config, tmp_path)


def test_a_checkpoint_of_another_size_is_refused(pretrained, tmp_path):
    config = config_of("entailment")
    config.model.text_width = 32
    config.init.checkpoint = str(pretrained)
    with pytest.raises(RunError, match=r"model\.text_width is 16 there and 32 here"):
        start(config, tmp_path)


def test_every_question_is_in_the_submission(trained):
    answers = json.loads((trained("vqa")[0] / "answers.json").read_text())
    assert [answer["question_id"] for answer in answers] == list(range(12))
    assert all(answer["answer"] for answer in answers)


def evaluated(task, trained, workdir, **evaluation):
    """Results of the trained model in another evaluation."""
    config = config_of(task)
    config.init.checkpoint = str(trained(task)[0])
    config.evaluation.update(evaluation)
    return start(config, workdir, eval_only=True)[0]


@pytest.mark.parametrize("beams", [1, 3])
def test_answers_without_a_list(trained, tmp_path, beams, monkeypatch):
    trained("vqa")  # with a list
    monkeypatch.setattr("albef_jax.tasks.vqa.open_answer_list", lambda config: ())
    results = evaluated("vqa", trained, tmp_path, beams=beams)
    assert results["answers"]["method"] == f"generated with {beams} beams"


def test_more_candidates_than_the_gallery_holds(trained, tmp_path):
    results = evaluated("retrieval", trained, tmp_path, rerank=500)
    assert results["retrieval"]["rerank"] == 12


def test_more_ranked_answers_than_there_are(trained, tmp_path):
    results = evaluated("vqa", trained, tmp_path, rank=500)
    assert results["answers"]["count"] == 12
