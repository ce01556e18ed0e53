"""A long-lived program on a tether: it ends with whoever started it, however that one ended, SIGKILL included.

The tethered program leads a process group of its own, so that Ctrl-C in a terminal reaches only its
owner, who then ends it in order. It watches its standard input, which only the owner's end closes.
"""

import os
import runpy
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path

_PATIENCE = 20.0  # seconds from the wish to end to SIGKILL

Tethered = subprocess.Popen[bytes]


def start(module: str, arguments: list[str], *, log: Path, environment: Mapping[str, str]) -> Tethered:
    """Start ``python -m module arguments`` on a tether; what it prints is added to ``log``."""
    log.parent.mkdir(parents=True, exist_ok=True)
    with log.open("ab") as sink:
        return subprocess.Popen(
            [sys.executable, "-m", "flows.tether", module, *arguments],
            stdin=subprocess.PIPE,
            stdout=sink,
            stderr=sink,
            env=dict(environment),
            start_new_session=True,
        )


def stop(process: Tethered, number: signal.Signals = signal.SIGTERM) -> None:
    """End it in order; with its whole group by force if it does not."""
    with suppress(ProcessLookupError):
        process.send_signal(number)
    with suppress(subprocess.TimeoutExpired):
        process.wait(_PATIENCE)
    with suppress(ProcessLookupError):  # also what the program left behind in its group
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()
    if process.stdin:
        process.stdin.close()


def _end_with_owner() -> None:
    os.read(0, 1)
    os.killpg(0, signal.SIGTERM)
    time.sleep(_PATIENCE)
    os.killpg(0, signal.SIGKILL)


def _main() -> None:
    signal.signal(signal.SIGINT, signal.default_int_handler)  # a script's background jobs inherit it ignored
    threading.Thread(target=_end_with_owner, daemon=True).start()
    module = sys.argv[1]
    del sys.argv[0]
    runpy.run_module(module, run_name="__main__", alter_sys=True)


if __name__ == "__main__":
    _main()
