"""Where progress goes: a bar in the terminal where there is one, a progress artifact in the Prefect UI."""

import logging
import time
from collections.abc import Callable, Sequence
from types import TracebackType
from typing import Self
from uuid import UUID

from prefect.artifacts import create_progress_artifact, update_progress_artifact

LoggerLike = logging.Logger | logging.LoggerAdapter[logging.Logger]
_LOGGER = logging.getLogger("cxr.progress")
Board = Callable[[str, int, int, str], None]
"""``board(label, done, total, text)``; ``total`` 0 means that the label has finished."""

_boards: list[Board] = []
_MINUTES_FROM = 120  # seconds left from which minutes are said


def show_on(board: Board) -> None:
    """Send all further progress of this process to ``board`` too."""
    _boards.append(board)


def stop_showing(board: Board) -> None:
    """The opposite of ``show_on``."""
    _boards.remove(board)


def tell(label: str, done: int, total: int, text: str) -> None:
    """Show progress on every board of this process."""
    for board in _boards:
        board(label, done, total, text)


class Reporter:
    """Progress of one stage run. ``every``: seconds between two updates in the Prefect UI; None shows none there."""

    def __init__(self, label: str, *, every: float | None = None, logger: LoggerLike = _LOGGER) -> None:
        self._label = label
        self._every = every
        self._logger = logger
        self._artifact: UUID | None = None
        self._last = 0.0
        self._began: tuple[float, int] | None = None

    def __enter__(self) -> Self:
        if self._every is not None:
            self._post(lambda: create_progress_artifact(progress=0.0, description=self._label))
        tell(self._label, 0, 1, "")
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        tell(self._label, 0, 0, "")
        if kind is None:
            self._update(100.0, f"{self._label}: done")

    def waiting(self, devices: Sequence[str], holder: str) -> None:
        """Say who holds the devices that this stage waits for, one of which it needs."""
        told = f"waits for the {' or '.join(devices)}, held by {holder}"
        self._logger.info("%s %s", self._label, told)
        self._update(0.0, f"{self._label}: {told}")

    def progress(self, done: int, total: int, text: str) -> None:
        """Pass it on; the artifact at most once a second, with the time left at the pace so far."""
        if self._began is None:
            self._began = (time.monotonic(), done)
        tell(self._label, done, total, text)
        now = time.monotonic()
        if total and now - self._last >= (self._every or 0.0):
            self._last = now
            self._update(min(100.0, 100.0 * done / total), f"{self._label}: {text}{self._left(done, total, now)}")

    def _left(self, done: int, total: int, now: float) -> str:
        began, first = self._began or (now, done)
        if done <= first or done >= total:
            return ""
        seconds = (now - began) / (done - first) * (total - done)
        return f", {seconds:.0f} s left" if seconds < _MINUTES_FROM else f", {seconds / 60:.0f} min left"

    def _update(self, percent: float, description: str) -> None:
        artifact = self._artifact
        if artifact:
            self._post(lambda: update_progress_artifact(artifact, progress=percent, description=description))

    def _post(self, call: Callable[[], object]) -> None:
        """A server that went away, or an artifact that someone deleted, must not cost the work it tells of."""
        try:
            made = call()
            self._artifact = made if isinstance(made, UUID) else None
        except Exception as error:  # noqa: BLE001
            self._logger.warning("%s: progress is no longer shown (%s)", self._label, error)
            self._artifact = None
