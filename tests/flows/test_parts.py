"""Parts as flow runs of a real Prefect server: how they are sent, waited for and given up. What works there is us."""

import _thread
import logging
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from prefect.client.orchestration import SyncPrefectClient, get_client
from prefect.client.schemas.actions import WorkPoolCreate, WorkPoolUpdate
from prefect.client.schemas.filters import FlowRunFilter, FlowRunFilterName
from prefect.client.schemas.objects import FlowRun
from prefect.exceptions import ObjectNotFound
from prefect.settings import PREFECT_API_URL
from prefect.states import Completed, Crashed, Running

from cxr_core.errors import BranchError, MachineError, MirrorError, UsageError
from flows import placing, runs
from flows.inputs import Inputs, settle
from flows.part import deploy

pytestmark = pytest.mark.slow  # starts a server

POOL = "nvidia"
Acting = Callable[[SyncPrefectClient, FlowRun], object]


@pytest.fixture
def client(prefect_server: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[SyncPrefectClient]:
    """Of a server on which a machine has joined the pool; its worker is not up."""
    monkeypatch.setenv("CXR_STORE", str(tmp_path / "store"))
    monkeypatch.setenv("CXR_MIRROR", f"file://{tmp_path}/mirror")
    monkeypatch.setenv("PREFECT_API_URL", str(PREFECT_API_URL.value()))
    monkeypatch.setattr(placing, "get_run_logger", lambda: logging.getLogger("placing"))  # there is no flow here
    monkeypatch.setattr(placing, "_POLL_SECONDS", 0.05)
    with get_client(sync_client=True) as found:
        try:
            found.read_work_pool(POOL)
        except ObjectNotFound:
            found.create_work_pool(WorkPoolCreate(name=POOL, type="process"))
            deploy(POOL, {})
        yield found


@pytest.fixture
def words(caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch) -> Callable[[], list[str]]:
    """Warnings that the run has given so far; it is in a hurry."""
    monkeypatch.setattr(placing, "_UNHURRIED", 0.0)
    caplog.set_level(logging.WARNING, "placing")
    return lambda: [record.getMessage() for record in caplog.records if record.levelno == logging.WARNING]


def _inputs(pool: str = POOL) -> Inputs:
    overrides = {"placement": {"engines": pool}, "precisions": ["fp32", "tf32"], "backends": ["onnxruntime"]}
    return settle(profile="smoke", data="phantom", overrides=overrides)


def _compute(name: str, elsewhere: Acting) -> None:
    """Send a part, and let happen what happens elsewhere once it is there."""
    wanted = FlowRunFilter(name=FlowRunFilterName(any_=[f"engines of {name}"]))

    def act() -> None:
        with get_client(sync_client=True) as client:
            while not (sent := client.read_flow_runs(flow_run_filter=wanted)):
                time.sleep(0.05)
            elsewhere(client, sent[0])

    acting = threading.Thread(target=act, daemon=True)
    acting.start()
    try:
        placing.compute_there(runs.begin(name, name, _inputs(), {"refresh": None}), "engines", spine="of it")
    finally:
        acting.join()


def test_what_the_machine_of_a_pool_cannot_run_is_told_before_anything_is_sent(client: SyncPrefectClient) -> None:
    [told] = placing.check(_inputs())
    assert told.startswith("in pool nvidia, onnxruntime cannot run tf32: ")
    with pytest.raises(UsageError, match="did you mean nvidia"):
        placing.check(_inputs("nvdia"))


def test_a_part_is_asked_with_all_that_it_needs_and_its_crash_is_the_run_s_failure(client: SyncPrefectClient) -> None:
    sent: list[FlowRun] = []

    def die(other: SyncPrefectClient, run: FlowRun) -> None:
        sent.append(run)
        other.set_flow_run_state(run.id, Running(), force=True)
        other.set_flow_run_state(run.id, Crashed(message="no sign of life"), force=True)

    with pytest.raises(BranchError, match="engines in pool nvidia ended as Crashed: no sign of life"):
        _compute("dies", die)
    asked: dict[str, Any] = sent[0].parameters
    assert (sent[0].work_pool_name, asked["what"], asked["spine"]) == (POOL, "engines", "of it")
    assert (asked["code"], asked["run"], asked["parameters"]) == (placing.code(), "dies", {"refresh": None})
    assert asked["age"] >= 0


def test_a_part_that_left_its_account_in_another_mirror_is_told_so(client: SyncPrefectClient) -> None:
    with pytest.raises(MirrorError, match=r"has no run .*, where engines in pool nvidia has left it: is CXR_MIRROR"):
        _compute("lost", lambda other, run: other.set_flow_run_state(run.id, Completed(), force=True))


@pytest.mark.parametrize(("paused", "why"), [(True, "the work pool nvidia is paused"), (False, "may be busy")])
def test_a_part_that_nobody_takes_is_worth_a_word(
    client: SyncPrefectClient, words: Callable[[], list[str]], paused: bool, why: str
) -> None:
    def end(other: SyncPrefectClient, run: FlowRun) -> None:
        _until(words)
        other.set_flow_run_state(run.id, Crashed(message="enough"), force=True)

    client.update_work_pool(POOL, WorkPoolUpdate(is_paused=paused))
    try:
        with pytest.raises(BranchError, match="enough"):
            _compute(f"waits-{paused}", end)
    finally:
        client.update_work_pool(POOL, WorkPoolUpdate(is_paused=False))
    [said] = words()
    assert said.startswith("engines in pool nvidia: waiting")
    assert why in said


def test_a_pool_without_a_worker_has_the_part_for_so_long_and_no_longer(
    client: SyncPrefectClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(placing, "PATIENCE", 0.0)
    sent: list[FlowRun] = []
    with pytest.raises(MachineError, match=r"which has no worker\..*cxr worker nvidia --api"):
        _compute("alone", lambda other, run: sent.append(run))
    assert _state(client, sent[0]) == "Cancelled"


@pytest.mark.parametrize(("works", "becomes"), [(False, "Cancelled"), (True, "Cancelling")])
def test_a_run_that_is_stopped_cancels_its_part(
    client: SyncPrefectClient, words: Callable[[], list[str]], works: bool, becomes: str
) -> None:
    sent: list[FlowRun] = []

    def stop(other: SyncPrefectClient, run: FlowRun) -> None:
        sent.append(run)
        _until(words)  # the run has begun to wait
        if works:
            other.set_flow_run_state(run.id, Running(), force=True)
        _thread.interrupt_main()  # as the worker does it, by a signal

    with pytest.raises(KeyboardInterrupt):
        _compute(f"stops-{works}", stop)
    assert _state(client, sent[0]) == becomes


def _until(words: Callable[[], list[str]]) -> None:
    while not words():
        time.sleep(0.05)


def _state(client: SyncPrefectClient, run: FlowRun) -> str | None:
    state = client.read_flow_run(run.id).state
    return state.name if state else None
