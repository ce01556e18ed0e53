"""One failed precision branch is redone alone: the run's own parameters once more, with that branch computed anew."""

from typing import Annotated, Any

from prefect import flow
from prefect.client.schemas.objects import State
from prefect.runtime import flow_run

from cxr_core.errors import UsageError
from cxr_core.refs import Precision
from flows.form import BackendName, Blank
from flows.pipeline import pipeline_body
from flows.runs import read_summary
from tasks.place import current_store


def parameters_of_branch(precision: Precision, backend: str | None = None, run: str = "latest") -> dict[str, Any]:
    """The parameters of ``pipeline`` that redo one branch of a run.

    A branch without a valid record is computed anyway; one that has passed is refreshed, as asked.

    Raises:
        UsageError: no such run, or the run had no such branch.
    """
    summary = read_summary(run)
    branches = [(row["precision"], row["backend"]) for row in summary["branches"]]
    chosen = [f"{p}@{b}" for p, b in branches if p == precision and backend in (None, b)]
    if not chosen:
        known = ", ".join(f"{p}@{b}" for p, b in branches)
        raise UsageError(
            f"run {summary['run_id']} has no branch {precision}@{backend or 'any backend'}; it has {known}"
        )
    return {**summary["parameters"], "refresh": chosen, "rebuild": "nothing"}


@flow(name="precision-branch", persist_result=False)
def precision_branch(
    precision: Precision, backend: Annotated[BackendName | None, Blank()] = None, run: str = "latest"
) -> State[Any]:
    """Redo one precision branch of a run; everything else is taken from the store.

    Args:
        precision: The branch's precision.
        backend: The branch's backend; none means each backend of the run.
        run: The run's id, or latest.
    """
    own = str(flow_run.id)
    if any(known.run_id == own for known in current_store().runs()):
        run = own  # a retry goes on with what it began, whatever is latest by now
    return pipeline_body(parameters_of_branch(precision, backend, run))
