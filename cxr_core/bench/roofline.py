"""No engine computes faster than its device: images/s x operations an image, against the device's peak."""

from collections.abc import Callable, Mapping, Sequence

from cxr_core.bench.trtexec.cards import card_named
from cxr_core.config import BenchmarkConfig, EngineConfig
from cxr_core.engines.metadata import EngineMetadata
from cxr_core.engines.registry import backend
from cxr_core.refs import Frozen, Precision

# A matrix product of a library comes near to the arithmetic units' peak but not up to it, and clocks move.
_MARGIN = 1.5
_TRIES = 4
_ON_CPU = "openvino"

Probe = Callable[[Precision], float | None]


class Roofline(Frozen):
    """Tera operations a second, a multiply-add counted as two: ``needed`` by the throughput, ``measured`` on this very
    device by arithmetic, ``table`` what the vendor states of such a card. ``complaint`` is empty unless the engine
    is above the measured peak by more than ``margin``, or above the table's figure."""

    gflop_per_image: float
    needed: float
    measured: dict[Precision, float]
    table: dict[Precision, float]
    margin: float
    complaint: str


def rooflines(
    rates: Sequence[tuple[EngineMetadata, float]], config: BenchmarkConfig, engine_config: EngineConfig
) -> list[Roofline | None]:
    """Of engines on one device of this machine, and the images a second of each; what one had measured is not measured
    again for the next. None where an engine's operations are not known, or a test double stood in."""
    found, peaks = list[Roofline | None](), dict[Precision, float]()
    for known, images_per_second in rates:
        found.append(roof := _roofline(known, images_per_second, config, engine_config, peaks))
        peaks |= roof.measured if roof else {}
    return found


def roofline_complaint(found: Roofline | None) -> str:
    """Empty where there is none, or nothing to judge by."""
    return found.complaint if found else ""


def _roofline(
    known: EngineMetadata,
    images_per_second: float,
    config: BenchmarkConfig,
    engine_config: EngineConfig,
    peaks: Mapping[Precision, float],
) -> Roofline | None:
    if known.gflop_per_image is None or known.fake:
        return None
    device, lock = backend(known.backend).device(), backend(known.backend).devices()[0]
    card = None if lock == "cpu" else card_named(device)
    stated = card.peak_for(known.precision) if card else None
    # On a CPU one backend's probe stands for all that compute there.
    prober = backend(_ON_CPU if lock == "cpu" else known.backend)
    return judged(
        known.precision,
        images_per_second,
        known.gflop_per_image,
        lambda precision: prober.peak(precision, config=engine_config, seconds=config.peak_seconds),
        dict([stated]) if stated else {},
        peaks,
    )


def judged(
    precision: Precision,
    images_per_second: float,
    gflop: float,
    probe: Probe,
    table: Mapping[Precision, float],
    before: Mapping[Precision, float],
) -> Roofline:
    """The peak is that of the engine's arithmetic or of fp32, which stands in for what it lacks; the higher counts.

    An engine that seems to be above it has the device probed again: other load may have taken part of it, and a
    probe only ever errs towards too little. Peaks that were measured ``before`` are probed again only then.
    """
    kinds = dict.fromkeys((Precision.FP32, precision))
    needed, measured = images_per_second * gflop / 1000, {kind: before[kind] for kind in kinds if kind in before}
    for tried in range(_TRIES):
        for kind in kinds:
            if tried == 0 and kind in measured:
                continue
            if found := probe(kind):
                measured[kind] = max(found, measured.get(kind, 0.0))
        if not measured or needed <= _MARGIN * max(measured.values()):
            break
    return Roofline(
        gflop_per_image=gflop,
        needed=needed,
        measured=measured,
        table=dict(table),
        margin=_MARGIN,
        complaint=_above(images_per_second, gflop, needed, measured, _MARGIN, "measured here")
        or _above(images_per_second, gflop, needed, table, 1.0, "of the vendor's"),
    )


def _above(
    rate: float, gflop: float, needed: float, peaks: Mapping[Precision, float], margin: float, whose: str
) -> str:
    if not peaks or needed <= margin * max(peaks.values()):
        return ""
    kind, peak = max(peaks.items(), key=lambda pair: pair[1])
    allowed = f" x {margin:g} for what a probe leaves out" if margin != 1 else ""
    return (
        f"{rate:,.0f} images/s x {gflop:.3g} GFLOP = {needed:.3g} TFLOP/s; the peak {whose} is {peak:.3g} TFLOP/s in "
        f"{kind.value}{allowed}: {needed / peak:.1f} times the peak. It cannot have computed all these images"
    )
