"""One update: order of events, determinism, the temperature's limits."""

from dataclasses import replace
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from albef_jax.losses.pretraining import PretrainingLoss, Recipe
from albef_jax.models import albef
from albef_jax.models.primitives import normalize
from albef_jax.train.optimizer import adamw
from albef_jax.train.step import StepConfig, step_keys, train_step
from tests.helpers.tiny_model import state_of

MOMENTUM, RATE = 0.9, 1e-3


@pytest.fixture(scope="module")
def state(tiny):
    state = state_of(tiny.params, adamw(lambda step: jnp.float32(RATE), 0.02), 16)
    teacher = jax.tree.map(lambda leaf: np.float32(1.1) * np.asarray(leaf), state.teacher)
    return state.replace(teacher=teacher, step=np.int32(3))


def config_of(tiny, **recipe):
    """Eight pairs are two groups."""
    return StepConfig(
        loss=PretrainingLoss(
            replace(tiny.config, dropout=0.1),
            Recipe(contrast_group=4, mlm_probability=0.3, **recipe),
        ),
        optimizer=adamw(lambda step: jnp.float32(RATE), 0.02),
        learning_rate=lambda step: RATE * jnp.float32(step),
        alpha=lambda step: jnp.minimum(step / 10, 0.4),
        momentum=MOMENTUM,
    )


@pytest.fixture(scope="module")
def step(tiny, batch):
    """The update, as a jitted function of the state."""
    update = jax.jit(partial(train_step, config_of(tiny)))
    return lambda state: update(state, batch._asdict())


@pytest.fixture(scope="module")
def after(step, state):
    return step(state)


def test_the_same_state_gives_the_same_step(step, state, after):
    def same(ours, theirs):
        if jnp.issubdtype(ours.dtype, jax.dtypes.prng_key):
            ours, theirs = jax.random.key_data(ours), jax.random.key_data(theirs)
        np.testing.assert_array_equal(ours, theirs)

    jax.tree.map(same, step(state), after)


@pytest.mark.parametrize(
    "change",
    [{"step": jnp.int32(4)}, {"key": jax.random.key(9)}],
    ids=["another step", "another root key"],
)
def test_other_random_decisions(step, state, after, change):
    _, metrics = step(state.replace(**change))
    for name in ("loss_itc", "loss_mlm", "loss_itm"):
        assert float(metrics[name]) != pytest.approx(float(after[1][name]), rel=1e-5), name


def test_keys_are_distinct_by_purpose_and_step():
    loss = PretrainingLoss
    keys = [
        tuple(jax.random.key_data(key).tolist())
        for step in range(4)
        for key in step_keys(loss, jax.random.key(0), jnp.int32(step)).values()
    ]
    assert len(set(keys)) == 4 * len(loss.streams)
    assert set(step_keys(loss, jax.random.key(0), jnp.int32(0))) == set(loss.streams)


def test_metrics(after):
    _, metrics = after
    found = {name: float(value) for name, value in metrics.items()}
    parts = found["loss_itc"] + found["loss_mlm"] + found["loss_itm"]
    assert found["loss"] == pytest.approx(parts, rel=1e-6)
    assert found["lr"] == pytest.approx(3 * RATE)
    assert found["alpha"] == pytest.approx(0.3)
    assert found["temperature"] == pytest.approx(0.07)
    assert found["grad_norm"] > 0
    assert 0 <= found["itc_accuracy"] <= 1
    assert 0 <= found["itm_accuracy"] <= 1
    assert found["mlm_overflow"] == found["pairs_without_negative"] == 0


def test_the_step_counts_and_keeps_its_key(state, after):
    assert int(after[0].step) == 4
    before, kept = (jax.random.key_data(s.key) for s in (state, after[0]))
    np.testing.assert_array_equal(before, kept)


def test_the_teacher_follows_the_student_from_before_the_update(state, after):
    def compare(new, old, student):
        expected = MOMENTUM * np.asarray(old) + (1 - MOMENTUM) * np.asarray(student)
        np.testing.assert_allclose(new, expected, rtol=1e-5, atol=1e-6)

    before = {name: state.params[name] for name in state.teacher}
    jax.tree.map(compare, after[0].teacher, state.teacher, before)
    moved = after[0].params["text_proj"]["kernel"] - before["text_proj"]["kernel"]
    assert np.abs(moved).max() > RATE / 2


def test_the_queue_takes_the_updated_teachers_features(tiny, batch, state, after):
    """The image side: no dropout there."""
    teacher, queue = after[0].teacher, after[0].queue

    @jax.jit
    def features(teacher, image):
        return albef.image_feature(teacher, albef.encode_image(tiny.config, teacher, image))

    expected = features(teacher, normalize(batch.image))
    np.testing.assert_allclose(queue.image[:8], expected, rtol=1e-4, atol=1e-5)
    np.testing.assert_array_equal(queue.image[8:], state.queue.image[8:])
    np.testing.assert_allclose(np.linalg.norm(queue.text[:8], axis=1), 1, rtol=1e-5)
    assert np.abs(queue.text[:8] - state.queue.text[:8]).max() > 0.1
    assert int(queue.pointer) == 8


@pytest.mark.parametrize("temperature, clamped", [(1e-5, 0.001), (0.9, 0.5), (0.2, 0.2)])
def test_the_temperature_is_clamped_before_use(step, state, temperature, clamped):
    start = {**state.params, "temperature": jnp.float32(temperature)}
    after, metrics = step(state.replace(params=start))
    assert float(metrics["temperature"]) == pytest.approx(clamped)
    # The update starts from the clamped value: Adam's first step is as long as the rate.
    moved = abs(float(after.params["temperature"]) - clamped * (1 - 0.02 * RATE))
    assert moved == pytest.approx(RATE, rel=0.05)
    same = step(state.replace(params={**start, "temperature": jnp.float32(clamped)}))[1]
    assert float(metrics["loss"]) == pytest.approx(float(same["loss"]), rel=1e-6)


def test_all_parameters_move(state, after):
    """All that have a gradient; weight decay alone moves the rows of unseen positions."""
    still = [
        jax.tree_util.keystr(path)
        for (path, new), old in zip(
            jax.tree_util.tree_leaves_with_path(after[0].params),
            jax.tree.leaves(state.params),
            strict=True,
        )
        if np.array_equal(new, old)
    ]
    assert not still


def test_a_loss_that_is_left_out_trains_nothing(tiny, batch, state, after):
    """The match head, whose only loss it is, feels weight decay alone; the others go on."""
    config = config_of(tiny, losses=("itc", "mlm"))

    @jax.jit
    def heads_after(state, batch):
        alone, metrics = train_step(config, state, batch)
        return alone.params["itm_head"], alone.params["mlm_head"], metrics

    head, words, metrics = heads_after(state, batch._asdict())
    before = state.params["itm_head"]
    np.testing.assert_array_equal(head["bias"], before["bias"])
    np.testing.assert_allclose(head["kernel"], before["kernel"] * (1 - 0.02 * RATE), rtol=1e-6)
    assert np.any(after[0].params["itm_head"]["bias"] != before["bias"])
    assert np.any(words["bias"] != state.params["mlm_head"]["bias"])
    for name in ("loss_itc", "loss_mlm", "loss_itm"):
        assert float(metrics[name]) == pytest.approx(float(after[1][name]), rel=1e-5)


def test_a_batch_learned_by_heart(step, state):
    """Forty steps on the same eight pairs: matching and masked words become easier."""
    losses = []
    for _ in range(40):
        state, metrics = step(state)
        losses.append([float(metrics[name]) for name in ("loss_mlm", "loss_itm")])
    start, end = np.mean(losses[:5], axis=0), np.mean(losses[-5:], axis=0)
    assert np.all(end < 0.9 * start), (start, end)
