"""From the options to the optimizer and its learning rate."""

import optax
from ml_collections import ConfigDict

from albef_jax.config.parts import Part, scales
from albef_jax.errors import ConfigError
from albef_jax.models.frozen import Frozen
from albef_jax.train.optimizer import adamw
from albef_jax.train.schedules import Schedule, cosine_lr, official_lr


def check_schedule(config: ConfigDict, steps_per_epoch: int, total_steps: int) -> None:
    """Raise `ConfigError` for a run that goes on where the official schedule has ended."""
    last = config.train.epochs * steps_per_epoch
    if config.optimizer.schedule == "official" and total_steps > last:
        raise ConfigError(
            f"train.steps={total_steps} goes beyond the {last} steps of "
            f"train.epochs={config.train.epochs}, where the official schedule ends; "
            "raise train.epochs, or set optimizer.schedule=cosine"
        )


def learning_rate(config: ConfigDict, steps_per_epoch: int, total_steps: int) -> Schedule:
    """The learning rate by step."""
    options = config.optimizer
    ends = {"peak": options.lr, "minimum": options.min_lr}
    if options.schedule == "cosine":
        return cosine_lr(**ends, warmup_steps=options.warmup_steps, total_steps=total_steps)
    return official_lr(
        **ends,
        warmup=options.warmup_lr,
        warmup_periods=options.warmup_periods,
        epochs=config.train.epochs,
        steps_per_epoch=steps_per_epoch,
    )


def optimizer(
    config: ConfigDict, rate: Schedule, frozen: Frozen, without_gradient: tuple[str, ...]
) -> optax.GradientTransformation:
    """AdamW of what is trained.

    Args:
        without_gradient: modules that the loss uses, but gives no gradient.
    """
    options = config.optimizer
    factors = of_trained_layers(scales(options.lr_scale), frozen)
    return adamw(rate, options.weight_decay, factors, without_gradient)


def of_trained_layers(factors: dict[Part, float], frozen: Frozen) -> dict[Part, float]:
    """Factors of first layers, counted from the first that is trained."""
    found: dict[Part, float] = {}
    for (name, layers), factor in factors.items():
        if layers is None:
            found[name, None] = factor
        elif (left := layers - frozen.first_layers(name)) > 0:
            found[name, left] = factor
    return found
