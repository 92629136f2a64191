"""The downstream step: with a loss of two numbers, then with a contrastive one on a mesh."""

from dataclasses import replace
from functools import partial
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from albef_jax.models.bert import take_in_group
from albef_jax.models.pixels import normalize
from albef_jax.objectives.contrastive import Contrast, itc_loss, same_picture, similarities
from albef_jax.objectives.matching import draw_negatives, itm_loss
from albef_jax.train import mesh as mesh_module
from albef_jax.train.finetune import (
    STREAMS,
    FinetuneConfig,
    Known,
    Outcome,
    Random,
    compile_finetune_step,
    finetune_step,
    update,
)
from albef_jax.train.mesh import make_mesh, state_shardings, to_devices
from albef_jax.train.optimizer import adamw
from albef_jax.train.queue import enqueue, init_queue
from albef_jax.train.state import state_from_params

MOMENTUM, RATE, DECAY = 0.9, 1e-3, 0.5
IMAGE = np.random.default_rng(0).integers(0, 256, (4, 2, 2, 3), np.uint8)
BATCH = {"image": jnp.asarray(IMAGE), "label": jnp.arange(4)}


def small_loss(params, known):
    """Brightness times a weight should be the label; `inside` shows what the loss was given."""
    brightness = jnp.mean(known.batch["image"], axis=(1, 2, 3))
    found = params["layer"]["kernel"] * brightness + params["layer"]["bias"]
    metrics = {"loss": jnp.mean((found - known.batch["label"]) ** 2)}
    inside = {"teacher": known.teacher, "alpha": known.alpha, "decisions": known.random.decisions}
    return Outcome(metrics, known.queue, inside)


def small_config(loss=small_loss, frozen=("still",)):
    return FinetuneConfig(
        loss=loss,
        optimizer=adamw(lambda step: jnp.float32(RATE), DECAY, frozen),
        learning_rate=lambda step: RATE * jnp.float32(step),
        alpha=lambda step: 0.1 * step,
        momentum=MOMENTUM,
    )


def small_state(teacher=None, queue=None):
    params = {
        "layer": {"kernel": jnp.float32(0.3), "bias": jnp.float32(-0.2)},
        "still": {"kernel": jnp.ones(2)},
        "temperature": jnp.float32(0.07),
    }
    state = state_from_params(
        params, small_config().optimizer, queue, jax.random.key(2), teacher=teacher
    )
    return state.replace(step=jnp.int32(3))


TEACHER = {"layer": {"kernel": jnp.float32(2.0), "bias": jnp.float32(5.0)}}


@pytest.fixture(scope="module")
def small():
    """Before and after one update with a teacher: state, metrics, and a look inside."""
    before, config = small_state(TEACHER), small_config()
    batch = {**BATCH, "image": normalize(BATCH["image"])}
    random = Random(decisions=jnp.float32(7))
    return before, *jax.jit(lambda state: update(config, state, batch, random))(before)


def test_the_teacher_follows_the_student_from_before_the_update(small):
    before, after, _, _ = small
    for name in ("kernel", "bias"):
        old, student = (float(tree["layer"][name]) for tree in (TEACHER, before.params))
        expected = MOMENTUM * old + (1 - MOMENTUM) * student
        assert float(after.teacher["layer"][name]) == pytest.approx(expected, rel=1e-6)


def test_the_loss_is_given_the_updated_teacher_alpha_and_decisions(small):
    _, after, _, looked = small
    jax.tree.map(np.testing.assert_array_equal, looked["inside"]["teacher"], after.teacher)
    assert float(looked["inside"]["alpha"]) == pytest.approx(0.3)
    assert float(looked["inside"]["decisions"]) == 7


def test_one_step_of_adam(small):
    """Adam's first step is as long as the rate, against the gradient; the kernel is decayed."""
    before, after, _, looked = small
    for name, decay in (("kernel", DECAY), ("bias", 0.0)):
        old = float(before.params["layer"][name])
        direction = np.sign(float(looked["grads"]["layer"][name]))
        expected = old - RATE * (direction + decay * old)
        assert float(after.params["layer"][name]) == pytest.approx(expected, rel=1e-5)


def test_the_gradient_is_that_of_the_loss(small):
    _, _, metrics, looked = small
    brightness = np.asarray(normalize(BATCH["image"]), np.float64).mean(axis=(1, 2, 3))
    error = 0.3 * brightness - 0.2 - np.arange(4)
    assert float(metrics["loss"]) == pytest.approx(np.mean(error**2), rel=1e-5)
    kernel, bias = 2 * np.mean(error * brightness), 2 * np.mean(error)
    assert float(looked["grads"]["layer"]["kernel"]) == pytest.approx(kernel, rel=1e-4)
    assert float(looked["grads"]["layer"]["bias"]) == pytest.approx(bias, rel=1e-4)
    assert float(metrics["grad_norm"]) == pytest.approx(np.hypot(kernel, bias), rel=1e-4)


def test_frozen_modules_stay_and_others_without_gradient_decay(small):
    before, after, _, _ = small
    np.testing.assert_array_equal(after.params["still"]["kernel"], before.params["still"]["kernel"])
    decayed = float(before.params["temperature"]) * (1 - RATE * DECAY)
    assert float(after.params["temperature"]) == pytest.approx(decayed, rel=1e-6)


def test_metrics_are_of_this_step(small):
    _, after, metrics, _ = small
    norms = {f"grad_norm/{module}" for module in ("layer", "still", "temperature")}
    assert metrics.keys() == {"loss", "lr", "alpha", "grad_norm", "skipped", *norms}
    assert float(metrics["lr"]) == pytest.approx(3 * RATE)
    assert float(metrics["alpha"]) == pytest.approx(0.3)
    assert int(after.step) == 4


@pytest.fixture(scope="module")
def step():
    compiled = jax.jit(partial(finetune_step, small_config()))
    return lambda state: compiled(state, BATCH)


def test_without_a_teacher_none_is_kept(step):
    after, _ = step(small_state(teacher={}))
    assert after.teacher == {}
    assert after.queue is None


def test_without_a_teacher_none_is_computed():
    """The loss is not even given one."""
    given = []

    def loss(params, known):
        given.append(known)
        return small_loss(params, known)

    jax.eval_shape(partial(finetune_step, small_config(loss)), small_state(teacher={}), BATCH)
    (known,) = given
    assert isinstance(known, Known)
    assert known.teacher == {}
    assert known.queue is None


def test_the_next_queue_is_the_losss(step):
    queue = init_queue(jax.random.key(0), 8, 3, with_ids=True)
    same, _ = step(small_state(queue=queue))
    jax.tree.map(np.testing.assert_array_equal, same.queue, queue)

    def loss(params, known):
        outcome = small_loss(params, known)
        feat = jnp.ones((4, 3))
        return replace(outcome, queue=enqueue(known.queue, feat, -feat, known.batch["label"]))

    after, _ = jax.jit(partial(finetune_step, small_config(loss)))(small_state(queue=queue), BATCH)
    assert after.queue.image_id.tolist() == [0, 1, 2, 3, -100, -100, -100, -100]
    assert np.all(np.asarray(after.queue.image)[:4] == 1)
    assert int(after.queue.pointer) == 4


def seen_by_the_loss(state):
    """What `finetune_step` hands on: the batch, and the random keys as numbers."""

    def loss(params, known):
        random = {name: jax.random.key_data(getattr(known.random, name)) for name in STREAMS}
        metrics = small_loss(params, known).metrics
        return Outcome({**metrics, **random, **known.batch}, known.queue)

    return jax.device_get(jax.jit(partial(finetune_step, small_config(loss)))(state, BATCH)[1])


def test_pictures_are_normalised_and_the_rest_is_handed_on():
    seen = seen_by_the_loss(small_state())
    np.testing.assert_allclose(seen["image"], normalize(BATCH["image"]), rtol=1e-5, atol=1e-6)
    np.testing.assert_array_equal(seen["label"], BATCH["label"])


def test_random_keys_are_distinct_by_purpose_step_and_root():
    states = [
        small_state(),
        small_state().replace(step=jnp.int32(4)),
        small_state().replace(key=jax.random.key(9)),
    ]
    keys = [
        tuple(seen[name].tolist()) for seen in map(seen_by_the_loss, states) for name in STREAMS
    ]
    assert len(set(keys)) == len(keys) == 9
    again = seen_by_the_loss(states[0])
    assert [tuple(again[name].tolist()) for name in STREAMS] == keys[:3]


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
    """ITC by picture ids and ITM with drawn negatives, in groups and with a queue, distilled."""

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
        positives = same_picture(batch["image_id"], queue.image_id, groups)
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
        return Outcome(metrics, enqueue(queue, image_m, text_m, batch["image_id"]))

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
    config = FinetuneConfig(
        loss=contrastive_loss(traced),
        optimizer=adamw(lambda step: jnp.float32(RATE), 0.02),
        learning_rate=lambda step: jnp.float32(RATE),
        alpha=lambda step: jnp.float32(0.4),
    )
    state = start_of(config.optimizer)
    first = jax.device_get(state.params)
    abstract = jax.eval_shape(lambda: state)
    state = jax.device_put(state, state_shardings(mesh, state))
    step = compile_finetune_step(config, mesh, abstract)
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


@pytest.fixture(scope="module", params=[1, 2], ids=["data 8", "data 4, fsdp 2"])
def spread(small_arrays_are_sharded, request):
    """Eight devices, the batch over all of them, parameters over some."""
    found = run(make_mesh(request.param))
    assert found.shard == (48 // request.param, 8)
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
