"""Warm-up until an engine's speed stands still, with a limit; a time alone says nothing of the engine."""

from collections.abc import Sequence

import numpy as np

from cxr_core.bench.clock import MACHINE, Clock
from cxr_core.bench.loop import SECOND, turn
from cxr_core.engines.contract import Images, Runner
from cxr_core.refs import Frozen

# The rule of Triton's perf_analyzer (--stability-percentage, default 10): the last three windows, largest over
# smallest. The median stands for a window here, so that one interrupted query does not prolong the warm-up.
_WINDOWS = 3
_STABLE = 1.1


class Warmup(Frozen):
    """How long it took. ``spread`` is the largest over the smallest median latency of the last three windows."""

    seconds: float
    windows: int
    spread: float
    stable: bool


def warm_up(runner: Runner, inputs: Sequence[Images], least: float, longest: float, clock: Clock = MACHINE) -> Warmup:
    """Runs windows of a third of ``least`` seconds (each a query at least) until the last three agree.

    Three windows always run, so the warm-up takes ``least`` seconds or more. Once ``longest`` seconds are over no
    further window is begun, stable or not.
    """
    medians: list[float] = []
    start = clock.now()
    while True:
        medians.append(float(np.median(turn(runner, inputs, least / _WINDOWS, clock=clock).milliseconds)))
        seconds = (clock.now() - start) / SECOND
        if len(medians) < _WINDOWS:
            continue
        last = medians[-_WINDOWS:]
        stable = max(last) <= _STABLE * min(last)
        if stable or seconds >= longest:
            return Warmup(seconds=seconds, windows=len(medians), spread=max(last) / min(last), stable=stable)
