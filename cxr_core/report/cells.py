"""The texts of the decision table's cells: the same in the terminal, in the UI and on the page."""

from collections.abc import Sequence

from cxr_core.evaluation.intervals import Interval
from cxr_core.evaluation.rows import Row

BLANK = ""
ERROR = "error"

COLUMNS: dict[str, str] = {
    "precision": "precision",
    "backend": "backend",
    "verdict": "verdict",
    "runs": "runs as",
    "ratio": "vs FP32 [95 %]",
    "accuracy": "accuracy % [95 %]",
    "difference": "points vs FP32 [90 %]",
    "flips": "flips",
    "auc": "AUC",
    "rate": "images/s",
    "size": "MB",
    "p50": "p50 ms",
    "p90": "p90 ms",
    "p99": "p99 ms",
}
"""Column name to heading, in order."""


def cells(row: Row) -> dict[str, str]:
    """One text a column. What the row lacks is blank, never 0."""
    latency, ratio = row.latency_ms, row.ratio_to_reference
    return {
        "precision": row.precision.value,
        "backend": f"{row.backend} FAKE" if row.fake else row.backend,
        "verdict": verdict_word(row),
        "runs": _effective(row),
        "ratio": f"{ratio.value:.2f} [{ratio.low:.2f}, {ratio.high:.2f}]" if ratio else BLANK,
        "accuracy": _accuracy(row),
        "difference": _points(row.accuracy_difference),
        "flips": BLANK if row.flips is None else str(row.flips),
        "auc": number(row.auc, 4),
        "rate": number(row.images_per_second, 0 if (row.images_per_second or 0) >= 100 else 1),
        "size": number(row.engine_bytes / 1e6 if row.engine_bytes else None, 1),
        "p50": number(latency.p50 if latency else None, 2),
        "p90": number(latency.p90 if latency else None, 2),
        "p99": number(latency.p99 if latency else None, 2),
    }


def verdict_word(row: Row) -> str:
    """The verdict, or ``error`` for a branch that broke before it could be judged."""
    return row.verdict.value if row.verdict else ERROR


def reasons(rows: Sequence[Row]) -> list[str]:
    """One line a row: which, the verdict, why."""
    return [f"{row.precision} {row.backend}: {verdict_word(row)}. {first_line(row.reason)}".rstrip() for row in rows]


def first_line(text: str) -> str:
    """The first line of a message; an error's log stands in report.json."""
    return text.strip().split("\n", 1)[0]


def number(value: float | None, digits: int) -> str:
    """A number with so many digits behind the point, or a blank."""
    return BLANK if value is None else f"{value:,.{digits}f}"


def _accuracy(row: Row) -> str:
    if row.accuracy is None or row.accuracy_interval is None:
        return BLANK
    low, high = row.accuracy_interval
    return f"{100 * row.accuracy:.2f} [{100 * low:.1f}, {100 * high:.1f}]"


def _points(difference: Interval | None) -> str:
    if difference is None:
        return BLANK
    return f"{100 * difference.value:+.2f} [{100 * difference.low:+.2f}, {100 * difference.high:+.2f}]"


def _effective(row: Row) -> str:
    """The precision that really runs; of a mixed engine, the share of the one that was asked for."""
    if row.effective_precision is None:
        return BLANK
    share = (row.effective or {}).get(row.precision.value)
    if share and ("+" in row.effective_precision or row.effective_precision == "mixed"):
        return f"{100 * share:.0f} % {row.precision}"
    return row.effective_precision
