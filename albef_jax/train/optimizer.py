"""AdamW with the published decay mask."""

import jax
import optax

from albef_jax.models.albef import Params
from albef_jax.train.schedules import Schedule


def decay_mask(params: Params) -> Params:
    """True where weight decay applies.

    Published: biases and 1-D parameters (norms) are exempt; everything else is decayed, the
    temperature, the class token and the position embeddings included (LEDGER, optimizer). Stacked
    layers make 1-D parameters 2-D, so the rule goes by name.
    """
    return jax.tree.map_with_path(lambda path, _: path[-1].key not in ("bias", "scale"), params)


def adamw(
    learning_rate: Schedule, weight_decay: float, temperature_rate: float = 1.0
) -> optax.GradientTransformation:
    """AdamW, betas (0.9, 0.999), epsilon 1e-8, no clipping.

    Args:
        temperature_rate: the temperature's learning rate, as a share of the others'. Published: 1.
            Adam moves a weight by about the rate whatever its size, so a recipe with ten times the
            published rate drives a temperature of 0.07 to its limits before the towers learn.
    """
    optimizer = optax.adamw(learning_rate, weight_decay=weight_decay, mask=decay_mask)
    if temperature_rate == 1.0:
        return optimizer

    def slow(path: tuple, update: jax.Array) -> jax.Array:
        return update * temperature_rate if path[0].key == "temperature" else update

    scale = optax.stateless(lambda updates, _: jax.tree.map_with_path(slow, updates))
    return optax.chain(optimizer, scale)
