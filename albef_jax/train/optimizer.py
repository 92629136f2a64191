"""AdamW with the official decay mask."""

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
    learning_rate: Schedule, weight_decay: float, frozen: tuple[str, ...] = ()
) -> optax.GradientTransformation:
    """AdamW, betas (0.9, 0.999), epsilon 1e-8, no clipping.

    Args:
        frozen: top-level modules without a gradient; they are not even decayed.
    """
    optimizer = optax.adamw(learning_rate, weight_decay=weight_decay, mask=decay_mask)
    if not frozen:
        return optimizer

    def trained(params: Params) -> Params:
        return jax.tree.map_with_path(lambda path, _: path[0].key not in frozen, params)

    def kept(params: Params) -> Params:
        return jax.tree.map(lambda flag: not flag, trained(params))

    return optax.chain(optax.masked(optimizer, trained), optax.masked(optax.set_to_zero(), kept))
