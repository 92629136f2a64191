"""A step that is not finite changes nothing; a finite one is as if there were no guard."""

import json
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from albef_jax.losses.base import LossInputs, LossOutput, Random
from albef_jax.losses.retrieval import RetrievalLoss
from albef_jax.models.config import ModelConfig
from albef_jax.train import step as step_module
from albef_jax.train.loop import Window
from albef_jax.train.optimizer import adamw
from albef_jax.train.resilience import nonfinite
from albef_jax.train.resilience.nonfinite import SkipCounter, TrainingDiverged, skip_unless_finite
from albef_jax.train.state import TrainState, state_from_params
from albef_jax.train.step import StepConfig, train_step, update
from tests.helpers.function_loss import FunctionLoss
from tests.helpers.tiny_model import random_params, state_of

RATE = 1e-3
CHANGING = ("params", "teacher", "opt_state", "queue")


# Of whole models: it compiles in less time than Adam, and has moments to keep, too.
OPTIMIZER = optax.sgd(RATE, momentum=0.9)


def constant(step):
    return jnp.float32(RATE)


def step_config(model: ModelConfig) -> StepConfig:
    return StepConfig(
        loss=RetrievalLoss(model, 4),
        optimizer=OPTIMIZER,
        learning_rate=constant,
        alpha=lambda step: jnp.float32(0.4),
    )


@pytest.fixture(scope="module")
def start(tiny):
    params = random_params(tiny.config, 0, "retrieval")
    return state_of(params, OPTIMIZER, 24, with_ids=True)


@pytest.fixture(scope="module")
def pairs(batch):
    return {**batch._asdict(), "image_id": np.arange(8, dtype=np.int32)}


@pytest.fixture(scope="module")
def compiled(tiny):
    return jax.jit(partial(train_step, step_config(tiny.config)))


def assert_same_bits(ours, theirs):
    jax.tree.map(np.testing.assert_array_equal, ours, theirs)


def poisoned(state: TrainState, module: str) -> TrainState:
    """One value of the module's first array is not a number."""
    leaves, tree = jax.tree.flatten(state.params[module])
    leaves[0] = np.array(leaves[0])
    leaves[0][(0,) * leaves[0].ndim] = np.nan
    return state.replace(params={**state.params, module: jax.tree.unflatten(tree, leaves)})


def test_a_finite_step_keeps_every_bit(compiled, tiny, start, pairs, monkeypatch):
    state, metrics = compiled(start, pairs)
    monkeypatch.setattr(step_module, "skip_unless_finite", lambda _, after, __, m: (after, m))
    plain = jax.jit(partial(train_step, step_config(tiny.config)))
    unguarded, same = plain(start, pairs)
    for name in CHANGING:
        assert_same_bits(getattr(state, name), getattr(unguarded, name))
    assert_same_bits({name: metrics[name] for name in same}, same)
    assert metrics["skipped"] == 0
    norms = {name: float(v) for name, v in metrics.items() if name.startswith("grad_norm/")}
    assert norms.keys() == {f"grad_norm/{module}" for module in start.params}
    whole = float(metrics["grad_norm"])
    assert np.sqrt(sum(norm**2 for norm in norms.values())) == pytest.approx(whole, rel=1e-5)


@pytest.mark.parametrize("module", ["image_encoder", "itm_head"])
def test_a_poisoned_step_changes_nothing_but_its_number(compiled, start, pairs, module):
    before = poisoned(start, module)
    after, metrics = compiled(before, pairs)
    for name in CHANGING:
        assert_same_bits(getattr(after, name), getattr(before, name))
    assert int(after.step) == int(before.step) + 1
    assert metrics["skipped"] == 1
    assert not np.isfinite(metrics["loss"])


def small_update(factor: float):
    """One update of a model with one number, whose loss and gradient grow with `factor`."""

    def loss(params: dict, known: LossInputs) -> LossOutput:
        value = params["layer"]["kernel"] * known.batch["factor"]
        return LossOutput({"loss": jnp.sum(value * known.batch["factor"])})

    config = StepConfig(FunctionLoss(loss), adamw(constant, 0.0), constant, constant)
    state = state_from_params(
        {"layer": {"kernel": jnp.zeros(1)}}, config.optimizer, None, jax.random.key(0), {}
    )
    batch = {"factor": jnp.float32(factor)}
    return state, *update(config, state, batch, Random(None))[:2]


def test_a_finite_loss_with_an_infinite_gradient_is_skipped():
    before, after, metrics = small_update(1e25)
    assert metrics["loss"] == 0
    assert metrics["skipped"] == 1
    assert_same_bits(after.params, before.params)
    assert_same_bits(after.opt_state, before.opt_state)


def test_a_gradient_whose_square_overflows_would_poison_adam():
    before, after, metrics = small_update(1e12)  # the gradient is 1e24, its square is not finite
    assert metrics["skipped"] == 1
    assert_same_bits(after.opt_state, before.opt_state)
    _, learnt, metrics = small_update(1e3)
    assert metrics["skipped"] == 0
    assert float(learnt.params["layer"]["kernel"][0]) == pytest.approx(-RATE, rel=1e-3)


def test_counter_counts_in_a_row():
    counter = SkipCounter(3)
    for step, skipped in enumerate([1, 1, 0, 1], 1):
        counter.add(step, {"skipped": skipped})
    assert not counter.on_the_brink
    counter.add(5, {"skipped": 1})
    assert counter.on_the_brink
    with pytest.raises(
        TrainingDiverged, match="3 steps in a row were not finite, the last is step 6"
    ):
        counter.add(6, {"skipped": 1, "loss": np.nan})


def test_a_log_line_counts_skipped_steps_and_averages_the_others():
    window = Window()
    for loss, skipped in ((2.0, 0), (np.nan, 1), (4.0, 0)):
        window.metrics.append({"loss": loss, "grad_norm/a": loss, "skipped": skipped})
    line = window.summary(3, 8)
    assert line["loss"] == line["grad_norm/a"] == 3.0
    assert line["skipped"] == 1
    window.metrics[:] = [{"loss": np.nan, "skipped": 1}]
    assert np.isnan(window.summary(4, 8)["loss"])
    json.dumps(line, allow_nan=False)


def test_the_guard_keeps_a_state_without_queue_and_teacher():
    state = state_from_params({"a": jnp.ones(2)}, adamw(constant, 0.0), None, jax.random.key(0), {})
    changed = state.replace(params={"a": jnp.zeros(2)}, step=state.step + 1)
    kept, metrics = skip_unless_finite(
        state, changed, {"a": jnp.array([jnp.inf, 0])}, {"loss": jnp.float32(1)}
    )
    assert kept.queue is None and kept.teacher == {}
    np.testing.assert_array_equal(kept.params["a"], np.ones(2))
    assert int(kept.step) == 1 and int(metrics[nonfinite.SKIPPED]) == 1
