"""Kinds of devices: how much memory a program gets of one, and what it multiplies fast."""

from dataclasses import dataclass

# Of a GPU's memory, what JAX takes unless XLA_PYTHON_CLIENT_MEM_FRACTION says otherwise.
GPU_SHARE = 0.75
BFLOAT16_SINCE = 8.0  # compute capability of the first NVIDIA cards with bfloat16 products
GiB = 2**30


@dataclass(frozen=True)
class Accelerator:
    """One device as a program sees it.

    Attributes:
        kind: its name in JAX.
        platform: `cpu`, `gpu` or `tpu`.
        memory: bytes that a program may take; None if unknown.
        capability: the compute capability of an NVIDIA card; None of all others.
    """

    kind: str
    platform: str
    memory: int | None
    capability: float | None = None

    @property
    def bfloat16(self) -> bool:
        """Whether it has units for bfloat16 products."""
        return self.platform == "tpu" or (self.capability or 0) >= BFLOAT16_SINCE

    @property
    def cudnn(self) -> bool:
        """Whether cuDNN's flash attention runs on it."""
        return self.bfloat16 and self.capability is not None


@dataclass(frozen=True)
class Offer:
    """A device as one rents it.

    Attributes:
        total: bytes of memory, as the device reports them.
        a_host: devices of one machine.
    """

    kind: str
    platform: str
    total: int
    a_host: int
    capability: float | None = None

    @property
    def device(self) -> Accelerator:
        """What a program sees of it, with JAX's defaults."""
        share = GPU_SHARE if self.platform == "gpu" else 1
        return Accelerator(self.kind, self.platform, int(share * self.total), self.capability)


def _nvidia(kind: str, total: int, capability: float) -> Offer:
    return Offer(kind, "gpu", total, 8, capability)


def _tpu(kind: str, gib: float, a_host: int = 4) -> Offer:
    return Offer(kind, "tpu", int(gib * GiB), a_host)


# Peaks are in `observability.flops`, by kind.
OFFERS = {
    "h100": _nvidia("NVIDIA H100 80GB HBM3", 84_929_347_584, 9.0),
    "h200": _nvidia("NVIDIA H200", 150_110_011_392, 9.0),
    "a100": _nvidia("NVIDIA A100-SXM4-80GB", 84_987_740_160, 8.0),
    # 40 GiB by its maker, less about as much as the drivers of the others keep.
    "a100-40": _nvidia("NVIDIA A100-SXM4-40GB", int(39.4 * GiB), 8.0),
    "v5e": _tpu("TPU v5 lite", 15.75),
    "v5p": _tpu("TPU v5", 95.74),
    "v6e": _tpu("TPU v6 lite", 31.25),
}
