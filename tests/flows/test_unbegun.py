"""A run that a worker had taken and not begun when it died, on a real Prefect server."""

import uuid
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta

import pytest
from prefect import flow
from prefect.client.orchestration import SyncPrefectClient, get_client
from prefect.client.schemas.actions import WorkPoolCreate
from prefect.client.schemas.objects import FlowRun
from prefect.states import Pending
from prefect.types.entrypoint import EntrypointType

from flows.registering import release_unbegun

pytestmark = pytest.mark.slow  # starts a server

WORKER = "nightly@here"


@flow
def night() -> None:
    """Never run."""


@pytest.fixture
def two(prefect_server: None) -> Iterator[tuple[SyncPrefectClient, str, FlowRun, FlowRun]]:
    """Two runs of a deployment that has room for one at once; the first has been taken, the second waits for it."""
    pool = f"pool-{uuid.uuid4()}"
    with get_client(sync_client=True) as client:
        client.create_work_pool(WorkPoolCreate(name=pool, type="process"))
        night.to_deployment(
            pool, work_pool_name=pool, concurrency_limit=1, entrypoint_type=EntrypointType.MODULE_PATH
        ).apply()  # type: ignore[union-attr]
        deployment = client.read_deployment_by_name(f"night/{pool}")
        first, second = (client.create_flow_run_from_deployment(deployment.id) for _ in range(2))
        assert [_take(client, run) for run in (first, second)] == ["Submitting", "AwaitingConcurrencySlot"]
        yield client, pool, first, second


def _take(client: SyncPrefectClient, run: FlowRun) -> str:
    """The name of the state that it is in after a worker has asked for it."""
    client.set_flow_run_state(run.id, Pending(name="Submitting"))
    state = client.read_flow_run(run.id).state
    assert state is not None
    return str(state.name)


def _after(seconds: float) -> datetime:
    return datetime.now(UTC) + timedelta(seconds=seconds)


def test_it_is_free_again_and_so_is_its_place(two: tuple[SyncPrefectClient, str, FlowRun, FlowRun]) -> None:
    client, pool, first, second = two
    release_unbegun(pool, WORKER, _after(1))
    state = client.read_flow_run(first.id).state
    assert state is not None and (state.name, state.message) == (
        "Scheduled",
        "the worker that had taken it ended before it began",
    )
    assert _take(client, second) == "Submitting"


def test_one_that_has_a_process_or_was_taken_since_or_may_be_another_worker_s_is_left(
    two: tuple[SyncPrefectClient, str, FlowRun, FlowRun],
) -> None:
    client, pool, first, second = two
    release_unbegun(pool, WORKER, _after(-60))
    assert _take(client, second) == "AwaitingConcurrencySlot"
    heartbeat = f"/work_pools/{pool}/workers/heartbeat"
    client.request("POST", heartbeat, json={"name": "nightly@elsewhere"})  # type: ignore[arg-type]
    release_unbegun(pool, WORKER, _after(1))
    assert _take(client, second) == "AwaitingConcurrencySlot"
    client.request("DELETE", f"/work_pools/{pool}/workers/nightly@elsewhere")  # type: ignore[arg-type]
    client.update_flow_run(first.id, infrastructure_pid="here:4711")
    release_unbegun(pool, WORKER, _after(1))
    assert _take(client, second) == "AwaitingConcurrencySlot"
