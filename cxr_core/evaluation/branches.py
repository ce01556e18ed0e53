"""What the branches of a run left: the list that ``compare`` is given, and each one's benchmark."""

import json
from pathlib import Path
from typing import Any, Literal

import numpy as np
from pydantic import Field, JsonValue, TypeAdapter, ValidationError

from cxr_core.errors import DataError
from cxr_core.evaluation.intervals import Interval
from cxr_core.evaluation.reading import what
from cxr_core.refs import Digest, Frozen, Precision


class BranchEngine(Frozen):
    """The engine a branch built: its digest, its size in bytes, and the facts its build returned."""

    digest: Digest
    bytes: int
    facts: dict[str, JsonValue] = Field(default_factory=dict)


class Branch(Frozen):
    """One row of the list. Paths are absolute or relative to the list's folder. ``*_engine``: digest of the engine
    that the benchmark and the scores are of."""

    precision: Precision
    backend: str
    state: Literal["done", "failed", "unsupported"]
    reason: str = ""
    engine: BranchEngine | None = None
    benchmark: Path | None = None
    scores: Path | None = None
    benchmark_engine: Digest | None = None
    scores_engine: Digest | None = None


class Speed(Frozen):
    """What the table takes from a benchmark. ``reason``: a floor of measurement that was not reached.

    ``latency_curve_ms``: 0th to 100th percentile of the single-query times, to draw a distribution.
    """

    device: str
    reason: str
    images_per_second: float
    ratio: Interval
    rounds: int | None = None
    throughput_batch: int
    throughput_images: int
    p50_ms: float
    p90_ms: float | None = None
    p99_ms: float | None = None
    latency_count: int | None = None
    latency_curve_ms: tuple[float, ...] = ()


def read_branches(path: Path) -> tuple[Branch, ...]:
    """The list of branches, with paths made absolute.

    Raises:
        DataError: not such a list, or a branch that stands in it twice.
    """
    try:
        found = TypeAdapter(tuple[Branch, ...]).validate_json(path.read_bytes())
    except (OSError, ValidationError) as error:
        raise DataError(f"{path.name}: a list of branches expected, but {what(error)}") from error
    names = [(branch.precision, branch.backend) for branch in found]
    twice = sorted({f"{precision}@{backend}" for precision, backend in names if names.count((precision, backend)) > 1})
    if twice:
        raise DataError(f"{path.name}: each branch may stand once, found twice: {', '.join(twice)}")
    return tuple(
        branch.model_copy(update={"benchmark": _beside(path, branch.benchmark), "scores": _beside(path, branch.scores)})
        for branch in found
    )


def _beside(listing: Path, path: Path | None) -> Path | None:
    return None if path is None else listing.parent / path


def read_speed(path: Path) -> Speed:
    """The figures of a benchmark file.

    Raises:
        DataError: a figure that a benchmark must have is missing.
    """
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
        return Speed(device=str(content["device"]), reason=str(content.get("reason", "")), **_figures(content))
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise DataError(
            f"{path.name}: a benchmark expected, but {what(error)}; mend: measure this branch again"
        ) from error


def _figures(content: dict[str, Any]) -> dict[str, Any]:
    latency, throughput, ratio = content["latency"], content["throughput"], content["ratio"]["throughput"]
    times = np.asarray(content.get("latencies_ms") or [], dtype=np.float64)
    curve = tuple(map(float, np.quantile(times, np.linspace(0, 1, 101)))) if times.size else ()
    return {
        "images_per_second": throughput["images_per_second"],
        "throughput_batch": throughput["batch"],
        "throughput_images": throughput["images"],
        "rounds": ratio.get("rounds"),
        "ratio": Interval(value=ratio["value"], low=ratio["low"], high=ratio["high"]),
        "p50_ms": latency["median_ms"],
        "p90_ms": latency.get("p90_ms"),
        "p99_ms": latency.get("p99_ms"),
        "latency_count": latency["count"],
        "latency_curve_ms": curve,
    }
