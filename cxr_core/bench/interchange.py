"""The per-query list that ``trtexec --exportTimes`` writes (8.6 and later), written and read."""

import json
from collections.abc import Iterable
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from cxr_core.bench.loop import Turn
from cxr_core.errors import UsageError

_STAGES = ("Enq", "H2d", "Compute", "D2h")


def write_times(path: Path, turns: Iterable[Turn]) -> None:
    """All queries of ``turns``, milliseconds since the first one's start.

    On a CPU nothing is enqueued or copied: those spans are empty and all of the latency is compute.
    """
    kept = list(turns)
    origin = min(int(turn.starts[0]) for turn in kept)
    rows = [
        _row((int(start) - origin) / 1e6, (int(stop) - origin) / 1e6)
        for turn in kept
        for start, stop in zip(turn.starts, turn.stops, strict=True)
    ]
    path.write_text("[\n" + ",\n".join(json.dumps(row) for row in rows) + "\n]\n", encoding="utf-8")


def _row(start: float, stop: float) -> dict[str, float]:
    edges = {"Enq": (start, start), "H2d": (start, start), "Compute": (start, stop), "D2h": (stop, stop)}
    spans = {
        f"{edge}{name}Ms": round(value, 6)
        for name in _STAGES
        for edge, value in zip(("start", "end"), edges[name], strict=True)
    }
    latency = round(stop - start, 6)
    return spans | {"h2dMs": 0.0, "computeMs": latency, "d2hMs": 0.0, "latencyMs": latency}


def read_latencies(path: Path) -> NDArray[np.float64]:
    """``latencyMs`` of every query in an exported list, in its order.

    Raises:
        UsageError: not such a list.
    """
    try:
        return np.array([row["latencyMs"] for row in _listed(path)], dtype=np.float64)
    except (OSError, ValueError, TypeError, KeyError) as error:
        raise UsageError(
            f"{path.name} is not a list of queries as trtexec --exportTimes writes it ({error!r}); export it again"
        ) from error


def _listed(path: Path) -> list[dict[str, float]]:
    rows = json.loads(path.read_text(encoding="utf-8"))
    if not (isinstance(rows, list) and rows):
        raise TypeError("expected a list of at least one query")
    return rows
