"""A task with `data.text_buckets`: its batches, its programs, and what it says of its speed."""

import jax
import numpy as np
import pytest

from albef_jax.checkpoints.manager import Checkpoints
from albef_jax.config.tasks import task_spec
from albef_jax.distributed.mesh import make_mesh
from albef_jax.observability.metrics import read_lines
from albef_jax.tasks.pretrain import Pretraining
from albef_jax.train import step as steps
from albef_jax.train.loop import train
from albef_jax.train.resilience.watchdog import Watchdog
from tests.helpers.tiny_run import scenes_config, task_config

WIDTHS = (9, 14, 25)
PEAK = 1e12


def config_of(task="pretrain", order="grouped", **train):
    config = scenes_config(**train) if task == "pretrain" else task_config(task, **train)
    widths = "9,14,25" if order else ""
    config.data.update({"text_buckets": widths, "bucket_order": order or "published"})
    return config


def batches(tmp_path, start, stop, **options):
    config = config_of(**options, steps=stop)
    task = task_spec(config.task).run(config, tmp_path)
    return list(task.batches(start, make_mesh()))


@pytest.fixture(scope="module")
def grouped(tmp_path_factory):
    return batches(tmp_path_factory.mktemp("grouped"), 0, 18)


def assert_same(found, expected):
    assert len(found) == len(expected) > 0
    for batch, other in zip(found, expected, strict=True):
        assert batch.keys() == other.keys()
        for name in batch:
            np.testing.assert_array_equal(batch[name], other[name])


def test_texts_are_as_wide_as_the_bucket_of_the_longest(grouped):
    found = [batch["text_ids"].shape[1] for batch in grouped]
    assert set(found) == set(WIDTHS)
    for batch, width in zip(grouped, found, strict=True):
        longest = batch["text_mask"].sum(axis=1).max()
        assert width == next(width for width in WIDTHS if width >= longest)
        assert batch["text_mask"].shape == batch["text_ids"].shape
        assert batch["text_ids"].flags.c_contiguous


def test_published_order_is_that_of_before_with_less_padding(tmp_path):
    ours, theirs = (batches(tmp_path, 0, 12, order=order) for order in ("published", ""))
    assert {batch["text_ids"].shape[1] for batch in theirs} == {25}
    for batch in ours:
        for name in ("text_ids", "text_mask"):
            batch[name] = np.pad(batch[name], ((0, 0), (0, 25 - batch[name].shape[1])))
    assert_same(ours, theirs)


def test_a_run_goes_on_anywhere(grouped, tmp_path):
    assert_same(batches(tmp_path, 7, 18), grouped[7:])


@pytest.mark.parametrize(
    "task", ["retrieval", "entailment", "vqa", "nlvr", "nlvr_pretrain", "grounding"]
)
def test_every_task_has_narrow_batches(task, tmp_path):
    found = batches(tmp_path, 0, 6, task=task)
    widths = {batch["text_ids"].shape[1] for batch in found}
    assert len(widths) > 1 and widths <= set(WIDTHS)
    made = task_spec(task).run(config_of(task), tmp_path)
    examples = made.examples(made.source, made.transform)
    for index in range(20):
        rng, same = (np.random.default_rng(index) for _ in "ab")
        assert examples.length(index, rng) == examples(index, same)["text_mask"].sum()


@pytest.fixture(scope="module")
def whole(drawn_weights, tmp_path_factory):
    """A run over several epochs: the widths of its batches, of its programs, and waits for them."""
    workdir = tmp_path_factory.mktemp("run")
    config = config_of(steps=20, dropout=0.0)
    config.data.text_buckets = "14,25"
    task = Pretraining(config, workdir)
    traced, waits, widths, whole_batches = [], [], [], task.batches

    def noted(config, state, batch, step=steps.train_step):
        traced.append(batch["text_ids"].shape[1])
        return step(config, state, batch)

    def waiting_for(self, what, compiling=False):
        if what.startswith("the devices"):
            waits.append(compiling)

    def read(*given):
        for batch in whole_batches(*given):
            widths.append(batch["text_ids"].shape[1])
            yield batch

    task.batches = read
    mesh = make_mesh(devices=jax.devices()[:1])
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(steps, "train_step", noted)
        patch.setattr(Watchdog, "waiting_for", waiting_for)
        patch.setattr("albef_jax.train.loop.peak", lambda device: PEAK)
        task.memory = lambda mesh, abstract: None  # is another trace
        with Checkpoints(workdir / "checkpoints", keep=1) as checkpoints:
            train(task, workdir, mesh, checkpoints, log_every=10, save_every=20)
    return task, widths, traced, waits


def test_a_program_for_each_bucket_and_not_for_each_batch(whole):
    _, widths, traced, waits = whole
    assert len(widths) == 20 and len(set(widths)) > 1
    assert traced == list(dict.fromkeys(widths))
    first = [number for number, width in enumerate(widths) if width not in widths[:number]]
    assert [number for number, compiling in enumerate(waits) if compiling] == first


def test_operations_are_those_of_the_widths(whole):
    task, widths, *_ = whole
    lines = read_lines(task.workdir / "metrics.jsonl")
    assert [line["step"] for line in lines] == [10, 20]
    for line, ten in zip(lines, (widths[:10], widths[10:]), strict=True):
        seconds = 10 * task.batch_size / line["pairs_per_s"]
        needed = sum(task.step_flops(width) for width in ten)
        assert line["mfu"] * seconds * PEAK == pytest.approx(needed)
        assert needed < 10 * task.step_flops(25)
