"""The clock that measurements are made on. Tests bring one of their own, on which nothing but the engine takes time."""

from time import perf_counter_ns, sleep
from typing import Protocol

_SLEPT = 2_000_000  # ns before the moment at which sleeping ends: a busy system wakes sleepers this late


class Clock(Protocol):
    """Times in ns on one monotonic scale."""

    def now(self) -> int:
        """The present moment."""
        ...

    def wait_until(self, moment: int) -> None:
        """Returns at that moment or soon after it; at once where it is past."""
        ...


class MachineClock:
    """The process's monotonic clock."""

    now = staticmethod(perf_counter_ns)

    def wait_until(self, moment: int) -> None:
        """Sleeps, then spins for the last two milliseconds, so that the wait does not end late by a timer's slack."""
        while (left := moment - self.now()) > 0:
            if left > _SLEPT:
                sleep((left - _SLEPT) / 1e9)


MACHINE = MachineClock()
