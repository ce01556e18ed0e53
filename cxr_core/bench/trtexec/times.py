"""Our own timed queries as trtexec exports its."""

from collections.abc import Iterable

from cxr_core.bench.loop import Turn
from cxr_core.bench.trtexec.exports import Query

_STAGES = ("Enq", "H2d", "Compute", "D2h")


def queries_of(turns: Iterable[Turn]) -> tuple[Query, ...]:
    """All queries of at least one turn, milliseconds since the first one's start.

    On a CPU nothing is enqueued or copied: those spans are empty and all of the latency is compute.
    """
    kept = list(turns)
    origin = min(int(turn.starts[0]) for turn in kept)
    return tuple(
        _query((int(start) - origin) / 1e6, (int(stop) - origin) / 1e6)
        for turn in kept
        for start, stop in zip(turn.starts, turn.stops, strict=True)
    )


def _query(start: float, stop: float) -> Query:
    edges = {"Enq": (start, start), "H2d": (start, start), "Compute": (start, stop), "D2h": (stop, stop)}
    spans = {
        f"{edge}{name}Ms": round(value, 6)
        for name in _STAGES
        for edge, value in zip(("start", "end"), edges[name], strict=True)
    }
    latency = round(stop - start, 6)
    return Query.model_validate(spans | {"h2dMs": 0.0, "computeMs": latency, "d2hMs": 0.0, "latencyMs": latency})
