"""Cross-entropy against a mixture of a hard target and a teacher's distribution.

Momentum distillation (paper equations 6 and 7) mixes the one-hot target y and the teacher's softmax
q: `(1 - alpha) y + alpha q`. Since the targets sum to one, cross-entropy against them is

    logsumexp(z) - (1 - alpha) z[y] - alpha sum(q z)

which needs no target tensor, and splits over blocks of columns. Its gradient is that of the KL
divergence, from which it differs by the entropy of the targets alone.
"""

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float


def logsumexp_blocks(blocks: list[Float[Array, "... _"]]) -> Float[Array, "..."]:
    """logsumexp over the concatenation of `blocks` along the last axis, without concatenating."""
    total = jax.nn.logsumexp(blocks[0], axis=-1)
    for block in blocks[1:]:
        total = jnp.logaddexp(total, jax.nn.logsumexp(block, axis=-1))
    return total


def mixed_cross_entropy(
    logits: list[Float[Array, "... _"]],
    hard_logit: Float[Array, "..."],
    teacher_logits: list[Float[Array, "... _"]],
    alpha: Float[Array, ""] | float,
) -> Float[Array, "..."]:
    """Cross-entropy of each row against `(1 - alpha) * hard + alpha * softmax(teacher)`.

    Args:
        logits: the row's logits in blocks of columns.
        hard_logit: the row's logit at its hard target.
        teacher_logits: the teacher's logits in the same blocks; no gradient flows into them.
    """
    teacher_logits = [jax.lax.stop_gradient(block) for block in teacher_logits]
    teacher_total = logsumexp_blocks(teacher_logits)[..., None]
    agreement = sum(
        jnp.sum(jnp.exp(teacher - teacher_total) * block, axis=-1)
        for teacher, block in zip(teacher_logits, logits, strict=True)
    )
    return logsumexp_blocks(logits) - (1 - alpha) * hard_logit - alpha * agreement
