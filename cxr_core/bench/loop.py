"""The measurement loop. Between two clock readings there is the engine's call and nothing else."""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import count

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


class Recorder:
    """Calls a runner and keeps what each call took and gave."""

    def __init__(self, runner: Runner, clock: Clock) -> None:
        self._runner, self._now = runner, clock.now
        self._starts: list[int] = []
        self._stops: list[int] = []
        self._bound: list[int] = []
        self._answers: list[Logits] = []
        self._spans: list[Spans] = []

    def query(self, images: Images) -> int:
        """One call; the moment at which it ended, in ns."""
        runner, clock = self._runner, self._now
        start = clock()
        answer = runner(images)
        stop = clock()
        self._starts.append(start)
        self._stops.append(stop)
        self._answers.append(answer)
        self._bound.append(runner.bound_images)
        if (parts := runner.spans) is not None:
            self._spans.append(parts)
        return stop

    @property
    def began(self) -> int:
        """The moment at which the first call began, in ns."""
        return self._starts[0]

    def turn(self) -> Turn:
        """All calls so far."""
        return Turn(
            np.array(self._starts, dtype=np.int64),
            np.array(self._stops, dtype=np.int64),
            np.array(self._bound, dtype=np.int64),
            tuple(self._answers),
            tuple(self._spans),
        )


def turn(runner: Runner, inputs: Sequence[Images], seconds: float, least: int = 1, clock: Clock = MACHINE) -> Turn:
    """Calls ``runner`` on ``inputs`` in turn for at least ``seconds`` from the first call on, and ``least`` queries.

    Query i is fed ``inputs[i % len(inputs)]``. Answers are kept and judged after the turn.
    """
    recorder, period, least_time = Recorder(runner, clock), len(inputs), int(seconds * SECOND)
    for number in count():
        stop = recorder.query(inputs[number % period])
        if stop - recorder.began >= least_time and number + 1 >= least:
            break
    return recorder.turn()


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
