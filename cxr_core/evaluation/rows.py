"""The shapes of the answer: a row of the decision table, what stands behind it, and the whole comparison."""

from typing import Literal

from pydantic import JsonValue

from cxr_core.evaluation.branches import Speed
from cxr_core.evaluation.cases import Case
from cxr_core.evaluation.curves import CalibrationBin, RocCurve
from cxr_core.evaluation.differences import Difference
from cxr_core.evaluation.intervals import Bounds, Interval
from cxr_core.evaluation.metrics import Metrics, Rate
from cxr_core.evaluation.paired import Paired
from cxr_core.evaluation.power import Power
from cxr_core.evaluation.subgroups import Subgroup
from cxr_core.evaluation.verdicts import Verdict
from cxr_core.refs import Digest, Frozen, Precision


class Latency(Frozen):
    """Milliseconds a single query. A percentile that the count does not carry is None."""

    p50: float | None
    p90: float | None
    p99: float | None
    count: int | None


class Row(Frozen):
    """One row of the decision table. What a failed or unsupported branch lacks is None.

    ``verdict`` is None when the branch broke before it could be judged; ``reason`` then is its error.
    """

    precision: Precision
    backend: str
    device: str | None = None
    effective_precision: str | None = None
    effective: dict[str, float] | None = None
    engine_digest: Digest | None = None
    engine_bytes: int | None = None
    images_per_second: float | None = None
    ratio_to_reference: Interval | None = None
    latency_ms: Latency | None = None
    accuracy: Rate | None = None
    accuracy_interval: Bounds | None = None
    auc: Rate | None = None
    auc_interval: Bounds | None = None
    sensitivity: Rate | None = None
    specificity: Rate | None = None
    ppv: Rate | None = None
    f1: Rate | None = None
    ece: Rate | None = None
    agreement_with_fp32: Rate | None = None
    flips: int | None = None
    mean_abs_dp: float | None = None
    mcnemar_p: Rate | None = None
    delong_p: Rate | None = None
    accuracy_difference: Difference | None = None
    sensitivity_difference: Difference | None = None
    specificity_difference: Difference | None = None
    auc_difference: Difference | None = None
    ece_difference: Interval | None = None
    verdict: Verdict | None = None
    reason: str = ""

    @property
    def fake(self) -> bool:
        """Whether a test double made this row."""
        return (self.device or "").startswith("FAKE")


class Assessment(Frozen):
    """Everything said about one set of answers.

    Intervals are two-sided, 95 %, by patients: of a share ``share_interval``, of the AUC ``auc_interval``.
    """

    metrics: Metrics
    accuracy_interval: Bounds
    sensitivity_interval: Bounds | None
    specificity_interval: Bounds | None
    auc_interval: Bounds
    roc: RocCurve
    calibration: tuple[CalibrationBin, ...]
    subgroups: tuple[Subgroup, ...]


class Detail(Frozen):
    """What stands behind the row of the same precision and backend."""

    precision: Precision
    backend: str
    state: Literal["done", "failed", "unsupported"]
    fake: bool = False
    support: str | None = None
    note: str = ""
    speed: Speed | None = None
    paired: Paired | None = None
    assessment: Assessment | None = None


class Choice(Frozen):
    """A precision of a backend."""

    precision: Precision
    backend: str


class TestCounts(Frozen):
    """What was measured on: counts of the test split, and images of every split."""

    __test__ = False  # its name begins with Test, but it is none

    images: int
    patients: int
    normal: int
    pneumonia: int
    kinds: dict[str, int]
    splits: dict[str, int]


class Comparison(Frozen):
    """``comparison.json``. Holds no path, no time and no host.

    ``disagreements`` and ``worst``: the first few images of each, named as in the data set; ``disagreeing`` counts all
    of the first (None in a file from before they were told).
    """

    schema_version: Literal[1] = 1
    threshold: float
    counts: TestCounts
    reference: Assessment
    rows: tuple[Row, ...]
    details: tuple[Detail, ...]
    recommended: Choice | None
    recommended_by_backend: tuple[Choice, ...]
    gate: str
    budgets: dict[str, float]
    power: Power
    warnings: tuple[str, ...]
    shortcuts: dict[str, JsonValue]
    disagreeing: int | None = None
    disagreements: tuple[Case, ...] = ()
    worst: tuple[Case, ...] = ()
