"""A part of a run that another work pool has begun: computed here, in this machine's store, and left in the mirror."""

from collections.abc import Mapping
from typing import Any

from prefect import flow, get_run_logger
from prefect.client.orchestration import get_client
from prefect.client.schemas.objects import State
from prefect.runtime import flow_run
from prefect.states import Completed, Failed
from prefect.types.entrypoint import EntrypointType

from cxr_core import __version__
from cxr_core.config import Profile, profile_from_mapping
from cxr_core.errors import MachineError
from flows import placing, runs
from flows.inputs import ELSEWHERE, Inputs, Part, incapable, located, unsupported
from flows.ledger import Ledger
from flows.pipeline import THREADS, Spine, Work, accounted
from flows.registering import make_pool
from flows.settings import PROJECT
from tasks.place import current_store

_ABOUT = "A part of a run whose profile places it in this pool. Started by that run, never by hand."


@flow(name=placing.PART, task_runner=THREADS, persist_result=False)
def part(
    what: Part,
    run: str,
    started: str,
    age: float,
    settings: dict[str, Any],
    parameters: dict[str, Any],
    code: str,
    spine: str | None = None,
) -> State[Any]:
    """Compute one part of a run; started by that run, never by a person.

    Args:
        what: train (from the radiographs to a graph that passed the gate), or engines (every branch).
        run: The run's id.
        started: When it started, by its machine's clock.
        age: Seconds from then until it asked: no record older than that, by this machine's clock, is computed anew.
        settings: Its profile.
        parameters: Its parameters; paths are of this machine.
        code: The digest of its machine's code.
        spine: For engines, the id of the account in the mirror with the stages before them.
    """
    placing.needed_mirror()
    if code != placing.code():
        raise MachineError(
            f"this worker's code ({PROJECT}, cxr {__version__}, {placing.code()[:12]}) is not that of the run that "
            f"asks ({code[:12]}), so their keys would differ: bring both machines to the same commit, then Retry"
        )
    profile = profile_from_mapping(settings, f"of run {run}")
    with current_store().lease(f"{what} of run {run}"):
        began = runs.begin(
            str(flow_run.id), str(flow_run.name), _inputs(what, profile, parameters), parameters, started, age
        )
        return _leased(what, began, spine)


def deploy(pool: str, environment: Mapping[str, str]) -> None:
    """The pool and its deployment of ``part`` are on the server that Prefect is set to.

    The deployment's description says what this machine cannot run, so that a run can tell before it trains.

    Raises:
        MachineError: Prefect refused; the message is its own.
    """
    with get_client(sync_client=True) as client:
        make_pool(client, pool, environment)
    # By the module's name: where its file is, and its store, are the affair of whoever works for the pool.
    deployed: Any = part.to_deployment(
        pool, tags=["cxr"], version=__version__, work_pool_name=pool, entrypoint_type=EntrypointType.MODULE_PATH,
        description="\n".join([_ABOUT, *incapable()]),
    )  # fmt: skip
    deployed.apply()


def _inputs(what: Part, profile: Profile, parameters: Mapping[str, Any]) -> Inputs:
    if what == "train":
        return located(profile, parameters["data"], parameters["weights"], parameters["onnx"], {})
    return Inputs(profile, ELSEWHERE, "read by the machine that trains", current_store().root)


def _leased(what: Part, run: runs.Run, spine: str | None) -> State[Any]:
    work = Work(run, Ledger())
    with accounted(run):
        if what == "train":
            problem = work.attempt(work.shared_stages)
        else:
            for text in unsupported(run.inputs.profile):
                get_run_logger().warning(text)
            given = Spine.of(Ledger().adopt(placing.take(str(spine))))
            problem = work.attempt(lambda: work.engines(given))
        summary = run.finish(
            work.ledger,
            runs.Outcome(problem=problem, failures=work.ledger.failures()),
            outcomes=[outcome.model_dump(mode="json") for outcome in work.outcomes],
        )
    placing.send(run.run_id)
    if summary["state"] == "failed":
        return Failed(message=str(summary["message"]))
    return Completed(message="its account is in the mirror")
