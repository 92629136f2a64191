"""Options of XLA for the train step that hide messages between devices behind computation.

Only what is off by default and changes programs; docs/scaling.md tells what was looked at. They go
to the compiler with the program, not into the environment: that needs no guess of the platform
before JAX starts, an unknown name is an error and not the end of the process, and what the user has
set there is seen and stays.
"""

import re
from collections.abc import Mapping

FLAGS: dict[str, dict[str, bool]] = {"gpu": {"xla_gpu_enable_latency_hiding_scheduler": True}}


def flags(platform: str, devices: int, environment: Mapping[str, str]) -> dict[str, bool]:
    """What to compile the step with.

    Args:
        platform: `cpu`, `gpu` or `tpu`.
        devices: of the run; one has nobody to send messages to.
        environment: variables; what `XLA_FLAGS` sets is left out, and all if it names a file.
    """
    given = environment.get("XLA_FLAGS", "").strip()
    if devices == 1 or (given and not given.startswith("-")):
        return {}
    own = set(re.findall(r"(?:^|\s)--?(\w+)", given))
    return {name: value for name, value in FLAGS.get(platform, {}).items() if name not in own}


def told(found: Mapping[str, bool]) -> str:
    """The same in a line for the log."""
    listed = ", ".join(f"{name}={str(value).lower()}" for name, value in found.items())
    return f"xla: {listed}, to hide messages behind computation (train.xla_flags=none: without)"
