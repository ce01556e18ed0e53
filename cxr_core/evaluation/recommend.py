"""Which precision to ship, of those that passed."""

from collections.abc import Sequence

from cxr_core.evaluation.rows import Choice, Row
from cxr_core.evaluation.verdicts import Verdict
from cxr_core.refs import Precision


def recommended_by_backend(rows: Sequence[Row]) -> tuple[Choice, ...]:
    """For each backend, in the order of the rows, the fastest precision that passed.

    Ranked by the ratio to the backend's own reference; figures of different backends are never
    divided. A precision whose ratio's interval reaches down to 1 is not shown to be faster, so FP32
    is preferred to it. Test doubles, and engines that really run in another precision than they
    were asked for, are not recommended.
    """
    fit = [row for row in rows if _fit(row)]
    backends = list(dict.fromkeys(row.backend for row in fit))
    chosen = [_fastest([row for row in fit if row.backend == backend]) for backend in backends]
    return tuple(Choice(precision=row.precision, backend=row.backend) for row in chosen)


def _fit(row: Row) -> bool:
    judged = row.verdict is Verdict.PASS and row.ratio_to_reference is not None
    return judged and not row.fake and as_asked(row.precision, row.effective_precision or "unknown")


def as_asked(precision: Precision, effective: str) -> bool:
    """Whether an engine labelled ``effective`` (``fp32``, ``int8+fp32``, ``unknown``) runs ``precision`` at all.

    TF32 is stored as FP32, so an inspector that reads storage types cannot tell them apart.
    """
    stored = Precision.FP32 if precision is Precision.TF32 else precision
    return bool({"unknown", "mixed", precision.value, stored.value} & set(effective.split("+")))


def _fastest(rows: Sequence[Row]) -> Row:
    faster = [row for row in rows if row.ratio_to_reference and row.ratio_to_reference.low > 1]
    plain = [row for row in rows if row.precision is Precision.FP32]
    return max(faster or plain or rows, key=lambda row: row.ratio_to_reference.value if row.ratio_to_reference else 0.0)
