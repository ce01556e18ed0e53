"""Many things at once: a few threads, one meter of what has passed, and an end when one fails or is told to stop."""

import threading
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import TypeVar

from cxr_core.errors import DamagedArtifact, MissingArtifact
from cxr_core.progress import Progress, silent

T = TypeVar("T")

JOBS = 8
_LAST_WORDS = 5.0  # seconds that an interrupted transfer has to remove what it was writing


class Stopped(Exception):
    """This transfer was told to stop; nothing is wrong with what it moves."""


@dataclass
class Meter:
    """Counts what passes through all threads and tells it on. ``stop`` ends every transfer at its next chunk."""

    progress: Progress = silent
    stop: threading.Event = field(default_factory=threading.Event)
    files: int = 0
    size: int = 0  # bytes
    _passed: int = 0
    _total: int = 0
    _expected: int = 0
    _guard: threading.Lock = field(default_factory=threading.Lock)

    def expect(self, files: int, size: int) -> None:
        """So much more will come."""
        with self._guard:
            self._expected, self._total = self._expected + files, self._total + size

    def watched(self, chunks: Iterable[bytes]) -> Iterator[bytes]:
        """The chunks, each counted.

        Raises:
            Stopped: it was told to stop.
        """
        for chunk in chunks:
            if self.stop.is_set():
                raise Stopped
            yield chunk
            with self._guard:
                self._passed += len(chunk)
                self._tell()

    def arrived(self, size: int) -> None:
        """A file is whole on the other side."""
        with self._guard:
            self.files, self.size = self.files + 1, self.size + size
            self._tell()

    def _tell(self) -> None:
        total = max(1, self._total)
        text = f"{self.files:,} of {self._expected:,} files, {self._passed / 1e6:,.0f} of {self._total / 1e6:,.0f} MB"
        self.progress(min(self._passed, total), total, text)


def each(items: Sequence[T], work: Callable[[T], None], jobs: int, stop: threading.Event) -> dict[T, str]:
    """Does the work for every item, some at a time; what is damaged or missing, with the reason. Other errors end all.

    Raises:
        Stopped: it was told to stop before everything was done.
    """
    failed: dict[T, str] = {}
    errors: list[BaseException] = []
    waiting, guard = iter(items), threading.Lock()

    def worker(ended: threading.Event) -> None:
        try:
            work_on()
        finally:
            ended.set()

    def work_on() -> None:
        while not stop.is_set():
            with guard:
                item = next(waiting, None)
            if item is None:
                return
            try:
                work(item)
            except (DamagedArtifact, MissingArtifact) as error:
                failed[item] = str(error)
            except Stopped:
                return
            except BaseException as error:  # noqa: BLE001 - raised again in the caller's thread
                errors.append(error)
                stop.set()

    # Daemons: a server that has gone silent must not keep the process from ending. Events and not joins: in Python 3.11
    # a join that Ctrl-C broke off takes its thread for ended.
    endings: list[threading.Event] = []
    try:
        for _ in range(min(jobs, len(items))):
            endings.append(threading.Event())
            threading.Thread(target=worker, args=(endings[-1],), daemon=True).start()
        for ended in endings:
            ended.wait()
    except BaseException:  # Ctrl-C
        stop.set()
        for ended in endings:
            ended.wait(_LAST_WORDS)
        raise
    if errors:
        raise errors[0]
    if stop.is_set():
        raise Stopped
    return failed
