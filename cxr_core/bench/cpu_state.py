"""What a CPU did while it was measured: who else took its time, its clocks, and whether it was slowed down.

It is read once before and once after: a thread that samples would compute on what is measured. Source: proc(5).
"""

import os
import re
import resource
import time
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from pathlib import Path
from statistics import median
from typing import Literal, NamedTuple

from pydantic import JsonValue

from cxr_core.bench.audit import require_valid
from cxr_core.engines.cgroup import ROOT, Throttled, read, throttled

# Of the time, from which on figures are marked: as far as windows of a warm-up may differ. Other load on a machine that
# is shared is a note and no fault; only of a figure taken while standing still most of the time nothing can be said.
_DOUBTFUL, _UNTRUE = 0.1, 0.5
_LEAST = 1.0  # seconds of processors' time, or of periods of 0.1 s: of less the kernel's counts say too little
_PERIOD = 0.1


class Reading(NamedTuple):
    """Counted until a ``moment``, all in seconds and of the processors that this process may use: their ``whole`` time,
    what of it was ``busy``, what the hypervisor took (``steal``), what was this process's and its ended children's
    ``own``; how often ``heat`` slowed a core; each control group's ``throttled``. Clocks are of that moment."""

    moment: float
    whole: float
    busy: float
    steal: float
    own: float
    clocks_mhz: tuple[float, ...]
    heat: int
    throttled: dict[Path, Throttled]


def reading(processors: Collection[int], root: Path = ROOT) -> Reading:
    """Now, by the files under ``root``; what a machine does not tell is 0 or empty."""
    whole, busy, steal = _times(read(root / "proc/stat"), processors)
    used = [resource.getrusage(whose) for whose in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    cores = [root / f"sys/devices/system/cpu/cpu{number}" for number in sorted(processors)]
    clocks = tuple(int(text) / 1000 for core in cores if (text := read(core / "cpufreq/scaling_cur_freq").strip()))
    return Reading(
        moment=time.monotonic(),
        whole=whole,
        busy=busy,
        steal=steal,
        own=sum(one.ru_utime + one.ru_stime for one in used),
        clocks_mhz=clocks or _clocks(read(root / "proc/cpuinfo"), processors),
        heat=sum(int(read(core / "thermal_throttle/core_throttle_count").strip() or 0) for core in cores),
        throttled=throttled(root),
    )


class CpuWatch:
    """From ``before`` to ``after``. Shares are of the processors' time; None where it was too short to tell."""

    kind: Literal["cpu"] = "cpu"

    def __init__(self, processors: int, before: Reading, after: Reading | None = None) -> None:
        self.processors, self.before, self.after = processors, before, after or before

    @property
    def steal(self) -> float | None:
        """What the hypervisor gave to other machines."""
        return self._share(self.after.steal - self.before.steal)

    @property
    def other_load(self) -> float | None:
        """What processes other than this one and its children took."""
        return self._share(self.after.busy - self.before.busy - (self.after.own - self.before.own))

    @property
    def throttled(self) -> Throttled:
        """Since before, by the group that stopped this process longest."""
        grown = [
            Throttled(now.periods - then.periods, now.stopped - then.stopped, now.seconds - then.seconds)
            for group, then in self.before.throttled.items()
            if (now := self.after.throttled.get(group))
        ]
        return max(grown, key=lambda one: one.seconds, default=Throttled(0, 0, 0.0))

    def told(self) -> dict[str, JsonValue]:
        """Smallest, median and largest clock, and each share; what the machine does not tell is left out."""
        clocks = [*self.before.clocks_mhz, *self.after.clocks_mhz]
        shares = {"steal": self.steal, "other_load": self.other_load}
        periods, stopped, seconds = self.throttled
        return {
            "processors": self.processors,
            **({"clock_mhz": [min(clocks), median(clocks), max(clocks)]} if clocks else {}),
            **{name: round(share, 4) for name, share in shares.items() if share is not None},
            **({"throttled_periods": [stopped, periods], "throttled_seconds": round(seconds, 3)} if periods else {}),
            "slowed_by": list(self._reasons()),
        }

    def complaint(self) -> str:
        """A sentence for what makes the figures doubtful; empty where nothing does."""
        found = [f"the CPU was slowed down: {', '.join(reasons)}"] if (reasons := self._reasons()) else []
        if (self.other_load or 0.0) > _DOUBTFUL:
            found.append(
                f"other processes took {_percent(self.other_load)} of the CPU's time: end them and measure again"
            )
        if not self.after.whole:
            found.append("steal and other load were not watched: /proc/stat tells nothing here")
        return "; ".join(found)

    def untrue(self) -> str:
        """A sentence where the quota stopped the process for most of the time; empty where not.

        The seconds are summed over processors, so that divided by all of them they are the least that it stood still.
        """
        seconds = self.after.moment - self.before.moment
        share = self.throttled.seconds / (self.processors * seconds) if self.processors and seconds >= _LEAST else 0.0
        if share <= _UNTRUE:
            return ""
        return (
            f"the quota of a control group stopped the engine for {_percent(share)} of the time at least: grant the "
            "container more of the CPU, or set engine.threads to what it is granted"
        )

    def _reasons(self) -> list[str]:
        periods, stopped, _ = self.throttled
        found = []
        if (self.steal or 0.0) > _DOUBTFUL:
            found.append(f"steal, {_percent(self.steal)} of its time went to other machines")
        if self.after.heat > self.before.heat:
            found.append("heat")
        if periods * _PERIOD >= _LEAST and stopped > _DOUBTFUL * periods:
            found.append(f"the quota of a control group, in {stopped} of {periods} periods")
        return found

    def _share(self, seconds: float) -> float | None:
        """Counts of the kernel's are of whole ticks, and some may go back a little (proc(5))."""
        whole = self.after.whole - self.before.whole
        return max(0.0, seconds) / whole if whole >= _LEAST else None


@contextmanager
def watching_cpu() -> Iterator[CpuWatch]:
    """Reads before and after the block.

    Raises:
        BranchError: a quota stopped the process for most of that time.
    """
    processors = os.sched_getaffinity(0) if hasattr(os, "sched_getaffinity") else frozenset[int]()
    watch = CpuWatch(len(processors), reading(processors))
    yield watch
    watch.after = reading(processors)
    require_valid(watch.untrue())


def _times(stat: str, processors: Collection[int]) -> tuple[float, float, float]:
    """Whole, busy and stolen seconds. A guest's time is within user's and nice's already."""
    rows = [
        [int(ticks) for ticks in found[2].split()[:8]]
        for found in re.finditer(r"^cpu(\d+)((?: \d+){8,})", stat, re.M)
        if int(found[1]) in processors
    ]
    user, nice, system, idle, waiting, irq, softirq, steal = map(sum, zip(*rows, strict=True)) if rows else [0] * 8
    busy = user + nice + system + irq + softirq
    second = os.sysconf("SC_CLK_TCK")
    return (busy + idle + waiting + steal) / second, busy / second, steal / second


def _clocks(cpuinfo: str, processors: Collection[int]) -> tuple[float, ...]:
    found = re.findall(r"^processor\s*:\s*(\d+)$(?:\n.+)*?\ncpu MHz\s*:\s*([\d.]+)", cpuinfo, re.M)
    return tuple(float(mhz) for number, mhz in found if int(number) in processors)


def _percent(share: float | None) -> str:
    return f"{100 * (share or 0.0):.0f} %"
