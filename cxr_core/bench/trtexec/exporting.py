"""What was timed here, in trtexec's files: a log, the times of every query, and the context that ``import`` reads."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import yaml

from cxr_core.bench.stages import UNSTABLE
from cxr_core.bench.summary import latency_summary
from cxr_core.bench.trtexec.exports import Query, read_times, write_times
from cxr_core.bench.trtexec.logs import Spread, TrtexecLog, text_of_log
from cxr_core.engines.metadata import EngineMetadata
from cxr_core.errors import UsageError

_PERCENTS = (90, 95, 99)
_HEAD = "# Timed by cxr, written as trtexec prints it: queries of one image, in turns with the FP32 engine.\n"


class Timed(NamedTuple):
    """An engine of a run: what stands beside it, its ``benchmark.json``, and its ``times.json``."""

    engine: EngineMetadata
    benchmark: Mapping[str, Any]
    times: Path


def export_logs(timed: Sequence[Timed], folder: Path) -> list[Path]:
    """Writes ``BACKEND/PRECISION.log`` and ``.times.json`` of each, and a ``context.yaml`` a backend; returns these.

    Raises:
        UsageError: the folder holds something, or a test double stood in for a device: nothing was measured then.
    """
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise UsageError(f"{folder} holds something; name a folder that is new or empty")
    if fake := next((one.engine for one in timed if one.engine.fake), None):
        raise UsageError(f"{fake.precision}@{fake.backend} is a test double's: nothing was measured; run a real one")
    contexts = []
    for backend in dict.fromkeys(one.engine.backend for one in timed):
        contexts.append(_export([one for one in timed if one.engine.backend == backend], folder / backend))
    return contexts


def _export(timed: Sequence[Timed], folder: Path) -> Path:
    folder.mkdir(parents=True)
    logs = []
    for one in timed:
        precision, queries = one.engine.precision.value, read_times(one.times)
        write_times(folder / f"{precision}.times.json", queries)
        text = _HEAD + text_of_log(log_of(one.benchmark, queries, one.engine.model.size))
        (folder / f"{precision}.log").write_text(text, encoding="utf-8")
        logs.append(
            {
                "precision": precision,
                "log": f"{precision}.log",
                "engine_bytes": one.engine.engine_bytes,
                "times": f"{precision}.times.json",
            }
        )
    known = timed[0].engine
    context = {
        "device": timed[0].benchmark["device"],
        "model": known.model.model or None,
        "input": [1, known.model.size, known.model.size],
        "gflop_per_image": known.gflop_per_image,
        "logs": logs,
    }
    path = folder / "context.yaml"
    kept = {name: value for name, value in context.items() if value is not None}
    path.write_text(yaml.safe_dump(kept, sort_keys=False), encoding="utf-8")
    return path


def log_of(benchmark: Mapping[str, Any], queries: Sequence[Query], size: int) -> TrtexecLog:
    """The latency queries of a ``benchmark.json`` as trtexec sums them up.

    Walltime is that of the queries on the host's clock, without the other engine's turns between them. A percentile
    that so many queries do not carry is left out, and so is a stage that took no time: nothing was copied.
    """
    rows = [query.model_dump() for query in queries]
    spans = {name: [row[f"{name}Ms"] for row in rows] for name in ("latency", "compute", "h2d", "d2h")}
    spans["enqueue"] = [row["endEnqMs"] - row["startEnqMs"] for row in rows]
    compute = latency_summary(spans["compute"], 1)
    walltime = benchmark["latency"]["count"] * benchmark["latency"]["mean_ms"] / 1000
    return TrtexecLog(
        bindings={"input": (1, 1, size, size)},
        throughput=_six(len(rows) / walltime),
        walltime=_six(walltime),
        compute_total=_six(compute.mean_ms * len(rows) / 1000),
        variation=_six(compute.cv) if compute.cv > UNSTABLE else None,
        **{name: _spread(values) for name, values in spans.items() if np.any(values)},
    )


def _spread(values: Sequence[float]) -> Spread:
    found = latency_summary(values, 1)
    carried = {percent: getattr(found, f"p{percent}_ms") for percent in _PERCENTS}
    return Spread(
        min=_six(found.min_ms),
        max=_six(found.max_ms),
        mean=_six(found.mean_ms),
        median=_six(found.median_ms),
        percentiles={float(percent): _six(value) for percent, value in carried.items() if value is not None},
    )


def _six(value: float) -> float:
    # As many digits as trtexec prints.
    return float(f"{value:.6g}")
