"""Streams over a runner's own call, for a processor: nothing is copied, and what a query occupies is a thread."""

from concurrent.futures import Future, ThreadPoolExecutor

import numpy as np

from cxr_core.engines.contract import Images, Logits, Runner, Spans


class CallStream:
    """See ``Stream``. All that one stream alone needs: a query is over when ``begin`` returns."""

    spans: Spans | None = None

    def __init__(self, runner: Runner) -> None:
        self._runner = runner
        self._loaded: Images | None = None
        self._answers: Logits = np.empty((0, 2), np.float32)

    @property
    def bound_images(self) -> int:
        """See ``Stream``."""
        return self._runner.bound_images

    def load(self, images: Images) -> None:
        """See ``Stream``."""
        self._loaded, self._answers = images, np.full((len(images), 2), np.nan, np.float32)

    def begin(self, images: Images | None) -> None:
        """See ``Stream``."""
        self._compute(images)

    def end(self) -> None:
        """See ``Stream``."""

    def answers(self) -> Logits:
        """See ``Stream``."""
        return self._answers

    def close(self) -> None:
        """Frees what is this stream's own."""

    def _compute(self, images: Images | None) -> None:
        fed = self._loaded if images is None else images
        assert fed is not None, "nothing was loaded"
        self._answers = self._runner(fed)


class ThreadStream(CallStream):
    """A runner with a thread of its own that waits for it, for a library that has only calls that wait."""

    def __init__(self, runner: Runner) -> None:
        super().__init__(runner)
        self._thread = ThreadPoolExecutor(1)
        self._query: Future[None]

    def begin(self, images: Images | None) -> None:
        """See ``Stream``."""
        self._query = self._thread.submit(self._compute, images)

    def end(self) -> None:
        """See ``Stream``. What went wrong in the query is raised here."""
        self._query.result()

    def close(self) -> None:
        """Ends the thread, and closes the runner."""
        self._thread.shutdown()
        self._runner.__exit__(None, None, None)
