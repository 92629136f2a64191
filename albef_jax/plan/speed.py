"""How fast a pre-training step can be on devices that are not there: three figures, each named.

The floor of the time follows from arithmetic, the bound from a compiled program, the expectation
from a measurement. A share of the peak that is known of one kind of device is assumed of another.
"""

from dataclasses import dataclass
from pathlib import Path

from albef_jax.observability.flops import peak_of
from albef_jax.plan import recorded
from albef_jax.plan.recorded import Record, Setting


@dataclass(frozen=True)
class Figure:
    """A speed and where it is from.

    Attributes:
        pairs_per_s: of all devices together.
        share: of the peak.
        source: in words.
        assumed: whether the share is that of another kind of device.
    """

    pairs_per_s: float
    share: float
    source: str
    assumed: bool = False


@dataclass(frozen=True)
class Speed:
    """Pairs a second.

    Attributes:
        at_peak: nothing but the products needed, at the maker's peak; never reached.
        bound: what the kernels of the compiled program allow; None if none is recorded for the
            device, setting and size of the measurement.
        expected: None if this setting was never measured.
        reached: the measurement as a share of the bound; None without both.
    """

    at_peak: Figure
    bound: Figure | None
    expected: Figure | None
    reached: float | None


def speed(
    flops: float, setting: Setting, kind: str, count: int, pairs: float, folder: Path
) -> Speed:
    """The figures of a step.

    Args:
        flops: operations needed for a pair.
        pairs: on each device at a time.
        folder: recorded results.

    Raises:
        ValueError: the peak of such devices is not known.
    """
    peak = peak_of(kind)
    if peak is None:
        raise ValueError(f"{kind}: its peak is not in albef_jax.observability.flops.PEAKS")
    fastest = count * peak / flops
    programs = recorded.compiled(folder)
    best = recorded.closest(recorded.measured(folder), setting, kind, pairs, programs)
    # A bound of another size, or of another device than the measurement's, would mislead.
    bound = (
        recorded.counterpart(best, programs)
        if best
        else recorded.closest(programs, setting, kind, pairs)
    )
    return Speed(
        Figure(fastest, 1.0, f"{peak / 1e12:g} TFLOP/s of {kind}, by its maker"),
        _figure(bound, "compiled", fastest, kind) if bound else None,
        _figure(best, "measured", fastest, kind) if best else None,
        best.pairs_per_s / bound.pairs_per_s if best and bound else None,
    )


def _figure(record: Record, how: str, fastest: float, kind: str) -> Figure:
    source = f"{how}, {record.pairs} pairs a step on {record.kind} ({record.file})"
    assumed = record.kind != kind
    if assumed:
        source = f"assumed: the share of the peak as {source}"
    return Figure(record.mfu * fastest, record.mfu, source, assumed)
