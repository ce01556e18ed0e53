"""A run started from the terminal on the server that is up: its worker does the work, this process watches.

Such a run belongs to a deployment, which is what makes *Retry* in the UI work.
"""

import os
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any
from uuid import UUID

import httpx
from prefect.client.orchestration import SyncPrefectClient, get_client
from prefect.client.schemas.filters import ArtifactFilter, ArtifactFilterFlowRunId, ArtifactFilterType
from prefect.client.schemas.objects import State
from prefect.deployments import run_deployment
from prefect.exceptions import PrefectHTTPStatusError
from prefect.states import Cancelling

from cxr_core.errors import MachineError, UsageError
from flows.servers import how_to_resume
from flows.showing import say
from tasks.progress import tell

_POLL_SECONDS = 1.0
_UNHURRIED = 15.0  # seconds until a run that nobody takes is worth a word
_STOP_SECONDS = 30.0
_PATHS = ("data", "profile_file", "weights", "onnx")


def submit(name: str, parameters: Mapping[str, Any]) -> UUID:
    """Start deployment ``name`` on the server that Prefect is set to; returns the flow run's id.

    Raises:
        UsageError: the server refuses the parameters.
    """
    given = _for_another_folder(parameters)
    try:
        run: Any = run_deployment(f"{name}/{name}", parameters=given, timeout=0, as_subflow=False)
    except PrefectHTTPStatusError as error:
        raise UsageError(f"the server refuses this run: {_detail(error)}") from error
    return UUID(str(run.id))


def _detail(error: PrefectHTTPStatusError) -> str:
    try:
        return str(error.response.json()["detail"])
    except (ValueError, KeyError, TypeError):
        return str(error)


def follow(run_id: UUID) -> State[Any]:
    """Watch a flow run until it ends, showing its progress; interrupted, it is cancelled.

    Raises:
        MachineError: the server went away.
        KeyboardInterrupt: Ctrl-C or SIGTERM; the run has been cancelled and its children are gone.
    """
    with get_client(sync_client=True) as client:
        try:
            return ended(client, run_id, _watching(client, run_id))
        except httpx.HTTPError as error:
            raise MachineError(
                f"the server no longer answers ({error}); the run may go on: look again once it is up, with cxr report"
            ) from error
        except KeyboardInterrupt:
            client.set_flow_run_state(run_id, Cancelling())  # refused, rightly, if it has just ended
            deadline = time.monotonic() + _STOP_SECONDS
            while not _is_final(client, run_id) and time.monotonic() < deadline:
                time.sleep(_POLL_SECONDS / 2)
            raise


def ended(
    client: SyncPrefectClient,
    run_id: UUID,
    meanwhile: Callable[[State[Any] | None], None],
    every: float = _POLL_SECONDS,
) -> State[Any]:
    """Wait for a flow run's end; ``meanwhile`` is given its state ``every`` so many seconds."""
    while True:
        state: State[Any] | None = client.read_flow_run(run_id).state
        if state is not None and state.is_final():
            return state
        meanwhile(state)
        time.sleep(every)


def _watching(client: SyncPrefectClient, run_id: UUID) -> Callable[[State[Any] | None], None]:
    shown: set[UUID] = set()
    said = False
    began = time.monotonic()

    def look(state: State[Any] | None) -> None:
        nonlocal said
        if not said and state is not None and state.is_scheduled() and time.monotonic() - began > _UNHURRIED:
            said = True
            say(why_it_waits(client, run_id))
        _show(client, run_id, shown)

    return look


def _is_final(client: SyncPrefectClient, run_id: UUID) -> bool:
    state: State[Any] | None = client.read_flow_run(run_id).state
    return state is not None and state.is_final()


def why_it_waits(client: SyncPrefectClient, run_id: UUID) -> str:
    """In words, for a person who waits for a flow run that no worker has taken."""
    address = os.environ["PREFECT_API_URL"].removesuffix("/api")
    pool = client.read_flow_run(run_id).work_pool_name or "cxr"
    if client.read_work_pool(pool).is_paused:
        return f"waiting: the work pool {pool} is paused; {how_to_resume(address, pool)}"
    return "waiting for the worker, which may be busy with other runs"


def _show(client: SyncPrefectClient, run_id: UUID, shown: set[UUID]) -> None:
    wanted = ArtifactFilter(
        type=ArtifactFilterType(any_=["progress"]), flow_run_id=ArtifactFilterFlowRunId(any_=[run_id])
    )
    for artifact in client.read_artifacts(artifact_filter=wanted):
        if artifact.id in shown:
            continue
        label, _, text = (artifact.description or "").partition(": ")
        percent = float(artifact.data or 0)  # type: ignore[arg-type]
        if percent >= 100:
            shown.add(artifact.id)
            tell(label, 0, 0, "")
        else:
            tell(label, round(percent * 10), 1000, text)


def _for_another_folder(parameters: Mapping[str, Any]) -> dict[str, Any]:
    """The worker stands in another folder: paths in full."""
    given = dict(parameters)
    for name in _PATHS:
        if given.get(name) and given[name] != "phantom":
            given[name] = str(Path(given[name]).absolute())
    return given
