"""Whole runs of the downstream tasks on the built-in world, from scratch and from a checkpoint."""

import json
from pathlib import Path

import jax
import numpy as np
import pytest
from tiny_run import SIZES, scenes_config, task_config

from albef_jax.checkpoints.read import read_checkpoint
from albef_jax.checkpoints.unimodal import read_image_encoder, read_text_encoder
from albef_jax.run import TASK, RunError, run
from albef_jax.telemetry.writers import read_lines
from albef_jax.train.mesh import make_mesh, state_shardings, to_devices
from albef_jax.validation import validate

UNIMODAL = Path(__file__).parents[1] / "golden" / "unimodal"
DOWNSTREAM = [task for task in TASK if task != "pretrain"]
# Where results.json has figures of combinations that training never shows.
ENTRY = {
    "entailment": "judgement", "vqa": "answers", "nlvr": "judgement", "grounding": "grounding"
}  # fmt: skip


def start(config, workdir, eval_only=False):
    validate(config)
    report = run(config, workdir, "the command", eval_only=eval_only)
    return json.loads((workdir / "results.json").read_text()), report


@pytest.fixture(autouse=True)
def one_device(monkeypatch):
    """Whole runs on one device compile in half the time; meshes have tests of their own."""
    monkeypatch.setattr("albef_jax.run.make_mesh", lambda fsdp: first_device())


def first_device():
    return make_mesh(devices=jax.devices()[:1])


@pytest.fixture(scope="module")
def pretrained(tmp_path_factory):
    workdir = tmp_path_factory.mktemp("pretrained")
    start(scenes_config(steps=2), workdir)
    return workdir


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
def test_from_start_to_report(task, tmp_path, capsys):
    results, report = start(task_config(task), tmp_path)
    assert results["task"] == task
    assert results["step"] == 4
    assert 0 <= figure_of(task, results) <= 100
    if task in ENTRY:
        figures = results[ENTRY[task]]
        assert 0 < figures["unseen"]["count"] < figures["count"] == 12
        assert " that training never shows; of these alone: " in report.read_text()
    assert report.stat().st_size > 10_000
    lines = read_lines(tmp_path / "metrics.jsonl")
    assert [line["step"] for line in lines] == [2, 4]
    assert all(np.isfinite(line["loss"]) for line in lines)
    assert "TRAINING" not in capsys.readouterr().out


def test_the_same_again_from_what_was_saved(tmp_path):
    config = task_config("retrieval")
    results, _ = start(config, tmp_path)
    again, _ = start(config, tmp_path, eval_only=True)
    assert again == results


def fresh_state(config, workdir):
    task = TASK[config.task](config, workdir)
    abstract = jax.eval_shape(task.init_state)
    return task.start(state_shardings(first_device(), abstract))


@pytest.mark.parametrize("task", DOWNSTREAM)
def test_from_a_checkpoint_with_larger_pictures(task, pretrained, tmp_path, capsys):
    config = task_config(task)
    config.model.image_size = 2 * SIZES["image_size"]
    config.init.checkpoint = str(pretrained)
    state = fresh_state(config, tmp_path)
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
    with_teacher, without = (
        jax.eval_shape(TASK[task](task_config(task, distill=on), tmp_path).init_state).teacher
        for on in (True, False)
    )
    assert with_teacher
    assert bool(without) == (task in ("retrieval", "grounding"))  # for the contrast's features


def test_evaluation_of_a_checkpoint_without_training(pretrained, tmp_path):
    config = task_config("retrieval")
    config.init.checkpoint = str(pretrained)
    results, _ = start(config, tmp_path, eval_only=True)
    assert results["step"] == 0
    assert results["retrieval"]["pictures"] == 12
    assert not (tmp_path / "metrics.jsonl").exists()


def test_two_pictures_from_text_assignment(pretrained, tmp_path):
    first = task_config("nlvr_pretrain", steps=1)
    first.init.checkpoint = str(pretrained)
    start(first, tmp_path / "assignment")
    second = task_config("nlvr", steps=1)
    second.init.update({"checkpoint": str(tmp_path / "assignment"), "teacher": "student"})
    state = fresh_state(second, tmp_path)
    theirs = read_checkpoint(tmp_path / "assignment").params["pair_encoder"]
    for ours in (state.params, state.teacher):
        jax.tree.map(np.testing.assert_array_equal, ours["pair_encoder"], theirs)


def test_an_incomplete_checkpoint_is_refused_unless_allowed(pretrained, tmp_path):
    """Text assignment has no match head, so retrieval cannot start from it."""
    first = task_config("nlvr_pretrain", steps=1)
    start(first, tmp_path / "assignment")
    second = task_config("retrieval", steps=1)
    second.init.checkpoint = str(tmp_path / "assignment")
    with pytest.raises(RunError, match="itm_head"):
        start(second, tmp_path / "refused")
    second.init.allow_missing = "itm_head, fusion_encoder"
    assert int(fresh_state(second, tmp_path).step) == 0


def test_pretraining_from_encoders_of_one_modality(tmp_path, capsys):
    config = scenes_config(steps=1)
    sizes = {"text_width": 32, "text_intermediate": 64, "text_depth": 2, "image_width": 32}
    config.model.update({**sizes, "image_depth": 3})
    config.init.update({"text": str(UNIMODAL / "bert"), "vision": str(UNIMODAL / "deit.pth")})
    validate(config)
    state = fresh_state(config, tmp_path)
    image = read_image_encoder(UNIMODAL / "deit.pth").params
    layers = read_text_encoder(UNIMODAL / "bert").params["layers"]
    for ours in (state.params, state.teacher):
        jax.tree.map(np.testing.assert_array_equal, ours["image_encoder"], image)
        kernel = ours["fusion_encoder"]["layers"]["output"]["kernel"]
        np.testing.assert_array_equal(kernel, layers["output"]["kernel"][2:])
    printed = capsys.readouterr().out
    assert f"starting from {config.init.text} and {config.init.vision}:" in printed
    results, _ = start(config, tmp_path)
    assert results["step"] == 1


def test_an_encoder_of_another_size_is_refused(tmp_path):
    config = scenes_config(steps=1)
    config.init.vision = str(UNIMODAL / "vit")
    with pytest.raises(RunError, match=r"model\.image_width is 32 there and 16 here"):
        start(config, tmp_path)


def test_a_checkpoint_of_another_size_is_refused(pretrained, tmp_path):
    config = task_config("entailment")
    config.model.text_width = 32
    config.init.checkpoint = str(pretrained)
    with pytest.raises(RunError, match=r"model\.text_width is 16 there and 32 here"):
        start(config, tmp_path)


def test_every_question_is_in_the_submission(tmp_path):
    start(task_config("vqa", steps=1), tmp_path)
    answers = json.loads((tmp_path / "answers.json").read_text())
    assert [answer["question_id"] for answer in answers] == list(range(12))
    assert all(answer["answer"] for answer in answers)


@pytest.mark.parametrize("beams", [1, 3])
def test_answers_without_a_list(tmp_path, beams, monkeypatch):
    monkeypatch.setattr("albef_jax.tasks.vqa.open_answer_list", lambda config: ())
    config = task_config("vqa", steps=1)
    config.evaluation.beams = beams
    results, _ = start(config, tmp_path)
    assert results["answers"]["method"] == f"generated with {beams} beams"


def test_more_candidates_than_the_gallery_holds(tmp_path):
    config = task_config("retrieval", steps=1)
    config.evaluation.rerank = 500
    results, _ = start(config, tmp_path)
    assert results["retrieval"]["rerank"] == 12


def test_more_ranked_answers_than_there_are(tmp_path):
    config = task_config("vqa", steps=1)
    config.evaluation.rank = 500
    results, _ = start(config, tmp_path)
    assert results["answers"]["count"] == 12


@pytest.mark.parametrize("task", ["retrieval", "nlvr_pretrain", "vqa"])
def test_a_step_on_eight_devices(task, tmp_path):
    """The same metrics as on one device."""
    measured = []
    for devices in (1, 8):
        workdir = tmp_path / str(devices)
        workdir.mkdir()
        program = TASK[task](task_config(task, steps=1), workdir)
        mesh = make_mesh(devices=jax.devices()[:devices])
        abstract = jax.eval_shape(program.init_state)
        state = program.start(state_shardings(mesh, abstract))
        batch = next(program.batches(0))
        arrays = to_devices(mesh, {name: batch[name] for name in program.inputs})
        measured.append(jax.device_get(program.step(mesh, abstract)(state, arrays)[1]))
    for name, value in measured[0].items():
        np.testing.assert_allclose(measured[1][name], value, rtol=1e-4, atol=1e-5, err_msg=name)
