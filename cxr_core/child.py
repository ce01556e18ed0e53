"""Stage functions run in a child process: it can really be killed, and its memory is really freed.

The parent writes one request, the child answers in JSON lines on its standard output; whatever else
it or a library prints goes to the log. The child leads a process group of its own, and ends with
all of it as soon as the parent is gone, however the parent died: it watches its standard input,
which only the parent's death closes.
"""

import errno
import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import nullcontext, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

from pydantic import JsonValue

from cxr_core import errors
from cxr_core.progress import Progress, silent

_NO_ROOM = (errno.ENOSPC, errno.EDQUOT)
_LOG_TAIL = 1500  # characters of log that an error message carries
# Threads that spin while they wait take the core from the thread that they wait for, once anything else runs beside:
# training on two shared cores then takes up to ten times as long.
_ENVIRONMENT = {"OMP_WAIT_POLICY": "PASSIVE"}
_live: set["subprocess.Popen[str]"] = set()
_live_guard = threading.Lock()
_stopping = threading.Event()


@dataclass(frozen=True)
class Finished:
    """What a child left: the function's return value, how long it computed, in seconds, and the device that it held."""

    facts: dict[str, JsonValue]
    seconds: float
    device: str | None = None


def run_child(
    function: str,
    arguments: Mapping[str, JsonValue],
    *,
    purpose: str,
    log: Path,
    devices: Sequence[str],
    time_limit: float | None = None,
    progress: Progress = silent,
    waiting: Callable[[str], None] = lambda holder: None,
) -> Finished:
    """Call ``module:name`` with JSON arguments in a child process and return what it returned.

    Args:
        devices: one of them, whichever is free first, is held alone while the function runs; none for work that
            needs none. Of GPUs the child sees only that one.
        time_limit: seconds of computing (waiting for the device does not count), then it is killed.
        waiting: told once who holds the device, if the child must wait for it.

    Raises:
        CxrError: of the class that the function raised.
        BranchError: the child crashed, was killed or ran out of time; the message ends with its log.
    """
    request = json.dumps(
        {"function": function, "arguments": dict(arguments), "purpose": purpose, "devices": list(devices)}
    )
    # Started and registered under one guard, so that a kill sees every child or prevents it.
    with _live_guard, log.open("ab") as log_file:
        if _stopping.is_set():
            raise errors.BranchError(f"{purpose} was not started: interrupted")
        process = subprocess.Popen(
            [sys.executable, "-m", "cxr_core.child"],
            env=_ENVIRONMENT | os.environ,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=log_file,
            start_new_session=True,
            text=True,
            encoding="utf-8",
        )
        _live.add(process)
    timer: threading.Timer | None = None
    answer: dict[str, Any] = {}
    held: str | None = None
    expired = threading.Event()
    began = time.monotonic()
    try:
        assert process.stdin and process.stdout
        process.stdin.write(request + "\n")
        process.stdin.flush()
        for line in process.stdout:
            message = json.loads(line)
            if "progress" in message:
                progress(*message["progress"])
            elif "waiting" in message:
                waiting(message["waiting"])
            elif "started" in message:
                began, held = time.monotonic(), message["started"]
                if time_limit:
                    timer = threading.Timer(time_limit, _expire, (process, expired))
                    timer.daemon = True
                    timer.start()
            else:
                answer = message
        code = process.wait()
    except BrokenPipeError:
        code = process.wait()
    finally:
        if timer:
            timer.cancel()
        _kill_group(process)
        process.wait()
        for pipe in (process.stdin, process.stdout):
            _close_quietly(pipe)
        with _live_guard:
            _live.discard(process)
    if "result" in answer:
        return Finished(answer["result"], time.monotonic() - began, held)
    raise _failure(answer, code, purpose, log, time_limit if expired.is_set() else None)


def kill_children() -> None:
    """Kill every child of this process with its group and start no more; their callers get a BranchError."""
    with _live_guard:
        _stopping.set()
        for process in _live:
            _kill_group(process)


def stopping() -> bool:
    """Whether this process was told to stop; whoever waits for something should give up."""
    return _stopping.is_set()


def _close_quietly(pipe: IO[str] | None) -> None:
    with suppress(BrokenPipeError):  # unsent bytes to a dead child
        if pipe:
            pipe.close()


def _expire(process: "subprocess.Popen[str]", expired: threading.Event) -> None:
    expired.set()
    _kill_group(process)


def _kill_group(process: "subprocess.Popen[str]") -> None:
    with suppress(ProcessLookupError, PermissionError):
        os.killpg(process.pid, signal.SIGKILL)


def _failure(answer: dict[str, Any], code: int, purpose: str, log: Path, limit: float | None) -> errors.CxrError:
    if "error" in answer:
        kind = getattr(errors, answer["error"], errors.BranchError)
        return kind(answer["message"])
    if _stopping.is_set():
        return errors.BranchError(f"{purpose} was interrupted")
    text = log.read_text(encoding="utf-8", errors="replace") if log.exists() else ""
    tail = f"\n--- end of its log ---\n{text[-_LOG_TAIL:].strip()}" if text.strip() else ""
    if limit is not None:
        return errors.BranchError(
            f"{purpose} took longer than its limit of {limit:g} s and was killed; "
            f"raise the limit in the profile, or look why it hangs{tail}"
        )
    if code < 0:
        name = signal.Signals(-code).name
        hint = "; the system may have run out of memory" if name == "SIGKILL" else ""
        return errors.BranchError(f"{purpose} was ended by {name}{hint}{tail}")
    return errors.BranchError(f"{purpose} crashed (exit status {code}){tail}")


# ---- inside the child ----


def _main() -> None:
    messages = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)  # whatever a library prints belongs in the log
    guard = threading.Lock()

    def tell(message: dict[str, Any]) -> None:
        with guard:
            messages.write(json.dumps(message) + "\n")
            messages.flush()

    request = json.loads(sys.stdin.readline())
    threading.Thread(target=_die_with_parent, daemon=True).start()
    try:
        tell({"result": _call(request, tell)})
    except errors.CxrError as error:
        kind = next(c for c in type(error).__mro__ if hasattr(errors, c.__name__))
        tell({"error": kind.__name__, "message": str(error)})
        sys.exit(1)
    except Exception as error:
        if not _no_room(error):
            raise
        mend = "Free space with `cxr store gc`, or name another store with --store or CXR_STORE"
        message = f"{request['purpose']}: no room left ({error}). {mend}"
        tell({"error": "StoreFull", "message": message})
        sys.exit(1)


def _no_room(error: Exception) -> bool:
    """Libraries in other languages have errors of their own; the system's words are in them all the same."""
    return (isinstance(error, OSError) and error.errno in _NO_ROOM) or any(
        os.strerror(number) in str(error) for number in _NO_ROOM
    )


def _call(request: dict[str, Any], tell: Callable[[dict[str, Any]], None]) -> Any:
    from cxr_core.device import confine, hold

    devices = request["devices"]
    lock = hold(devices, request["purpose"], lambda who: tell({"waiting": who})) if devices else nullcontext()
    with lock as device:
        if device:
            confine(device)
        tell({"started": device})
        return _function(request["function"])(**request["arguments"], **_progress_for(request, tell))


def _function(name: str) -> Callable[..., Any]:
    import importlib

    from pydantic import ConfigDict, validate_call

    module, _, attribute = name.partition(":")
    function: Callable[..., Any] = getattr(importlib.import_module(module), attribute)
    return validate_call(config=ConfigDict(arbitrary_types_allowed=True))(function)


def _progress_for(request: dict[str, Any], tell: Callable[[dict[str, Any]], None]) -> dict[str, Progress]:
    last = 0.0

    def progress(done: int, total: int, text: str) -> None:
        nonlocal last
        now = time.monotonic()
        if now - last >= 0.2 or done >= total:
            last = now
            tell({"progress": [done, total, text]})

    import importlib
    import inspect

    module, _, attribute = request["function"].partition(":")
    parameters = inspect.signature(getattr(importlib.import_module(module), attribute)).parameters
    return {"progress": progress} if "progress" in parameters else {}


def _die_with_parent() -> None:
    sys.stdin.read()
    os.killpg(0, signal.SIGKILL)


if __name__ == "__main__":
    _main()
