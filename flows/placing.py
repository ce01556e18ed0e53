"""Parts of a run that its profile places in other work pools: sent there as flow runs, taken back through the mirror.

A part is asked for over Prefect and answers with an account in the mirror, as any run's, under the id of its own
flow run. An id is used once, so nothing that stands in the mirror under another name or from another time is taken
for the answer.
"""

import difflib
import hashlib
import json
import time
from collections.abc import Callable, Collection, Mapping
from contextlib import suppress
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from functools import cache
from typing import Any
from uuid import UUID, uuid4

import httpx
from prefect import get_run_logger
from prefect.client.orchestration import SyncPrefectClient, get_client
from prefect.client.schemas.filters import FlowFilter, FlowFilterName
from prefect.client.schemas.objects import State
from prefect.context import FlowRunContext
from prefect.deployments import run_deployment
from prefect.states import Cancelling

from cxr_core.code import code_digests
from cxr_core.errors import BranchError, MachineError, MirrorError, MissingArtifact, UsageError
from cxr_core.mirror import Document, Mirror, Report, pull_run, push
from flows import runs
from flows.inputs import Inputs, Part, cannot
from flows.ledger import Ledger
from flows.registering import workers_of
from flows.settings import POOL, PROJECT
from flows.submitting import ended, why_it_waits
from tasks.mirroring import mirror_url
from tasks.place import current_store

PART = "part"
"""The flow that computes a part; its deployments have the names of their pools."""

PATIENCE = 60.0
"""Seconds that a part waits in a pool without a worker. Prefect takes 90 s more to notice that one has died."""

_POLL_SECONDS = 2.0
_UNHURRIED = 30.0  # seconds until a part that nobody takes is worth a word


def own_pool() -> str | None:
    """The work pool that this flow run is in; None for one that no worker runs."""
    context = FlowRunContext.get()
    return context.flow_run.work_pool_name if context and context.flow_run else None


def check(inputs: Inputs) -> list[str]:
    """Say before the first stage what would stop a part from being sent; returns what its machine cannot run.

    Raises:
        UsageError: this worker has no mirror, or nobody has ever joined a pool.
        MirrorError: the mirror cannot be reached.
    """
    pools = inputs.pools
    if not pools:
        return []
    needed_mirror().format()
    with get_client(sync_client=True) as client:
        parts = client.read_deployments(flow_filter=FlowFilter(name=FlowFilterName(any_=[PART])))
    refuse_unknown(pools, {part.name for part in parts})
    told = {part.name: part.description or "" for part in parts}.get(pools.get("engines", ""), "")
    asked = [cannot(backend, p) for backend in inputs.profile.backends for p in inputs.profile.precisions]
    return [f"in pool {pools['engines']}, {line}" for line in told.splitlines() if line.partition(": ")[0] in asked]


def refuse_unknown(pools: Mapping[Part, str], joined: Collection[str]) -> None:
    """Every pool has been joined at least once.

    Raises:
        UsageError: one has not; the message says how to.
    """
    for part, pool in pools.items():
        if pool not in joined:
            if pool == POOL:  # of a run in a terminal, which is in no pool
                raise UsageError(
                    f"placement.{part}: {pool} is the pool of `cxr serve`, and this run is not in it; leave the field "
                    "blank, or start `cxr serve` with this CXR_STORE: the run is then given to its worker"
                )
            near = difflib.get_close_matches(pool, joined, n=1)
            hint = f"did you mean {near[0]}?" if near else f"joined are {', '.join(sorted(joined)) or 'none'}."
            raise UsageError(f"placement.{part}: no machine has joined work pool {pool}; {hint} {_how_to_join(pool)}")


def needed_mirror() -> Mirror:
    """The mirror through which the machines of a placement exchange artifacts.

    Raises:
        UsageError: ``CXR_MIRROR`` is not set, or no address of a mirror.
    """
    url = mirror_url()
    if url is None:
        raise UsageError(
            "a placement needs a mirror, through which artifacts travel, and this process has none: start `cxr serve` "
            "and every `cxr worker` with the same CXR_MIRROR, such as file:///mnt/nas/cxr or s3://bucket/prefix"
        )
    return Mirror.at(url)


@cache
def code() -> str:
    """The digest of all code that decides keys and results: two machines with the same compute the same."""
    files = sorted(file for room in ("cxr_core", "tasks", "flows") for file in (PROJECT / room).rglob("*.py"))
    modules = [".".join(file.relative_to(PROJECT).with_suffix("").parts) for file in files]
    return hashlib.sha256(json.dumps(code_digests(modules)).encode()).hexdigest()


def compute_there(run: runs.Run, part: Part, spine: str | None = None) -> tuple[str, dict[str, Any]]:
    """Have a part computed in its pool; returns the id of its account, and the account.

    Args:
        run: The run that it is a part of.
        part: Which one.
        spine: The id of the account with the stages before it, which must be in the mirror.

    Raises:
        MachineError: the pool has no worker.
        BranchError: the part came to nothing; the message is its flow run's.
        StoreError: what it left did not come through the mirror.
    """
    pool = run.inputs.pools[part]
    asked = {
        "what": part,
        "run": run.run_id,
        "started": just_before(run.started),
        "age": (datetime.now(UTC) - datetime.fromisoformat(run.started)).total_seconds(),
        "settings": run.inputs.profile.model_dump(mode="json"),
        "parameters": json.loads(json.dumps(dict(run.parameters), default=str)),
        "code": code(),
        **({"spine": spine} if spine else {}),
    }
    sent: Any = run_deployment(f"{PART}/{pool}", parameters=asked, timeout=0, flow_run_name=f"{part} of {run.name}")
    get_run_logger().info("%s is computed in pool %s by flow run %s", part, pool, sent.id)
    state = _follow(sent.id, part, pool)
    try:
        return str(sent.id), take(str(sent.id))
    except MissingArtifact as error:
        if state.is_completed():
            raise MirrorError(
                f"{error}, where {part} in pool {pool} has left it: is CXR_MIRROR the same there?"
            ) from error
        raise BranchError(f"{part} in pool {pool} ended as {state.name}: {state.message}") from error


def hand_over(run: runs.Run, ledger: Ledger) -> str:
    """Leave in the mirror what this run has computed here, for the part that needs it; returns that account's id."""
    handed = replace(run, run_id=str(uuid4()), started=just_before(run.started), earlier={})
    try:
        handed.finish(ledger, runs.Outcome())
        send(handed.run_id)
    finally:  # it is no run of this store, least of all one that completed
        current_store().drop_run(handed.run_id)
    return handed.run_id


def send(run_id: str) -> None:
    """Push a run's account, its records and what they name.

    Raises:
        StoreError: something did not go.
    """
    documents = {Document("runs", run_id), *(Document("actions", record.key) for record in runs.records_of(run_id))}
    report = push(current_store(), needed_mirror(), choose=lambda store: documents)
    if not report.runs:  # it goes last, and only after all that it names
        raise _stuck(run_id, report)


def take(run_id: str) -> dict[str, Any]:
    """A run's account from the mirror, with its records and all that they name; it becomes no new run of this store.

    Raises:
        MissingArtifact: the mirror has no such run.
        StoreError: something did not come.
    """
    store = current_store()
    own = any(run.run_id == run_id for run in store.runs())  # of a worker that shares this store
    report = pull_run(store, needed_mirror(), run_id)
    try:
        account = store.read_run(run_id)
    except UsageError:
        raise _stuck(run_id, report) from None
    if not own:
        store.drop_run(run_id)  # its artifacts stay by the lease of the run that takes them
    return account


def just_before(started: str) -> str:
    """For the account of a part, so that a store which comes to hold both takes the run itself for the latest."""
    return (datetime.fromisoformat(started) - timedelta(microseconds=1)).isoformat(timespec="microseconds")


def _stuck(run_id: str, report: Report) -> MirrorError:
    said = "; ".join(f"{left.what}: {left.reason} (mend it {left.mend})" for left in report.left[:5])
    return MirrorError(f"the account {run_id} did not pass the mirror: {said}. Then Retry")


def _how_to_join(pool: str) -> str:
    return f"On the machine that is to work for it: CXR_MIRROR=... cxr worker {pool} --api URL; then Retry"


def _follow(run_id: UUID, part: Part, pool: str) -> State[Any]:
    """Wait for the part's end; if this run stops waiting, the part is cancelled."""
    with get_client(sync_client=True) as client:
        try:
            return ended(client, run_id, _patience(client, run_id, part, pool), _POLL_SECONDS)
        except BaseException:
            with suppress(httpx.HTTPError):  # a server that is gone must not hide why
                client.set_flow_run_state(run_id, Cancelling())  # one that no worker has taken is Cancelled at once
            raise


def _patience(client: SyncPrefectClient, run_id: UUID, part: Part, pool: str) -> Callable[[State[Any] | None], None]:
    """With a part that nobody takes: long where its pool has a worker, and then with a word; else it has an end."""
    began = seen = time.monotonic()
    told = False

    def look(state: State[Any] | None) -> None:
        nonlocal seen, told
        now, waits = time.monotonic(), state is None or state.is_scheduled() or state.is_pending()
        if not waits or any(worker["status"] == "ONLINE" for worker in workers_of(client, pool)):
            seen = now
        if waits and now - seen > PATIENCE:
            raise MachineError(
                f"{part} waited {PATIENCE:g} s in pool {pool}, which has no worker. {_how_to_join(pool)}"
            )
        if waits and not told and now - began > _UNHURRIED:
            told = True
            get_run_logger().warning("%s in pool %s: %s", part, pool, why_it_waits(client, run_id))

    return look
