"""Accelerators that programs are compiled for without one: what XLA and a lower bound must know.

Sizes and speeds are the makers' and, where somebody measured them, what is reached in practice.
"""

import re
from dataclasses import dataclass
from pathlib import Path

from albef_jax.distributed.accelerators import OFFERS

HERE = Path(__file__).parent
# Chips of a slice, by how many they are: two axes, or three.
_FLAT = {1: "2x2", 4: "2x2", 8: "2x4", 16: "4x4", 32: "4x8", 64: "8x8", 128: "8x16", 256: "16x16"}
_CUBE = {1: "2x2x1", 4: "2x2x1", 8: "2x2x2", 16: "2x2x4", 32: "2x4x4", 64: "4x4x4", 128: "4x4x8"}
_CUBE[256] = "4x8x8"
_GPUS_A_HOST = 8


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
        slices: of a TPU, the layout of each number of chips; None of a GPU.
    """

    memory: int
    products: float
    products_float32: float
    bandwidth: float
    launch: float = 2e-6
    measured: bool = False
    slices: dict[int, str] | None = None

    def products_of(self, dtype: str) -> float:
        """Operations a second of products of this type."""
        return self.products_float32 if dtype in ("f32", "f64") else self.products


def _gpu(name: str, products: float, bandwidth: float, measured: bool = False) -> Device:
    """float32 is multiplied as TF32, at half the speed of bfloat16."""
    return Device(OFFERS[name].total, products, products / 2, bandwidth, measured=measured)


def _tpu(name: str, tflops: float, gb_s: float, slices: dict[int, str]) -> Device:
    """By its maker's figures; float32 is multiplied as bfloat16, and a program is one launch."""
    products = 0.8e12 * tflops
    return Device(OFFERS[name].total, products, products, 0.9e9 * gb_s, launch=0, slices=slices)


DEVICES = {
    "h100": _gpu("h100", 790e12, 3.0e12, measured=True),
    "h200": _gpu("h200", 790e12, 4.3e12),
    "a100": _gpu("a100", 250e12, 1.84e12),
    "v5e": _tpu("v5e", 197, 819, _FLAT),
    "v5p": _tpu("v5p", 459, 2765, _CUBE),
    "v6e": _tpu("v6e", 918, 1640, _FLAT),
}


def description(name: str) -> str:
    """What XLA's compiler wants to know of a GPU, as it would ask the driver."""
    return (HERE / f"{name}.txtpb").read_text("utf-8")


def topology(name: str, count: int) -> str:
    """How so many devices stand, as JAX writes it: chips along each axis of a TPU slice (for one
    chip the smallest slice), or slices, hosts and GPUs of each host."""
    slices = DEVICES[name].slices
    if slices:
        return f"{name}:{slices[count]}"
    hosts = max(1, count // _GPUS_A_HOST)
    return f"1x{hosts}x{count // hosts}"


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
    slices = DEVICES[kind].slices
    if slices and count not in slices:
        known = ", ".join(str(number) for number in slices)
        raise ValueError(f"no target {name}: slices have {known} chips")
    if not slices and count > _GPUS_A_HOST and count % _GPUS_A_HOST:
        raise ValueError(
            f"no target {name}: hosts have {_GPUS_A_HOST} devices each; choose a multiple of it"
        )
    return kind, count
