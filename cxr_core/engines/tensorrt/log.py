"""TensorRT's log, sent to standard error, which is the attempt's log."""

import sys
import threading
from contextlib import suppress
from typing import Any


def log_sink(trt: Any) -> Any:
    """A ``trt.ILogger`` that writes everything but VERBOSE lines.

    ``warnings`` counts them; ``errors`` keeps their text, because TensorRT answers a failure with None and says why
    only here. TensorRT calls it from several threads.
    """

    class Sink(trt.ILogger):  # type: ignore[misc]
        def __init__(self) -> None:
            trt.ILogger.__init__(self)
            self.warnings = 0
            self.errors: list[str] = []
            self._guard = threading.Lock()

        def log(self, severity: Any, msg: str) -> None:
            if severity == trt.ILogger.Severity.VERBOSE:
                return
            with self._guard:
                # An exception in here would end the process, and a log that is full is no reason for that.
                with suppress(OSError):
                    sys.stderr.write(f"[TensorRT {severity.name}] {msg}\n")
                if severity == trt.ILogger.Severity.WARNING:
                    self.warnings += 1
                elif severity in (trt.ILogger.Severity.ERROR, trt.ILogger.Severity.INTERNAL_ERROR):
                    self.errors.append(msg)

    return Sink()


def why(sink: Any) -> str:
    """The last error that TensorRT logged."""
    return sink.errors[-1] if sink.errors else "TensorRT logged no error"
