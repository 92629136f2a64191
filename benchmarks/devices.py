"""Accelerators that programs are compiled for without one: what XLA and a lower bound must know.

Sizes and speeds are the makers' and, where somebody measured them, what is reached in practice.
"""

import re
from dataclasses import dataclass
from pathlib import Path

HERE = Path(__file__).parent
GPUS_A_HOST = 8


@dataclass(frozen=True)
class Device:
    """One kind of accelerator.

    Attributes:
        memory: bytes.
        products: operations a second that large bfloat16 products reach.
        products_float32: the same of float32 arrays at JAX's default precision.
        bandwidth: bytes a second that large copies reach.
        launch: seconds from kernel to kernel.
        measured: whether the speeds were; else 80 % and 90 % of the maker's, as on an H100.
    """

    memory: int
    products: float
    products_float32: float
    bandwidth: float
    launch: float = 2e-6
    measured: bool = False

    def products_of(self, dtype: str) -> float:
        """Operations a second of products of this type."""
        return self.products_float32 if dtype in ("f32", "f64") else self.products


DEVICES = {
    # float32 is multiplied as TF32, at half the speed of bfloat16.
    "h100": Device(84_929_347_584, 790e12, 395e12, 3.0e12, measured=True),
    "h200": Device(150_110_011_392, 790e12, 395e12, 4.3e12),
    "a100": Device(84_987_740_160, 250e12, 125e12, 1.84e12),
}


def description(name: str) -> str:
    """What XLA's compiler wants to know of a GPU, as it would ask the driver."""
    return (HERE / f"{name}.txtpb").read_text("utf-8")


def target(name: str) -> tuple[str, int]:
    """A target's device and number of devices: `h100` is one, `h100x8` are the eight of a host.

    Raises:
        ValueError: no such device, or a number that whole hosts do not have.
    """
    found = re.fullmatch(r"(\w+?)(?:x([1-9]\d*))?", name)
    kind, count = (found.group(1), int(found.group(2) or 1)) if found else ("", 1)
    if kind not in DEVICES:
        raise ValueError(
            f"no target {name}: choose one of {', '.join(sorted(DEVICES))}, alone or with a number "
            "of devices, as in h100x8"
        )
    if count > GPUS_A_HOST and count % GPUS_A_HOST:
        raise ValueError(
            f"no target {name}: hosts have {GPUS_A_HOST} devices each; choose a multiple of it"
        )
    return kind, count
