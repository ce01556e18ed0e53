"""``report.json``: its shape, and how it is made of a comparison, a checkpoint and what failed."""

from collections.abc import Sequence
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field, JsonValue

from cxr_core.evaluation.drift import Drift
from cxr_core.evaluation.power import Power
from cxr_core.evaluation.rows import Assessment, Choice, Comparison, Row, TestCounts
from cxr_core.evaluation.trials import Robustness
from cxr_core.graphs.int8.found import Found
from cxr_core.refs import Frozen, Precision

INTENDED_USE = (
    "Research only, not a medical device. The published radiographs are of children of 1 to 5 years from one hospital; "
    "how a model does on other ages, hospitals or views is unknown. No figure here supports a decision about a patient."
)


class DataFacts(Frozen):
    """Where the images come from, and how many there are of what. ``digest`` names the data set."""

    source: Literal["published", "flat", "phantom"]
    counts: dict[str, JsonValue] = Field(default_factory=dict)
    digest: str | None = None


class ModelFacts(BaseModel):
    """What is told of the checkpoint, which holds more."""

    model_config = ConfigDict(frozen=True, extra="ignore", protected_namespaces=())

    model: str
    size: int
    labels: tuple[str, str]
    threshold: float
    temperature: float
    flip_average: bool | None = None
    pretrained: str = "unknown"
    images_seen: int | None = None
    weights_digest: str = ""
    validation: dict[str, JsonValue] = Field(default_factory=dict)


class RunHeader(Frozen):
    """What the artifacts do not say themselves.

    ``looks_at_test``: distinct checkpoints ever evaluated on this test split, this one included.
    ``model``: for a graph that was brought, which has no checkpoint.
    """

    profile: str
    data: DataFacts | None = None
    looks_at_test: int | None = None
    model: ModelFacts | None = None


class Failure(Frozen):
    """A stage that broke. Of one branch if precision and backend are named, else of the whole run.

    ``error`` is the name of the error's class.
    """

    stage: str
    message: str
    precision: Precision | None = None
    backend: str | None = None
    error: str | None = None


class Report(Frozen):
    """``report.json``. A pure function of the records: no run, time, host or path in it.

    ``limits``: what these figures do not show, see ``cxr_core.report.limits``.
    """

    schema_version: Literal[1] = 1
    state: Literal["completed", "failed"]
    profile: str
    data: DataFacts | None
    model: ModelFacts | None
    rows: tuple[Row, ...]
    recommended: Choice | None
    recommended_by_backend: tuple[Choice, ...]
    looks_at_test: int | None
    warnings: tuple[str, ...]
    shortcuts: dict[str, JsonValue]
    failures: tuple[Failure, ...]
    drift: tuple[Drift, ...]
    test: TestCounts | None
    reference: Assessment | None
    gate: str | None
    budgets: dict[str, float]
    power: Power | None
    parity: dict[str, JsonValue]
    robustness: Robustness | None = None
    limits: tuple[str, ...] = ()
    int8: Found | None = None
    intended_use: str = INTENDED_USE


def document(
    run: RunHeader,
    comparison: Comparison | None,
    model: ModelFacts | None,
    parity: dict[str, JsonValue],
    failures: Sequence[Failure],
    drift: Sequence[Drift] = (),
    robustness: Robustness | None = None,
    int8: Found | None = None,
) -> Report:
    """The report of a run, however far it came. Rows of failed branches are added where compare has none."""
    compared = comparison.rows if comparison else ()
    rows = (*compared, *_rows_of_failures(failures, compared))
    broken = bool(failures) or comparison is None or any(detail.state == "failed" for detail in comparison.details)
    return Report(
        state="failed" if broken else "completed",
        profile=run.profile,
        data=run.data,
        model=model or run.model,
        rows=rows,
        recommended=comparison.recommended if comparison else None,
        recommended_by_backend=comparison.recommended_by_backend if comparison else (),
        looks_at_test=run.looks_at_test,
        warnings=comparison.warnings if comparison else (),
        shortcuts=comparison.shortcuts if comparison else {},
        failures=tuple(failures),
        drift=tuple(drift),
        test=comparison.counts if comparison else None,
        reference=comparison.reference if comparison else None,
        gate=comparison.gate if comparison else None,
        budgets=comparison.budgets if comparison else {},
        power=comparison.power if comparison else None,
        parity=parity,
        robustness=robustness,
        int8=int8,
    )


def _rows_of_failures(failures: Sequence[Failure], compared: Sequence[Row]) -> tuple[Row, ...]:
    there = {(row.precision, row.backend) for row in compared}
    rows: dict[tuple[Precision, str], Row] = {}
    for failure in failures:
        if failure.precision is None or failure.backend is None:
            continue
        name = (failure.precision, failure.backend)
        if name not in there and name not in rows:
            reason = f"{failure.stage}: {failure.message}"
            rows[name] = Row(precision=failure.precision, backend=failure.backend, reason=reason)
    return tuple(rows.values())
