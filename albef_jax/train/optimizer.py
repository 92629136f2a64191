"""AdamW with the official decay mask."""

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any

import jax
import numpy as np
import optax

from albef_jax.models.albef import Params
from albef_jax.models.frozen import AFTER, STACKS
from albef_jax.train.schedules import Schedule

# Factors by top-level module, and by how many of its first layers they are for (None: all of it).
Scales = Mapping[tuple[str, int | None], float]


def decay_mask(params: Params) -> Params:
    """True where weight decay applies.

    Official: biases and 1-D parameters (norms) are exempt; everything else is decayed, the
    temperature, the class token and the position embeddings included (LEDGER, optimizer). Stacked
    layers make 1-D parameters 2-D, so the rule goes by name.
    """
    return jax.tree.map_with_path(lambda path, _: path[-1].key not in ("bias", "scale"), params)


def adamw(
    learning_rate: Schedule,
    weight_decay: float,
    lr_scale: Scales = MappingProxyType({}),
    unused: tuple[str, ...] = (),
) -> optax.GradientTransformation:
    """AdamW, betas (0.9, 0.999), epsilon 1e-8, no clipping.

    Args:
        lr_scale: what learning rates are multiplied with. First layers have the factor of their
            module, unless they have one of their own, which is then that of the embeddings, too.
        unused: top-level modules that the loss gives no gradient; they are not even decayed. Saved
            runs have this form, which `models.frozen` could not continue.
    """
    optimizer = optax.adamw(learning_rate, weight_decay=weight_decay, mask=decay_mask)
    if lr_scale:  # an update is proportional to the rate, its decay included
        optimizer = optax.chain(optimizer, _by_part(lr_scale))
    if not unused:
        return optimizer

    def used(params: Params) -> Params:
        return jax.tree.map_with_path(lambda path, _: path[0].key not in unused, params)

    def still(params: Params) -> Params:
        return jax.tree.map(lambda flag: not flag, used(params))

    return optax.chain(optax.masked(optimizer, used), optax.masked(optax.set_to_zero(), still))


def _by_part(scales: Scales) -> optax.GradientTransformation:
    """Updates times the factor of their part."""

    def scaled(updates: optax.Updates, params: optax.Params | None) -> optax.Updates:
        return jax.tree.map_with_path(
            lambda path, update: update * _factor(path, update.shape, scales), updates
        )

    return optax.stateless(scaled)


def _factor(path: tuple[Any, ...], shape: tuple[int, ...], scales: Scales) -> float | np.ndarray:
    """The factor of a leaf, or of each of its layers."""
    module = path[0].key
    factor = scales.get((module, None), 1.0)
    depths = sorted(depth for name, depth in scales if name == module and depth)
    if not depths:
        return factor
    part = path[1].key
    if part in AFTER.get(module, ()):
        return factor
    if part != STACKS[module]:
        return scales[module, depths[0]]
    factors = np.full((shape[0], *(1,) * (len(shape) - 1)), factor, np.float32)
    for depth in reversed(depths):
        factors[:depth] = scales[module, depth]
    return factors
