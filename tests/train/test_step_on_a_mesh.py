"""The step with a contrastive loss of its own: on any mesh the same steps as on one device."""

from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from albef_jax.distributed import mesh as mesh_module
from albef_jax.distributed.mesh import make_mesh, state_shardings, to_devices
from albef_jax.losses.base import LossOutput
from albef_jax.losses.contrastive import Contrast, itc_loss, same_image, similarities
from albef_jax.losses.matching import itm_loss
from albef_jax.losses.queue import init_queue
from albef_jax.models.take_rows import take_in_group
from albef_jax.train.optimizer import adamw
from albef_jax.train.state import state_from_params
from albef_jax.train.step import StepConfig, compile_step
from tests.helpers.draws import draw_negatives
from tests.helpers.function_loss import FunctionLoss

RATE = 1e-3
STEPS, ROWS, GROUP = 3, 16, 4
TOLERANCE = 1e-5


class Run(NamedTuple):
    history: list
    kept: dict
    first: dict
    traced: int
    shard: tuple


def two_towers(params, batch, dropout_key):
    """Features of mean pixels and mean words: all that a contrastive loss needs of a model."""
    pixels = batch["image"].reshape(len(batch["image"]), -1)
    words = params["words"]["embedding"][batch["text_ids"]] * batch["text_mask"][..., None]
    if dropout_key is not None:
        words = words * jax.random.bernoulli(dropout_key, 0.8, words.shape)
    outputs = pixels @ params["image"]["kernel"], jnp.mean(words, axis=1)
    return tuple(x / jnp.linalg.norm(x, axis=1, keepdims=True) for x in outputs)


def contrastive_loss(traced):
    """ITC by image ids and ITM with drawn negatives, in groups and with a queue, distilled."""

    def loss(params, known):
        traced.append(known)
        batch, queue, random = known.batch, known.queue, known.random
        image, text = two_towers(params, batch, random.student_dropout)
        image_m, text_m = two_towers(known.teacher, batch, random.teacher_dropout)
        groups, temperature = ROWS // GROUP, params["temperature"]

        def contrast(image, text):
            return Contrast(
                similarities(image, text_m, queue.text, temperature, groups),
                similarities(text, image_m, queue.image, temperature, groups),
            )

        own = contrast(image, text)
        positives = same_image(batch["image_id"], queue.image_id, groups)
        itc = itc_loss(own, contrast(image_m, text_m), known.alpha, positives)
        negatives = draw_negatives(
            random.decisions, own.text_to_image.group, own.image_to_text.group, positives.group
        )
        pairs = (
            (image, text),
            (take_in_group(image, negatives.image), text),
            (image, take_in_group(text, negatives.text)),
        )
        logits = [(one * other) @ params["head"]["kernel"] for one, other in pairs]
        itm = itm_loss(*logits, negatives.valid.reshape(-1))
        metrics = {"loss": itc + itm.loss, "loss_itc": itc, "loss_itm": itm.loss}
        return LossOutput(metrics, (image_m, text_m))

    return loss


def batches():
    rng = np.random.default_rng(0)
    for _ in range(STEPS):
        yield {
            "image": rng.integers(0, 256, (ROWS, 4, 4, 3), np.uint8),
            "text_ids": rng.integers(1, 40, (ROWS, 6), np.int32),
            "text_mask": (np.arange(6) < rng.integers(3, 7, (ROWS, 1))).astype(np.int32),
            "image_id": rng.integers(0, 8, ROWS, np.int32),
        }


def start_of(optimizer):
    """Made anew each time: the step donates its state."""
    rng = np.random.default_rng(1)
    shapes = {"image": (48, 8), "head": (8, 2)}
    params = {
        name: {"kernel": jnp.asarray(rng.standard_normal(shape, np.float32))}
        for name, shape in shapes.items()
    }
    params["words"] = {"embedding": jnp.asarray(rng.standard_normal((40, 8), np.float32))}
    params["temperature"] = jnp.float32(0.1)
    queue = init_queue(jax.random.key(1), 2 * ROWS, 8, with_ids=True)
    return state_from_params(params, optimizer, queue, jax.random.key(2))


def run(mesh):
    """Metrics of each step, what is kept at the end, the first state, and how often the loss was
    traced."""
    traced = []
    config = StepConfig(
        loss=FunctionLoss(contrastive_loss(traced)),
        optimizer=adamw(lambda step: jnp.float32(RATE), 0.02),
        learning_rate=lambda step: jnp.float32(RATE),
        alpha=lambda step: jnp.float32(0.4),
    )
    state = start_of(config.optimizer)
    first = jax.device_get(state.params)
    abstract = jax.eval_shape(lambda: state)
    state = jax.device_put(state, state_shardings(mesh, state))
    step = compile_step(config, mesh, abstract)
    history = []
    for batch in batches():
        state, metrics = step(state, to_devices(mesh, batch))
        history.append({name: float(value) for name, value in metrics.items()})
    shards = state.params["image"]["kernel"].addressable_shards
    kept = {"params": state.params, "teacher": state.teacher, "queue": state.queue._asdict()}
    return Run(history, jax.device_get(kept), first, len(traced), shards[0].data.shape)


@pytest.fixture(scope="module")
def small_arrays_are_sharded():
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(mesh_module, "MIN_SHARDED_SIZE", 256)
        yield


@pytest.fixture(scope="module")
def alone(small_arrays_are_sharded):
    return run(make_mesh(1, devices=jax.devices()[:1]))


@pytest.fixture(
    scope="module",
    params=[(1, 1), (2, 1), (8, 1), (2, 2)],
    ids=lambda shape: "fsdp {}, slices {}".format(*shape),
)
def spread(small_arrays_are_sharded, request):
    """Eight devices, the batch over all of them, parameters over some."""
    fsdp, slices = request.param
    found = run(make_mesh(fsdp, slices))
    assert found.shard == (48 // fsdp, 8)
    return found


def test_a_mesh_takes_the_same_steps(alone, spread):
    for step, (found, expected) in enumerate(zip(spread.history, alone.history, strict=True)):
        for name in expected:
            where = f"{name} of step {step}"
            assert found[name] == pytest.approx(expected[name], rel=TOLERANCE), where


def test_a_mesh_keeps_the_same_state(alone, spread):
    def compare(path, ours, expected):
        where, scale = jax.tree_util.keystr(path), np.abs(expected).max()
        np.testing.assert_allclose(ours, expected, rtol=0, atol=TOLERANCE * scale, err_msg=where)

    jax.tree.map_with_path(compare, spread.kept, alone.kept)


def test_a_step_is_traced_once(alone, spread):
    """Later batches, and the state that a step returns, are what the program was made for."""
    assert alone.traced == spread.traced == 1


def test_the_steps_did_something(alone):
    assert len({metrics["loss"] for metrics in alone.history}) == STEPS
    for name, module in alone.first.items():
        for ours, start in zip(
            jax.tree.leaves(alone.kept["params"][name]), jax.tree.leaves(module), strict=True
        ):
            assert RATE < np.abs(ours - start).max() < 4 * RATE
    ids = np.concatenate([batch["image_id"] for batch in batches()])
    # Three batches in a queue of two: the third is where the first was.
    expected = np.concatenate([ids[2 * ROWS :], ids[ROWS : 2 * ROWS]])
    np.testing.assert_array_equal(alone.kept["queue"]["image_id"], expected)
