"""AdamW with the official decay mask."""

from collections.abc import Mapping

import jax
import optax

from albef_jax.models.albef import Params
from albef_jax.train.schedules import Schedule


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
    frozen: tuple[str, ...] = (),
    lr_scale: Mapping[str, float] | None = None,
) -> optax.GradientTransformation:
    """AdamW, betas (0.9, 0.999), epsilon 1e-8, no clipping.

    Args:
        frozen: top-level modules without a gradient; they are not even decayed.
        lr_scale: by top-level module, what its learning rate is multiplied with.
    """
    optimizer = optax.adamw(learning_rate, weight_decay=weight_decay, mask=decay_mask)
    if lr_scale:  # an update is proportional to the rate, its decay included
        optimizer = optax.chain(optimizer, _by_module(lr_scale))
    if not frozen:
        return optimizer

    def trained(params: Params) -> Params:
        return jax.tree.map_with_path(lambda path, _: path[0].key not in frozen, params)

    def kept(params: Params) -> Params:
        return jax.tree.map(lambda flag: not flag, trained(params))

    return optax.chain(optax.masked(optimizer, trained), optax.masked(optax.set_to_zero(), kept))


def _by_module(scales: Mapping[str, float]) -> optax.GradientTransformation:
    """Updates times the scale of their module."""

    def scaled(updates: optax.Updates, params: optax.Params | None) -> optax.Updates:
        return jax.tree.map_with_path(
            lambda path, update: update * scales.get(path[0].key, 1.0), updates
        )

    return optax.stateless(scaled)
