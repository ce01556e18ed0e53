"""Our own timed queries as trtexec exports its."""

from collections.abc import Iterable, Iterator

from cxr_core.bench.loop import Turn
from cxr_core.bench.trtexec.exports import Query
from cxr_core.engines.contract import Spans

_STAGES = ("Enq", "H2d", "Compute", "D2h")


def queries_of(turns: Iterable[Turn]) -> tuple[Query, ...]:
    """All queries of at least one turn, milliseconds since the first one's start.

    On a CPU nothing is enqueued or copied: those spans are empty and all of the latency is compute. On a GPU the parts
    are those that its events measured, laid end to end from the query's start on the host's clock; latency is
    H2D + compute + D2H, as trtexec defines it, and not the host's.
    """
    kept = list(turns)
    origin = min(int(turn.starts[0]) for turn in kept)
    return tuple(
        _query((int(start) - origin) / 1e6, parts)
        for turn in kept
        for start, parts in zip(turn.starts, turn.spans or _computing(turn), strict=True)
    )


def _computing(turn: Turn) -> Iterator[Spans]:
    return (Spans(0.0, 0.0, float(one), 0.0) for one in turn.milliseconds)


def _query(start: float, parts: Spans) -> Query:
    copied = start + parts.h2d
    computed = copied + parts.compute
    stop = computed + parts.d2h
    edges = {
        "Enq": (copied, copied + parts.enqueue),
        "H2d": (start, copied),
        "Compute": (copied, computed),
        "D2h": (computed, stop),
    }
    spans = {
        f"{edge}{name}Ms": round(value, 6)
        for name in _STAGES
        for edge, value in zip(("start", "end"), edges[name], strict=True)
    }
    durations = {"h2dMs": parts.h2d, "computeMs": parts.compute, "d2hMs": parts.d2h, "latencyMs": stop - start}
    return Query.model_validate(spans | {name: round(value, 6) for name, value in durations.items()})
