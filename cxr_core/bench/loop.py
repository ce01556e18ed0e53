"""The measurement loop. Between two clock readings there is the engine's call and nothing else."""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import count
from time import perf_counter_ns

import numpy as np
from numpy.typing import NDArray

from cxr_core.engines.contract import Images, Logits, Runner, Spans

_SECOND = 1_000_000_000


@dataclass(frozen=True)
class Turn:
    """One engine's uninterrupted turn. Times in ns on the process's monotonic clock, one entry a query.

    ``spans`` has an entry a query where the runner has a device of its own, else none.
    """

    starts: NDArray[np.int64]
    stops: NDArray[np.int64]
    bound: NDArray[np.int64]
    answers: tuple[Logits, ...]
    spans: tuple[Spans, ...] = ()

    @property
    def seconds(self) -> float:
        """Wall time from the first query's start to the last one's end, the loop's own cost included."""
        return float(self.stops[-1] - self.starts[0]) / _SECOND

    @property
    def milliseconds(self) -> NDArray[np.float64]:
        """Each query's latency."""
        return (self.stops - self.starts) / 1e6

    @property
    def images_per_second(self) -> float:
        """Images that were really bound, over wall time."""
        return float(self.bound.sum()) / self.seconds


def turn(runner: Runner, inputs: Sequence[Images], seconds: float, least: int = 1) -> Turn:
    """Calls ``runner`` on ``inputs`` in turn for at least ``seconds`` and at least ``least`` queries.

    Query i is fed ``inputs[i % len(inputs)]``. Answers are kept and judged after the turn.
    """
    starts: list[int] = []
    stops: list[int] = []
    bound: list[int] = []
    answers: list[Logits] = []
    spans: list[Spans] = []
    clock, period = perf_counter_ns, len(inputs)
    end = clock() + int(seconds * _SECOND)
    for number in count():
        images = inputs[number % period]
        start = clock()
        answer = runner(images)
        stop = clock()
        starts.append(start)
        stops.append(stop)
        answers.append(answer)
        bound.append(runner.bound_images)
        if (parts := runner.spans) is not None:
            spans.append(parts)
        if stop >= end and number + 1 >= least:
            break
    return Turn(np.array(starts), np.array(stops), np.array(bound), tuple(answers), tuple(spans))
