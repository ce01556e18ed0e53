"""Open loop: queries fall due at moments of their own, whether or not those before are answered.

A closed loop asks again only when it has an answer, so that a slow answer keeps the next queries from being asked and
from being late ("coordinated omission", G. Tene, "How NOT to Measure Latency", 2013). Here latency counts from the
moment a query fell due. There is one server, first come, first served: with Poisson arrivals the queue M/G/1.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import cycle
from math import inf

import numpy as np
from numpy.typing import NDArray

from cxr_core.bench.clock import MACHINE, Clock
from cxr_core.bench.loop import SECOND, Turn, asked
from cxr_core.engines.contract import Images, Runner


@dataclass(frozen=True)
class Served:
    """``due`` are the moments in ns at which all queries fell due, rising, from ``begin`` on; ``turn`` the first of
    them as they were answered, in order. ``end`` is when the last answer came, or waiting was given up."""

    begin: int
    due: NDArray[np.int64]
    turn: Turn
    end: int

    @property
    def latencies_ms(self) -> NDArray[np.float64]:
        """From falling due to the answer; of what was never answered how long it had waited when it was given up."""
        waited = np.full(len(self.due), self.end)
        waited[: len(self.turn.stops)] = self.turn.stops
        return (waited - self.due) / 1e6

    def in_system(self, moments: NDArray[np.int64]) -> NDArray[np.int64]:
        """How many queries had fallen due by then and were not answered, the one in work included."""
        return np.searchsorted(self.due, moments, "right") - np.searchsorted(self.turn.stops, moments, "right")


def poisson_arrivals(rate: float, seconds: float, seed: int) -> NDArray[np.int64]:
    """Moments in ns from the start of a Poisson process of ``rate`` a second on [0, ``seconds``), rising.

    Given their number, arrivals of a Poisson process are independent and uniform (S. Ross, "Introduction to
    Probability Models", section 5.3.5).
    """
    random = np.random.default_rng(seed)
    moments = np.sort(random.uniform(0, seconds, random.poisson(rate * seconds)))
    return (moments * SECOND).astype(np.int64)


def serve(
    runner: Runner, inputs: Sequence[Images], arrivals: NDArray[np.int64], longest: float, clock: Clock = MACHINE
) -> Served:
    """Answers each query as soon as it has fallen due and those before are answered.

    ``arrivals`` are ns from now on. No query is begun once ``longest`` seconds are over.
    """
    begin = clock.now()
    due = begin + arrivals
    fed = _as_due(inputs, due, begin + int(longest * SECOND), clock)
    return Served(begin, due, asked(runner, fed, inf, 1, clock), clock.now())


def _as_due(inputs: Sequence[Images], due: NDArray[np.int64], given_up: int, clock: Clock) -> Iterator[Images]:
    for images, moment in zip(cycle(inputs), due.tolist(), strict=False):
        if clock.now() >= given_up:
            return
        clock.wait_until(moment)
        yield images
