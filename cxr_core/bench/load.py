"""An engine under a fixed arrival rate: its latency when queries come as they please, and whether it keeps up."""

from pathlib import Path
from typing import Annotated

import numpy as np
from numpy.typing import NDArray
from pydantic import Field, JsonValue

from cxr_core.bench.audit import answers_before, complaint, memory_complaint, require_valid
from cxr_core.bench.inputs import batches
from cxr_core.bench.loop import SECOND
from cxr_core.bench.open_loop import Served, poisson_arrivals, serve
from cxr_core.bench.subject import Subject, subject
from cxr_core.bench.summary import LatencySummary, latency_summary
from cxr_core.bench.warmup import Warmup, warm_up
from cxr_core.bench.watching import watching
from cxr_core.config import BenchmarkConfig, EngineConfig
from cxr_core.engines.opening import open_engine
from cxr_core.engines.registry import backend
from cxr_core.errors import UsageError
from cxr_core.progress import Progress, silent
from cxr_core.refs import Frozen

_MOST = 5_000_000  # queries: more is a slip of the keyboard, and takes gigabytes
_LOOKS = 1000  # at the queue, evenly over the time in which queries arrive
_PATIENCE = 2.0  # times that time, then what is still queued is given up


class Queue(Frozen):
    """Queries that had fallen due and were not answered, while more arrived. ``growth`` is a second, least squares."""

    mean: float
    most: int
    at_end: int
    growth: float


class Load(Frozen):
    """What an arrival rate did. Rates are queries of one image a second, over the time in which they arrived.

    ``latency`` counts from the moment a query fell due, ``service`` from the moment the engine was called.
    ``utilisation`` is arrivals a second x mean service time: from 1 on the engine cannot keep up and latency has no
    steady state. ``expected_mean_ms`` is the mean latency by Pollaczek and Khinchine for the service times measured,
    None where there is none. With ``unserved`` queries their latency enters as what they had waited, a lower bound.
    """

    rate: float
    seconds: float
    seed: int
    arrivals: int
    unserved: int
    arrived_per_second: float
    served_per_second: float
    utilisation: float
    overloaded: bool
    latency: LatencySummary
    service: LatencySummary
    expected_mean_ms: float | None
    queue: Queue
    says: str


class LoadResult(Frozen):
    """``reason`` is what makes the figures doubtful; empty where nothing does."""

    engine: Subject
    load: Load
    warmup: Warmup
    reason: str


def load(
    *,
    engine: Path,
    engine_metadata: Path,
    config: BenchmarkConfig,
    engine_config: EngineConfig,
    rate: Annotated[float, Field(gt=0)],
    seconds: Annotated[float, Field(gt=0)],
    progress: Progress = silent,
) -> dict[str, JsonValue]:
    """Single images, Poisson arrivals at ``rate`` a second for ``seconds``: a ``LoadResult`` as JSON.

    Raises:
        UsageError: no query would arrive, or more than five million.
        BranchError: answers under load were not those given before, or are remembered.
        RefusedError, MachineError: the engine is not to be loaded here.
    """
    arrivals = _arrivals(rate, seconds, config.seed)
    runner, known = open_engine(engine, engine_metadata, config=engine_config)
    with runner:
        height, width = runner.input_shape[2:]
        inputs = batches(1, height, width, config.seed)
        expected = answers_before(runner, inputs)
        remembered = memory_complaint(runner, inputs)
        warmed = warm_up(runner, inputs, config.warmup_seconds, config.warmup_longest_seconds)
        progress(0, 1, f"{len(arrivals)} queries in {seconds:g} s")
        with watching(backend(known.backend).devices()[0]) as watch:
            served = serve(runner, inputs, arrivals, _PATIENCE * seconds)
        progress(1, 1, "served")
    require_valid(remembered or complaint(served.turn, inputs, expected))
    unsteady = "" if warmed.stable else f"not steady after {warmed.seconds:.1f} s of warm-up (by {warmed.spread:.2f})"
    return LoadResult(
        engine=subject(known),
        load=load_of(served, rate, seconds, config.seed),
        warmup=warmed,
        reason="; ".join(text for text in (unsteady, watch.complaint()) if text),
    ).model_dump(mode="json")


def load_of(served: Served, rate: float, seconds: float, seed: int) -> Load:
    """The figures of what was served. At least one query was."""
    count, answered = len(served.due), len(served.turn.stops)
    service = served.turn.milliseconds / 1000
    arrived = count / seconds
    utilisation = arrived * float(service.mean())
    closing = served.begin + int(seconds * SECOND)
    within = int(np.searchsorted(served.turn.stops, closing, "right"))
    queue = _queue(served, seconds)
    return Load(
        rate=rate,
        seconds=seconds,
        seed=seed,
        arrivals=count,
        unserved=count - answered,
        arrived_per_second=arrived,
        served_per_second=within / seconds,
        utilisation=utilisation,
        overloaded=utilisation >= 1,
        latency=latency_summary(served.latencies_ms, 1),
        service=latency_summary(served.turn.milliseconds, 1),
        expected_mean_ms=_expected_mean_ms(arrived, service, utilisation),
        queue=queue,
        says=_says(count, answered, seconds, float(service.mean()), utilisation, queue),
    )


def per_second(rate: float) -> str:
    """A rate as a person reads it."""
    return f"{rate:,.0f}" if abs(rate) >= 1000 else f"{rate:.4g}"


def _arrivals(rate: float, seconds: float, seed: int) -> NDArray[np.int64]:
    if rate * seconds > _MOST:
        raise UsageError(
            f"{rate:g} queries a second for {seconds:g} s are {rate * seconds:,.0f}, more than {_MOST:,}: take fewer"
        )
    arrivals = poisson_arrivals(rate, seconds, seed)
    if not len(arrivals):
        raise UsageError(f"at {rate:g} queries a second none arrives in {seconds:g} s: take more seconds")
    return arrivals


def _expected_mean_ms(rate: float, service: NDArray[np.float64], utilisation: float) -> float | None:
    """E[S] + rate E[S^2] / (2 (1 - utilisation)), in ms (Pollaczek and Khinchine; L. Kleinrock, "Queueing Systems",
    volume 1, section 5.6)."""
    if utilisation >= 1:
        return None
    waiting = rate * float(np.mean(service**2)) / (2 * (1 - utilisation))
    return 1000 * (float(service.mean()) + waiting)


def _queue(served: Served, seconds: float) -> Queue:
    moments = np.linspace(0, seconds, _LOOKS)
    lengths = served.in_system(served.begin + (moments * SECOND).astype(np.int64))
    return Queue(
        mean=float(lengths.mean()),
        most=int(lengths.max()),
        at_end=int(lengths[-1]),
        growth=float(np.polyfit(moments, lengths, 1)[0]),
    )


def _says(count: int, answered: int, seconds: float, service: float, utilisation: float, queue: Queue) -> str:
    arithmetic = f"{per_second(count / seconds)} arrivals a second x {1000 * service:.4g} ms = {utilisation:.2f}"
    if utilisation < 1:
        return f"keeps up: {arithmetic} of its time is spent answering"
    left = f"; {count - answered:,} of {count:,} were given up" if count > answered else ""
    return (
        f"overloaded: {arithmetic}, more than there is time for. The queue grew by {per_second(queue.growth)} a second "
        f"to {queue.at_end:,}{left}. Latency has no steady state: it grows for as long as this goes on"
    )
