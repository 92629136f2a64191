"""The momentum teacher: an exponential moving average of the student (paper section 3.3)."""

import jax

from albef_jax.models.albef import Params


def update_teacher(teacher: Params, params: Params, momentum: float) -> Params:
    """`momentum * teacher + (1 - momentum) * student` for what the teacher has of the student."""
    shared = {name: params[name] for name in teacher}
    return jax.tree.map(lambda t, s: t * momentum + s * (1.0 - momentum), teacher, shared)
