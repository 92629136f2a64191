"""Learning rate and distillation weight as functions of the step, inside the jitted step.

`official_lr` is what the released code does, not what its configuration seems to say (LEDGER,
learning rate): piecewise constant warm-up inside epoch 0, then one value an epoch.
"""

from collections.abc import Callable

import jax.numpy as jnp
from jaxtyping import Array, Float, Int

Schedule = Callable[[Int[Array, ""]], Float[Array, ""]]


def official_lr(
    *,
    peak: float,
    minimum: float,
    warmup: float,
    warmup_periods: int,
    epochs: int,
    steps_per_epoch: int,
    period: int = 100,
) -> Schedule:
    """The official schedule.

    Args:
        peak, minimum: the cosine's ends; `minimum` is approached, never reached.
        warmup: rate of the first steps.
        warmup_periods: warm-up length in units of `period` steps (official name warmup_epochs).
        period: steps per warm-up stair; the stair after steps 0, period, 2 period, ... is one
            higher than before.
    """

    def schedule(step: Array) -> Array:
        epoch, iteration = step // steps_per_epoch, step % steps_per_epoch
        stair = jnp.minimum(jnp.maximum(iteration - 1, 0) // period, warmup_periods)
        rising = warmup + stair * (peak - warmup) / max(warmup_periods, 1)
        first = jnp.where(stair < warmup_periods, rising, peak)
        cosine = (1 + jnp.cos(jnp.pi * epoch / epochs)) / 2
        return jnp.where(epoch == 0, first, minimum + (peak - minimum) * cosine)

    return schedule


def cosine_lr(*, peak: float, minimum: float, warmup_steps: int, total_steps: int) -> Schedule:
    """Linear warm-up from 0 over `warmup_steps`, then a cosine to `minimum` at `total_steps`."""

    def schedule(step: Array) -> Array:
        rising = (step + 1) / max(warmup_steps, 1)
        through = (step - warmup_steps) / max(total_steps - warmup_steps, 1)
        falling = (1 + jnp.cos(jnp.pi * jnp.clip(through, 0, 1))) / 2
        return jnp.where(step < warmup_steps, peak * rising, minimum + (peak - minimum) * falling)

    return schedule


def alpha_ramp(*, alpha: float, ramp_steps: int) -> Schedule:
    """Distillation weight: linear from 0 to `alpha` over `ramp_steps` (official code: one epoch).

    Without steps it is `alpha` from the start.
    """

    def schedule(step: Array) -> Array:
        share = jnp.minimum(1.0, step / ramp_steps) if ramp_steps else jnp.float32(1)
        return alpha * share

    return schedule
