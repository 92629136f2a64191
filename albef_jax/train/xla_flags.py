"""Options of XLA for the train step.

Only what is off by default and changes programs; docs/scaling.md tells what was looked at. They go
to the compiler with the program, not into the environment: that needs no guess of the platform
before JAX starts, an unknown name is an error and not the end of the process, and what the user has
set there is seen and stays.
"""

import re
from collections.abc import Mapping

Flags = dict[str, bool | int | str]

FLAGS: dict[str, Flags] = {
    # By default XLA hands long sums to a library that is slow at them (docs/performance.md), and
    # products one by one, for which operands are transposed in memory. `DOT` hands over products
    # alone, together with what surrounds them.
    "cpu": {"xla_cpu_experimental_ynn_fusion_type": "LIBRARY_FUSION_TYPE_DOT"},
    # Products that read the same would be joined up to 64 MB, and their results be cut again: where
    # that pays, the model joins them itself (`models.linear`).
    "gpu": {"xla_gpu_dot_merger_threshold_mb": 0},
}
# Messages are hidden behind computation; one device has nobody to send them to.
FLAGS_OF_SEVERAL: dict[str, Flags] = {"gpu": {"xla_gpu_enable_latency_hiding_scheduler": True}}


def flags(platform: str, devices: int, environment: Mapping[str, str]) -> Flags:
    """What to compile the step with.

    Args:
        platform: `cpu`, `gpu` or `tpu`.
        devices: of the run.
        environment: variables; what `XLA_FLAGS` sets is left out, and all if it names a file.
    """
    given = environment.get("XLA_FLAGS", "").strip()
    if given and not given.startswith("-"):
        return {}
    own = set(re.findall(r"(?:^|\s)--?(\w+)", given))
    found = FLAGS.get(platform, {}) | (FLAGS_OF_SEVERAL.get(platform, {}) if devices > 1 else {})
    return {name: value for name, value in found.items() if name not in own}


def told(found: Mapping[str, bool | int | str]) -> str:
    """The same in a line for the log."""
    listed = ", ".join(
        f"{name}={str(value).lower() if isinstance(value, bool) else value}"
        for name, value in found.items()
    )
    return f"xla: {listed} (train.xla_flags=none: without)"
