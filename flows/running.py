"""Running a flow from the terminal: Prefect's settings, Ctrl-C, progress bars, and the run's summary at the end."""

import os
import signal
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, nullcontext, suppress
from types import FrameType
from typing import Any

from cxr_core.errors import BranchError, UsageError
from flows import settings


def run_flow(name: str, parameters: Mapping[str, Any], *, quiet: bool) -> dict[str, Any]:
    """Run ``full`` or ``precision-branch``: through its deployment where our server is up, else in this process.

    Returns:
        The run's summary, as ``run.json`` holds it.

    Raises:
        UsageError: parameters that do not fit, before anything runs.
        KeyboardInterrupt: Ctrl-C; children are dead by then.
    """
    settings.prepare()
    settings.prefect_home().mkdir(parents=True, exist_ok=True)
    from flows.servers import own_server, running_server, use_server

    server = None if os.environ.get("PREFECT_API_URL") else running_server()
    if server:
        use_server(server)
    ready = own_server() if not os.environ.get("PREFECT_API_URL") else None
    from flows.inputs import settle, unsupported
    from flows.precision_branch import parameters_of_branch
    from flows.runs import read_summary
    from flows.showing import say
    from tasks.place import current_store

    chosen = dict(parameters) if name == "full" else parameters_of_branch(**parameters)
    # A worker that keeps its results elsewhere would compute everything anew and leave nothing here.
    submits = server is not None and server.store == current_store().root
    prepared = settle(**chosen, pool=settings.POOL if submits else None)
    if not quiet:
        named = os.environ["PREFECT_API_URL"].removesuffix("/api")
        where = "a server of its own, on the same database" if ready else f"the server at {named}"
        who = f"deployment {name}, its worker does the work" if submits else "this process does the work"
        say(f"profile {prepared.profile.name}, data: {prepared.folder} ({prepared.how})")
        say(f"store {prepared.store}; Prefect: {where}; {who}")
        for text in () if submits or "engines" in prepared.pools else unsupported(prepared.profile):
            say(text)
    if ready:
        ready()
    if submits:
        submitted = dict(parameters)
        if name == "full":  # the worker's own search might find other data than was just announced
            submitted["data"] = "phantom" if prepared.phantom else prepared.data
        else:  # what is latest may change before the worker looks
            submitted["run"] = read_summary(str(parameters["run"]))["run_id"]
        summary = _submitted(name, submitted, quiet)
    else:
        summary = _here(chosen, quiet)
    if server:
        summary["url"] = f"{server.address}/runs/flow-run/{summary['run_id']}"
    return summary


def _submitted(name: str, parameters: Mapping[str, Any], quiet: bool) -> dict[str, Any]:
    from flows.showing import progress_bars, say
    from flows.submitting import follow, submit

    run_id = submit(name, parameters)
    if not quiet:
        say(f"run: {os.environ['PREFECT_API_URL'].removesuffix('/api')}/runs/flow-run/{run_id}")
    with _interruptible(), nullcontext() if quiet else progress_bars():
        state = follow(run_id)
    summary = _finished(str(run_id))
    if summary is None:
        raise BranchError(f"run {run_id} ended as {state.name}: {state.message or 'no reason given'}; see its logs")
    return summary


def _here(chosen: Mapping[str, Any], quiet: bool) -> dict[str, Any]:
    from flows.pipeline import pipeline
    from flows.showing import progress_bars

    with _interruptible(), nullcontext() if quiet else progress_bars():
        state = pipeline(**chosen, return_state=True)
    summary = _finished(str(state.state_details.flow_run_id))
    if summary is None:
        state.result(raise_on_failure=True)
        raise BranchError(f"the run ended as {state.name}: {state.message}")
    return summary


def _finished(run_id: str) -> dict[str, Any] | None:
    """A run's account; None where the flow itself broke before it could give it."""
    from flows.runs import read_summary

    with suppress(UsageError):
        summary = read_summary(run_id)
        return summary if summary["state"] in {"completed", "failed"} else None
    return None


@contextmanager
def _interruptible() -> Iterator[None]:
    """Ctrl-C and SIGTERM kill the children at once; without that, waiting threads would outlive the wish to stop."""
    from cxr_core.child import kill_children

    if threading.current_thread() is not threading.main_thread():
        yield
        return

    def stop(number: int, frame: FrameType | None) -> None:
        kill_children()
        raise KeyboardInterrupt

    before = {number: signal.signal(number, stop) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
