"""Two engines against each other, in turns, in one process: which is faster, and did the machine hold still?"""

from pathlib import Path
from typing import Literal

from pydantic import JsonValue

from cxr_core.bench.audit import require_valid
from cxr_core.bench.ratio import Drift, Ratio, ratio_from_rounds
from cxr_core.bench.rounds import Ended, Side, alternate, both_sides, drift, drifting, note_rooflines, ratios_by_round
from cxr_core.bench.subject import Subject, subject
from cxr_core.bench.summary import LatencySummary, ThroughputSummary, latency_summary
from cxr_core.bench.tuning import TunedStreams
from cxr_core.bench.warmup import Warmup
from cxr_core.bench.watching import watching
from cxr_core.config import BenchmarkConfig, EngineConfig
from cxr_core.engines.metadata import EngineMetadata
from cxr_core.engines.opening import open_engine
from cxr_core.engines.registry import backend
from cxr_core.errors import UsageError
from cxr_core.progress import Progress, silent
from cxr_core.refs import Frozen

Verdict = Literal["faster", "slower", "inconclusive"]


class Contestant(Frozen):
    """One of the two, and its own figures; they are of this session and of no other.

    ``tuned_streams`` is None where their number was stated.
    """

    engine: Subject
    latency: LatencySummary
    throughput: ThroughputSummary
    warmup: dict[str, Warmup]
    tuned_streams: TunedStreams | None


class Comparison(Frozen):
    """A over B, above 1 A is faster; ``verdict`` is A's, by whether the 95 % interval excludes 1."""

    ratio: Ratio
    verdict: Verdict


class AbResult(Frozen):
    """``verdict`` is A's over both figures. ``drift`` is that of the machine: of the throughput of both together.
    ``reason`` is what makes the figures doubtful; empty where nothing does."""

    a: Contestant
    b: Contestant
    latency: Comparison
    throughput: Comparison
    drift: Drift | None
    verdict: Verdict
    ended: Ended
    reason: str


def ab(
    *,
    engine: Path,
    engine_metadata: Path,
    other: Path,
    other_metadata: Path,
    config: BenchmarkConfig,
    engine_config: EngineConfig,
    progress: Progress = silent,
) -> dict[str, JsonValue]:
    """``engine`` is A, ``other`` is B: an ``AbResult`` as JSON. Rounds go A B, B A, as in the stage ``benchmark``.

    Unlike there, the two may be of different backends, as long as they compute on one device.

    Raises:
        UsageError: they are on different devices or take images of different sizes.
        BranchError: answers while timed were not those given before, or a rate is above what the device computes.
        RefusedError, MachineError: one of them is not to be loaded here.
    """
    first, known = open_engine(engine, engine_metadata, config=engine_config)
    with first:
        second, against = open_engine(other, other_metadata, config=engine_config)
        with second:
            device = _shared_device(known, against)
            sides = both_sides(("A", "B"), (first, second), (known, against), config)
            with watching(device) as watch:
                ended = alternate(*sides, config, progress)
    note_rooflines(sides, (known, against), config, engine_config)
    require_valid(*(one.complaint for one in sides))
    doubt = watch.complaint()
    ways = (one.otherwise(engine_config, config.streams) for one in sides)
    moved = drift(*sides)
    latency, throughput = (compared(per_round, config.seed) for per_round in ratios_by_round(*sides))
    return AbResult(
        a=_contestant(known, sides[0]),
        b=_contestant(against, sides[1]),
        latency=latency,
        throughput=throughput,
        drift=moved,
        # A card slows down by what each side draws. A processor's other load falls on both and widens the interval.
        verdict="inconclusive" if doubt and watch.kind == "gpu" else overall(latency.verdict, throughput.verdict),
        ended=ended,
        reason="; ".join(filter(None, (*ways, *(one.unsteady for one in sides), ended.reason, drifting(moved), doubt))),
    ).model_dump(mode="json")


def compared(per_round: list[float], seed: int) -> Comparison:
    """The ratio over rounds, and what its interval says."""
    ratio = ratio_from_rounds(per_round, seed)
    verdict: Verdict = "faster" if ratio.low > 1 else "slower" if ratio.high < 1 else "inconclusive"
    return Comparison(ratio=ratio, verdict=verdict)


def overall(latency: Verdict, throughput: Verdict) -> Verdict:
    """Faster in one and not slower in the other, or slower in one and not faster in the other; else inconclusive."""
    found = {latency, throughput} - {"inconclusive"}
    return found.pop() if len(found) == 1 else "inconclusive"


def _contestant(known: EngineMetadata, one: Side) -> Contestant:
    return Contestant(
        engine=subject(known),
        latency=latency_summary(one.milliseconds, 1),
        throughput=one.throughput_summary,
        warmup=one.warmup,
        tuned_streams=one.tuned,
    )


def _shared_device(known: EngineMetadata, against: EngineMetadata) -> str:
    devices = [backend(one.backend).devices()[0] for one in (known, against)]
    if devices[0] != devices[1]:
        raise UsageError(f"A computes on {devices[0]}, B on {devices[1]}: engines take turns on one device only")
    if known.model.size != against.model.size:
        raise UsageError(
            f"A takes images of {known.model.size} pixels, B of {against.model.size}: compare engines of one size"
        )
    return devices[0]
