"""What ``cxr serve`` leaves on the server: work pool, deployments, schedules. A person's changes to schedules stay."""

import hashlib
import json
import os
import subprocess
import sys
from collections.abc import Mapping
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from prefect.client.orchestration import SyncPrefectClient, get_client
from prefect.client.schemas.actions import DeploymentScheduleCreate, DeploymentUpdate
from prefect.client.schemas.filters import (
    DeploymentFilter,
    DeploymentFilterName,
    FlowRunFilter,
    FlowRunFilterExpectedStartTime,
    FlowRunFilterState,
    FlowRunFilterStateName,
    FlowRunFilterStateType,
    WorkPoolFilter,
    WorkPoolFilterName,
)
from prefect.client.schemas.objects import DeploymentSchedule, FlowRun, StateType
from prefect.client.schemas.responses import DeploymentResponse
from prefect.exceptions import ObjectNotFound
from prefect.states import Cancelled, Crashed, Scheduled
from pydantic import TypeAdapter

from cxr_core import __version__
from cxr_core.errors import MachineError
from flows import settings
from flows.automating import automate
from flows.form import BackendName, Overrides, ProfileName
from flows.settings import POOL, WORKER

DEPLOYMENTS = ("full/full", "full/nightly", "precision-branch/precision-branch")
NIGHTLY = "full/nightly"
_FILE = settings.PROJECT / "deployments" / "prefect.yaml"
_MISSED = timedelta(seconds=60)


def register(environment: Mapping[str, str], notify: str | None = None) -> None:
    """Pool, deployments, schedules and automations are there and as this version wants them; nothing is done twice.

    Raises:
        MachineError: Prefect refused; the message is its own.
        UsageError: no such notification block.
    """
    environment = {"CXR_TIMEZONE": _time_zone(), "CXR_REGISTERED_BY": __version__, **environment}
    version = _version(environment)
    with get_client(sync_client=True) as client:
        make_pool(client, POOL, environment)
        if any(found is None or found.version != version for found in map(_reader(client), DEPLOYMENTS)):
            before = _remembered_or(schedules(client))
            # The version becomes final last, so that a registration that was cut off is done again.
            _prefect(
                ["deploy", "--all", "--prefect-file", str(_FILE)], {**environment, "CXR_VERSION": f"{version}-begun"}
            )
            _mend_schemas(client)
            _restore(client, before)
            for name in DEPLOYMENTS:
                client.update_deployment(client.read_deployment_by_name(name).id, DeploymentUpdate(version=version))
            _before_file().unlink(missing_ok=True)
        automate(client, notify)
        _bury_dead(client)
        _skip_missed(client)


def tell_by(notify: str) -> None:
    """Notifications go through that block of the running server from now on.

    Raises:
        UsageError: no such block.
    """
    with get_client(sync_client=True) as client:
        automate(client, notify)


def schedules(client: SyncPrefectClient) -> list[DeploymentSchedule]:
    """Those of the deployment ``nightly``; empty where it is not registered."""
    found = _reader(client)(NIGHTLY)
    return sorted(found.schedules, key=lambda schedule: str(schedule.slug)) if found else []


def state_of_things() -> dict[str, Any]:
    """Workers of every pool, and whether the server's own pool is paused, as plain data."""
    with get_client(sync_client=True) as client:
        found = [worker for pool in client.read_work_pools() for worker in workers_of(client, pool.name)]
        workers = [{"name": worker["name"], "status": worker["status"].lower()} for worker in found]
        return {"paused": client.read_work_pool(POOL).is_paused, "workers": workers}


def workers_of(client: SyncPrefectClient, pool: str) -> list[dict[str, Any]]:
    """Every worker that a work pool has had, with its ``status``, as the server has it."""
    where = {"work_pool_name": pool}
    found = client.request("POST", "/work_pools/{work_pool_name}/workers/filter", path_params=where, json={})
    workers: list[dict[str, Any]] = found.json()
    return workers


def release_unbegun(pool: str, worker: str, since: datetime) -> None:
    """Runs that this worker had taken and not begun when it died are for the next one.

    As they stand they are Pending for ever, without a process and so without a heartbeat, and one night in that state
    holds the only place of all nights to come. ``since``: later ones are the next worker's.
    """
    with get_client(sync_client=True) as client:
        _release_unbegun(client, pool, worker, since)


def _reader(client: SyncPrefectClient) -> Any:
    def read(name: str) -> DeploymentResponse | None:
        with suppress(ObjectNotFound):
            return client.read_deployment_by_name(name)
        return None

    return read


def make_pool(client: SyncPrefectClient, name: str, environment: Mapping[str, str]) -> None:
    """A work pool of processes, if it is not there yet."""
    try:
        client.read_work_pool(name)
    except ObjectNotFound:
        _prefect(["work-pool", "create", name, "--type", "process"], environment)


def _version(environment: Mapping[str, str]) -> str:
    """Changes whenever what would be registered changes."""
    flows = sorted((settings.PROJECT / "flows").glob("*.py"))
    content = b"".join(file.read_bytes() for file in (_FILE, *flows))
    names = ("CXR_STORE", "CXR_PREFECT_HOME", "CXR_PROJECT", "CXR_DATA", "CXR_TIMEZONE")
    offered = [TypeAdapter(kind).json_schema() for kind in (Overrides, ProfileName, BackendName)]
    bound = json.dumps([offered, [environment[name] for name in names]], sort_keys=True)
    return f"{__version__}+{hashlib.sha256(content + bound.encode()).hexdigest()[:12]}"


def _prefect(arguments: list[str], environment: Mapping[str, str]) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "prefect", "--no-prompt", *arguments],
        env=dict(environment),
        cwd=settings.PROJECT,
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode:
        raise MachineError(f"prefect {' '.join(arguments)} failed:\n{done.stdout[-2000:]}{done.stderr[-2000:]}")


def _time_zone() -> str:
    import tzlocal

    return os.environ.get("CXR_TIMEZONE") or tzlocal.get_localzone_name() or "UTC"


def _mend_schemas(client: SyncPrefectClient) -> None:
    """Nulls are taken, and a parameter of an older release is refused when it is sent, not by the run's crash.

    A default of null in the schema makes Prefect refuse a null that is sent, so such defaults are left out.
    """
    for name in DEPLOYMENTS:
        deployment = client.read_deployment_by_name(name)
        schema: Any = deployment.parameter_openapi_schema
        for described in schema["properties"].values():
            # One that offers None as a choice takes it as it is.
            if "type" in described and described.get("default", ...) is None:
                del described["default"]
        schema["additionalProperties"] = False
        client.update_deployment(deployment.id, DeploymentUpdate(parameter_openapi_schema=schema))


def _restore(client: SyncPrefectClient, before: list[dict[str, Any]]) -> None:
    """Registering replaces all schedules; what a person has changed since the last time is changed again.

    What was registered last time stands in a file beside the server's address; what differs from that is a person's.
    """
    deployment = client.read_deployment_by_name(NIGHTLY)
    last = {one["slug"]: one for one in _read(_registered_file())}
    had = {one["slug"]: one for one in before if one["slug"]}
    now = {str(schedule.slug): schedule for schedule in deployment.schedules}
    _write(_registered_file(), [_plain(schedule) for schedule in deployment.schedules])
    for slug, schedule in now.items():
        if slug in last and slug not in had:
            client.delete_deployment_schedule(deployment.id, schedule.id)
        elif slug in had and had[slug] != last.get(slug):
            one = _schedule(had[slug])
            client.update_deployment_schedule(
                deployment.id, schedule.id, active=one.active, schedule=one.schedule, parameters=one.parameters
            )
    others = [one for one in before if not one["slug"] or (one["slug"] not in now and one["slug"] not in last)]
    if others:
        client.create_deployment_schedules(deployment.id, [_schedule(one) for one in others])


def _remembered_or(there: list[DeploymentSchedule]) -> list[dict[str, Any]]:
    """The schedules before a registration that was cut off; else as they are, remembered until this one is done."""
    if not _before_file().exists():
        _write(_before_file(), [_plain(schedule) for schedule in there])
    return _read(_before_file())


def _plain(schedule: DeploymentSchedule) -> dict[str, Any]:
    return schedule.model_dump(mode="json", include={"slug", "active", "schedule", "parameters"})


def _schedule(plain: Mapping[str, Any]) -> DeploymentScheduleCreate:
    return DeploymentScheduleCreate.model_validate(plain)


def _before_file() -> Path:
    return settings.prefect_home() / "schedules-before.json"


def _registered_file() -> Path:
    return settings.prefect_home() / "schedules-registered.json"


def _read(file: Path) -> list[dict[str, Any]]:
    try:
        found: list[dict[str, Any]] = json.loads(file.read_text(encoding="utf-8"))
        return found
    except (FileNotFoundError, ValueError):
        return []


def _write(file: Path, content: list[dict[str, Any]]) -> None:
    temporary = file.with_suffix(".new")
    temporary.write_text(json.dumps(content, indent=1), encoding="utf-8")
    temporary.replace(file)


def _skip_missed(client: SyncPrefectClient) -> None:
    """A night that passed while nothing was up is not caught up on."""
    late = client.read_flow_runs(
        deployment_filter=DeploymentFilter(name=DeploymentFilterName(any_=["nightly"])),
        flow_run_filter=FlowRunFilter(
            state=FlowRunFilterState(name=FlowRunFilterStateName(any_=["Scheduled", "Late"])),
            expected_start_time=FlowRunFilterExpectedStartTime(before_=datetime.now(UTC) - _MISSED),
        ),
    )
    for run in late:
        if run.auto_scheduled:
            client.set_flow_run_state(run.id, Cancelled(message="its time passed while the server was down"))


def _bury_dead(client: SyncPrefectClient) -> None:
    """A run whose process on this machine ended with the last server would stay Running for ever."""
    _release_unbegun(client, POOL, WORKER, datetime.now(UTC))
    for run in _taken(client, POOL, WORKER, StateType.RUNNING, StateType.PENDING, StateType.CANCELLING):
        number = (run.infrastructure_pid or "").rpartition(":")[2]
        if number and not Path(f"/proc/{number}").exists():
            message = "cxr serve ended while it ran. Retry goes on from the last finished stage."
            client.set_flow_run_state(run.id, Crashed(message=message), force=True)


def _release_unbegun(client: SyncPrefectClient, pool: str, worker: str, since: datetime) -> None:
    for run in _taken(client, pool, worker, StateType.PENDING):
        if not run.infrastructure_pid and run.state and run.state.timestamp < since:
            message = "the worker that had taken it ended before it began"
            client.set_flow_run_state(run.id, Scheduled(message=message), force=True)


def _taken(client: SyncPrefectClient, pool: str, worker: str, *states: StateType) -> list[FlowRun]:
    """The runs in these states that this worker has taken; none where others work for the pool too.

    A process number alone does not tell the machine: there the heartbeat has to tell.
    """
    if any(other["status"] == "ONLINE" and other["name"] != worker for other in workers_of(client, pool)):
        return []
    return client.read_flow_runs(
        work_pool_filter=WorkPoolFilter(name=WorkPoolFilterName(any_=[pool])),
        flow_run_filter=FlowRunFilter(state=FlowRunFilterState(type=FlowRunFilterStateType(any_=list(states)))),
    )
