import json
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from albef_jax.train.schedules import alpha_ramp, cosine_lr, official_lr

GOLDEN = json.loads(
    (Path(__file__).parent.parent / "golden" / "tiny" / "lr_schedule.json").read_text()
)


def rates(schedule, steps):
    return np.asarray(jax.jit(jax.vmap(schedule))(jnp.asarray(steps, jnp.int32)))


@pytest.mark.parametrize("task", GOLDEN)
def test_official_rates(task):
    """Every stair of epoch 0 from its first to its last iteration, then every epoch's both ends."""
    recorded = GOLDEN[task]
    config, length = recorded["schedule"], recorded["epoch0_iterations_simulated"]
    schedule = official_lr(
        peak=config["lr"],
        minimum=config["min_lr"],
        warmup=config["warmup_lr"],
        warmup_periods=config["warmup_epochs"],
        epochs=config["epochs"],
        steps_per_epoch=length,
    )
    starts, stairs = zip(*recorded["epoch0_lr_from_iteration"], strict=True)
    last = [start - 1 for start in starts[1:]] + [length - 1]
    steps, expected = [*starts, *last], [*stairs, *stairs]
    for epoch, rate in recorded["later_epochs_lr"]:
        steps += [epoch * length, (epoch + 1) * length - 1]
        expected += [rate, rate]
    np.testing.assert_allclose(rates(schedule, steps), expected, rtol=2e-6)


def test_official_alpha():
    recorded = GOLDEN["Pretrain"]["alpha_epoch0"]
    schedule = alpha_ramp(alpha=0.4, ramp_steps=recorded["epoch_length"])
    steps = [int(step) for step in recorded["alpha_at_iteration"]]
    expected = list(recorded["alpha_at_iteration"].values())
    np.testing.assert_allclose(rates(schedule, steps), expected, rtol=1e-6)


def test_the_official_period_can_be_shorter():
    schedule = official_lr(
        peak=1.0, minimum=0.0, warmup=0.2, warmup_periods=4, epochs=2, steps_per_epoch=30, period=5
    )
    expected = [0.2] * 6 + [0.4] * 5 + [0.6] * 5 + [0.8] * 5 + [1.0] * 9 + [0.5]
    np.testing.assert_allclose(rates(schedule, range(31)), expected, rtol=1e-6)


def test_an_epoch_may_end_before_the_warm_up():
    schedule = official_lr(
        peak=1.0, minimum=0.0, warmup=0.0, warmup_periods=20, epochs=4, steps_per_epoch=150
    )
    found = rates(schedule, [149, 150, 599])
    expected = [0.05, (1 + np.cos(np.pi / 4)) / 2, (1 + np.cos(3 * np.pi / 4)) / 2]
    np.testing.assert_allclose(found, expected, rtol=1e-6)


def test_cosine():
    schedule = cosine_lr(peak=2.0, minimum=0.5, warmup_steps=10, total_steps=110)
    found = rates(schedule, range(150))
    np.testing.assert_allclose(found[:10], 2.0 * np.arange(1, 11) / 10, rtol=1e-6)
    assert found[10] == 2.0
    assert found[60] == pytest.approx((2.0 + 0.5) / 2)
    assert np.all(np.diff(found[10:111]) < 0)
    np.testing.assert_allclose(found[110:], 0.5)


def test_cosine_without_warm_up_starts_at_the_peak():
    schedule = cosine_lr(peak=2.0, minimum=0.0, warmup_steps=0, total_steps=4)
    np.testing.assert_allclose(rates(schedule, [0, 2, 4]), [2.0, 1.0, 0.0], atol=1e-7)


def test_alpha_rises_and_stays():
    schedule = alpha_ramp(alpha=0.4, ramp_steps=8)
    found = rates(schedule, range(12))
    np.testing.assert_allclose(found, 0.4 * np.minimum(np.arange(12) / 8, 1), rtol=1e-6)


def test_no_ramp_is_alpha_at_once():
    assert float(alpha_ramp(alpha=0.4, ramp_steps=0)(jnp.int32(0))) == pytest.approx(0.4)
