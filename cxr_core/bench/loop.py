"""The measurement loop. Between two clock readings there is the engine's call and nothing else."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import count, cycle

import numpy as np
from numpy.typing import NDArray

from cxr_core.bench.clock import MACHINE, Clock
from cxr_core.engines.contract import Images, Logits, Runner, Spans, Stream

SECOND = 1_000_000_000  # in ns


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
        return float(self.stops[-1] - self.starts[0]) / SECOND

    @property
    def milliseconds(self) -> NDArray[np.float64]:
        """Each query's latency."""
        return (self.stops - self.starts) / 1e6

    @property
    def images_per_second(self) -> float:
        """Images that were really bound, over wall time."""
        return float(self.bound.sum()) / self.seconds

    def without_answers(self) -> "Turn":
        """The same, once the answers have been judged."""
        return Turn(self.starts, self.stops, self.bound, (), self.spans)


def turn(runner: Runner, inputs: Sequence[Images], seconds: float, least: int = 1, clock: Clock = MACHINE) -> Turn:
    """Calls ``runner`` on ``inputs`` in turn for at least ``seconds`` from the first call on, and ``least`` queries.

    Query i is fed ``inputs[i % len(inputs)]``. Answers are kept and judged after the turn.
    """
    return asked(runner, cycle(inputs), seconds, least, clock)


def asked(runner: Runner, fed: Iterable[Images], seconds: float, least: int, clock: Clock) -> Turn:
    """As ``turn``, with what is ``fed`` one after the other; also over where that ends."""
    now, least_time = clock.now, seconds * SECOND
    starts, stops, bound, answers, spans = list[int](), list[int](), list[int](), list[Logits](), list[Spans]()
    for number, images in enumerate(fed, 1):
        start = now()
        answer = runner(images)
        stop = now()
        starts.append(start)
        stops.append(stop)
        answers.append(answer)
        bound.append(runner.bound_images)
        if (parts := runner.spans) is not None:
            spans.append(parts)
        if number >= least and stop - starts[0] >= least_time:
            break
    return Turn(
        np.array(starts, dtype=np.int64),
        np.array(stops, dtype=np.int64),
        np.array(bound, dtype=np.int64),
        tuple(answers),
        tuple(spans),
    )


def turn_on_streams(
    streams: Sequence[Stream], inputs: Sequence[Images], seconds: float, *, transfers: bool, clock: Clock = MACHINE
) -> Turn:
    """Enqueues a query on each stream, then waits for each, again and again for at least ``seconds``.

    So does trtexec with ``--infStreams`` and, as a stream has one pair of buffers here, ``--exposeDMA``
    (NVIDIA/TensorRT samples/common/sampleInference.cpp, inferenceLoop). Query i is fed ``inputs[i % len(inputs)]``.
    Without ``transfers`` (``--noDataTransfers``) each stream computes on one input over and over: there must be as many
    inputs as streams, and the answers of its last query stand for all of its queries.
    """
    if not transfers:
        for stream, images in zip(streams, inputs, strict=True):
            stream.load(images)
    period, queries = len(inputs), count()
    starts: list[int] = []
    stops: list[int] = []
    bound: list[int] = []
    answers: list[Logits] = []
    spans: list[Spans | None] = []
    least_time = int(seconds * SECOND)
    while not stops or stops[-1] - starts[0] < least_time:
        for stream in streams:
            fed = inputs[next(queries) % period] if transfers else None
            starts.append(clock.now())
            stream.begin(fed)
        for stream in streams:
            stream.end()
            stops.append(clock.now())
            bound.append(stream.bound_images)
            spans.append(stream.spans)
            if transfers:
                answers.append(stream.answers())
    if not transfers:
        answers = [stream.answers() for stream in streams] * (len(stops) // len(streams))
    return Turn(
        np.array(starts, dtype=np.int64),
        np.array(stops, dtype=np.int64),
        np.array(bound, dtype=np.int64),
        tuple(answers),
        tuple(one for one in spans if one is not None),
    )
