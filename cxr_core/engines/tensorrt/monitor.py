"""How far a build is, and how it is stopped: TensorRT's progress monitor in the project's terms."""

import threading
from typing import Any

from cxr_core.progress import Progress

PARTS = 1000


class Phases:
    """TensorRT's nested phases as one fraction that never goes back.

    Their names, nesting and steps differ by version, and a phase may finish before all its steps; how many outermost
    phases there will be is not known beforehand. The fraction is that of the outermost phase.
    """

    def __init__(self) -> None:
        self._steps: dict[str, tuple[str | None, int, int]] = {}
        self._furthest = 0.0

    def start(self, name: str, parent: str | None, steps: int) -> None:
        """A phase begins; a name that was used before begins anew."""
        self._steps[name] = (parent, 0, steps)

    def step(self, name: str, step: int) -> None:
        """Step number ``step``, counted from 0, is complete."""
        parent, _, steps = self._steps.get(name, (None, 0, step + 1))
        self._steps[name] = (parent, step + 1, steps)

    def finish(self, name: str) -> None:
        """A phase ends."""
        self._steps.pop(name, None)

    def fraction(self, name: str) -> float:
        """How far the outermost phase around ``name`` is, 0 to 1."""
        inner, seen = 0.0, set()
        here: str | None = name
        while here in self._steps and here not in seen:
            seen.add(here)
            parent, done, steps = self._steps[here]
            inner = min(1.0, (done + inner) / max(steps, 1))
            here = parent
        self._furthest = max(self._furthest, inner)
        return self._furthest

    def told(self, name: str) -> str:
        """The phase and its count, for a person."""
        _, done, steps = self._steps.get(name, (None, 0, 0))
        return f"{name} {done}/{steps}"


def progress_monitor(trt: Any, progress: Progress, first: int, total: int) -> Any:
    """A ``trt.IProgressMonitor`` that tells ``progress(first + 0..PARTS, total, phase)``.

    TensorRT calls it from several threads, and an exception in it would end the process: one that ``progress`` raises
    stops the build instead and is kept in ``stopped_by``.
    """

    class Monitor(trt.IProgressMonitor):  # type: ignore[misc]
        def __init__(self) -> None:
            trt.IProgressMonitor.__init__(self)
            self.stopped_by: Exception | None = None
            self._phases = Phases()
            self._guard = threading.Lock()

        def phase_start(self, phase_name: str, parent_phase: str | None, num_steps: int) -> None:
            with self._guard:
                self._phases.start(phase_name, parent_phase, num_steps)

        def step_complete(self, phase_name: str, step: int) -> bool:
            with self._guard:
                if self.stopped_by is None:
                    self._tell(phase_name, step)
                return self.stopped_by is None

        def phase_finish(self, phase_name: str) -> None:
            with self._guard:
                self._phases.finish(phase_name)

        def _tell(self, phase_name: str, step: int) -> None:
            self._phases.step(phase_name, step)
            done = first + int(PARTS * self._phases.fraction(phase_name))
            try:
                progress(done, total, f"compiling: {self._phases.told(phase_name)}")
            except Exception as error:  # noqa: BLE001
                self.stopped_by = error

    return Monitor()
