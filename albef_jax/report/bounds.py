"""Lower bounds of mutual information from the losses (paper section 4).

InfoNCE, a contrast of one right answer among K, is a lower bound of the mutual information of the
two sides: `I >= log K - loss`, in nats. The bound cannot exceed `log K`.
"""

import math
from collections.abc import Mapping
from typing import Any

from albef_jax.report.charts import Curve, Lines, Panel

BOUNDS = (
    Panel(
        "Mutual information, lower bounds log K - loss, nats",
        (Curve("bound_itc", "image and caption (ITC)"), Curve("bound_mlm", "masked word (MLM)")),
        note="ITC: K keys are a contrast group and the queue. MLM: K is the vocabulary, as if all "
        "its words were equally frequent; for real words the bound is lower. The bounds hold for "
        "the right answers alone (alpha = 0): with distillation the loss is taken against soft "
        "targets, and the curve is an indication.",
    ),
)


def with_bounds(lines: Lines, config: Mapping[str, Any]) -> Lines:
    """Metrics lines with `bound_itc` and `bound_mlm`, if they are of a pre-training run.

    Args:
        config: the run's `config.json`.
    """
    if config.get("task") != "pretrain":
        return lines
    train, model = config["train"], config["model"]
    keys = {
        "itc": train["queue_size"] + train["contrast_group"],
        "mlm": model["vocab_size"],
    }
    return [
        {
            **line,
            **{f"bound_{name}": _bound(line.get(f"loss_{name}"), k) for name, k in keys.items()},
        }
        for line in lines
    ]


def _bound(loss: float | None, keys: int) -> float | None:
    return None if loss is None else math.log(keys) - loss
