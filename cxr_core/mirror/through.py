"""Read-through: a record missed here is asked of a mirror. It never fails a run, and costs it a bounded wait."""

import logging
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field

from cxr_core.errors import BranchError
from cxr_core.mirror.documents import Report
from cxr_core.mirror.pulling import pull_record, usable
from cxr_core.mirror.remote import Mirror
from cxr_core.mirror.transfer import Meter, Stopped
from cxr_core.store import Store

PATIENCE = 10.0
"""Seconds without a sign of life (a record, 8 MiB of an artifact) after which the mirror is left alone."""

_TURN = 0.05  # seconds between two looks at the thread that waits for the mirror
_log = logging.getLogger("cxr.mirror")


@dataclass
class ReadThrough:
    """A store behind which a mirror stands. A mirror that fails or goes silent once is not asked again."""

    store: Store
    url: str
    patience: float = PATIENCE
    _mirror: Mirror | None = None
    _off: bool = False
    _guard: threading.Lock = field(default_factory=threading.Lock)

    def fetch(self, key: str, interrupted: Callable[[], bool] = lambda: False) -> bool:
        """Whether the record of a key, and all that it names, came from the mirror.

        Raises:
            BranchError: this process was told to stop.
        """
        if self._off:
            return False
        attempt = _Attempt(lambda meter: self._ask(key, meter), key)
        attempt.start()
        while not attempt.done.wait(_TURN):
            if interrupted():
                attempt.meter.stop.set()
                raise BranchError(f"interrupted while the mirror {self.url} was asked for a record")
            if time.monotonic() - attempt.heard > self.patience:
                attempt.meter.stop.set()
                self._give_up(f"not a word in {self.patience:g} s")
                return False
        if attempt.problem is not None:
            self._give_up(str(attempt.problem))
        return self._came(key, attempt.report)

    def _ask(self, key: str, meter: Meter) -> Report | None:
        if self._mirror is None:
            self._mirror = usable(Mirror.at(self.url))
        return pull_record(self.store, self._mirror, key, meter)

    def _came(self, key: str, report: Report | None) -> bool:
        if report is None:
            return False
        for left in report.left:
            _log.warning("mirror %s: %s: %s. Mend it %s", self.url, left.what, left.reason, left.mend)
        if report.records:
            _log.info("record %s came from mirror %s with %d bytes", key[:12], self.url, report.bytes)
        return report.records > 0

    def _give_up(self, reason: str) -> None:
        with self._guard:
            if self._off:
                return
            self._off = True
        _log.warning("mirror %s is not asked any more, what it may have is computed here: %s", self.url, reason)


def problem_of(url: str, patience: float = PATIENCE) -> str | None:
    """What is wrong with a mirror, None where it can be read; found within ``patience`` seconds."""

    def look(meter: Meter) -> None:
        usable(Mirror.at(url))

    attempt = _Attempt(look, "problem")
    attempt.start()
    if not attempt.done.wait(patience):
        return f"not a word in {patience:g} s"
    return str(attempt.problem) if attempt.problem else None


class _Attempt(threading.Thread):
    """One question to the mirror, in a thread that may be left to itself."""

    def __init__(self, ask: Callable[[Meter], Report | None], key: str) -> None:
        super().__init__(daemon=True, name=f"mirror-{key[:8]}")
        self.meter = Meter(self._hear)
        self.heard = time.monotonic()
        self.done = threading.Event()
        self.report: Report | None = None
        self.problem: Exception | None = None
        self._ask = ask

    def run(self) -> None:
        try:
            self.report = self._ask(self.meter)
        except Stopped:
            pass
        except Exception as error:  # noqa: BLE001 - whatever it is, the run goes on without the mirror
            self.problem = error
        finally:
            self.done.set()

    def _hear(self, done: int, total: int, text: str) -> None:
        self.heard = time.monotonic()
