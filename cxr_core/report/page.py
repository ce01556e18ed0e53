"""``report.html``: one file without network, readable on a phone and on paper, light and dark."""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from cxr_core.evaluation.rows import Comparison, Detail, Row
from cxr_core.report.cells import COLUMNS, cells, first_line, verdict_word
from cxr_core.report.document import Report
from cxr_core.report.gallery import Shown
from cxr_core.report.hover import SCRIPT, policy
from cxr_core.report.int8 import section
from cxr_core.report.look import CSS
from cxr_core.report.sections import (
    DETAIL_COLUMNS,
    DRIFT_COLUMNS,
    PAIRED_COLUMNS,
    PAIRED_WORDS,
    RESOLUTION_COLUMNS,
    RESOLUTION_WORDS,
    SHORTCUT_WORDS,
    confusion_lines,
    detail_lines,
    drift_lines,
    measured_lines,
    metric_lines,
    operating_lines,
    paired_lines,
    resolution_lines,
    subgroup_lines,
)
from cxr_core.report.template import TEMPLATE

# Said by shape too, not by colour alone.
_SIGNS = {"pass": "\u2713", "fail": "\u2717", "inconclusive": "?", "unsupported": "\u2013", "error": "!"}


class Pictures(NamedTuple):
    """Single images of the test split, see ``cxr_core.report.gallery``."""

    disagreements: Sequence[Shown] = ()
    worst: Sequence[Shown] = ()


def page(
    report: Report,
    comparison: Comparison | None,
    figures: Sequence[dict[str, str]],
    pictures: Pictures | None = None,
) -> str:
    """The page.

    Args:
        figures: ``title``, ``caption`` and ``svg`` of each plot; the svg goes in as it is.
        pictures: None for a page that holds no radiograph.
    """
    from jinja2 import Environment, StrictUndefined

    environment = Environment(autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True)
    context = {**_context(report, comparison), **_cases(comparison, pictures), "figures": figures}
    return environment.from_string(TEMPLATE).render(
        css=CSS, script=SCRIPT, policy=policy(), sections=_sections(context), **context
    )


def _sections(context: Mapping[str, Any]) -> list[tuple[str, str, bool]]:
    """Id and title of each section that can be gone to, and whether the page has it."""
    return [
        ("verdicts", "Verdicts", bool(context["cards"])),
        ("table", "Decision table", bool(context["table"])),
        ("limits", "What this does not show", bool(context["limits"])),
        ("differences", "Differences", bool(context["paired"])),
        ("drift", "Drift", bool(context["drift"])),
        ("int8", "INT8", bool(context["int8"])),
        ("figures", "Figures", bool(context["figures"])),
        ("disagreements", "Disagreements", context["cases"]),
        ("worst", "Worst errors", context["cases"]),
        ("measured", "What was measured", bool(context["measured"])),
        ("model", "The model", bool(context["metrics"])),
        ("engines", "Every figure", bool(context["details"])),
        ("warnings", "Warnings", bool(context["warnings"])),
    ]


def _cases(comparison: Comparison | None, pictures: Pictures | None) -> dict[str, Any]:
    """The images on which engines disagree and those on which the reference is wrong: how many, and which are shown."""
    confusion = comparison.reference.metrics.confusion if comparison else None
    return {
        "cases": comparison is not None and comparison.disagreeing is not None,
        "images": comparison.counts.images if comparison else 0,
        "disagreeing": comparison.disagreeing if comparison else 0,
        "errors": confusion.false_positive + confusion.false_negative if confusion else 0,
        "threshold": f"{comparison.threshold:.3f}" if comparison else "",
        "pictured": pictures is not None,
        "mapped": pictures is not None and any(shown["maps"] for shown in pictures.disagreements),
        "disagreements": pictures.disagreements if pictures else (),
        "worst": pictures.worst if pictures else (),
    }


def _context(report: Report, comparison: Comparison | None) -> dict[str, Any]:
    details = {(detail.precision, detail.backend): detail for detail in comparison.details} if comparison else {}
    return {
        "phantom": report.data is not None and report.data.source == "phantom",
        "fake": any(row.fake for row in report.rows),
        "broken": _broken(report, comparison),
        "answer": _answer(report),
        "others": _others(report),
        "cards": [_card(row, details.get((row.precision, row.backend))) for row in report.rows],
        "columns": list(COLUMNS.values()),
        "table": [cells(row) for row in report.rows],
        "gate": report.gate,
        "power": report.power.sentence if report.power else "",
        "measured": measured_lines(report),
        "metrics": metric_lines(report),
        "shortcut_words": SHORTCUT_WORDS,
        "operating": operating_lines(report),
        "confusion": confusion_lines(report),
        "subgroups": subgroup_lines(report),
        "detail_columns": DETAIL_COLUMNS,
        "details": detail_lines(comparison),
        "paired_columns": PAIRED_COLUMNS,
        "paired": paired_lines(report.rows),
        "paired_words": PAIRED_WORDS,
        "resolution_columns": RESOLUTION_COLUMNS,
        "resolution": resolution_lines(report.power),
        "resolution_words": RESOLUTION_WORDS,
        "drift_columns": DRIFT_COLUMNS,
        "drift": drift_lines(report),
        "limits": [sentence.split(": ", 1) for sentence in report.limits],
        "int8": section(report.int8),
        "warnings": report.warnings,
        "intended_use": report.intended_use,
    }


def _card(row: Row, detail: Detail | None) -> dict[str, str]:
    verdict = verdict_word(row)
    return {
        "precision": row.precision.value.upper(),
        "backend": cells(row)["backend"],
        "verdict": verdict,
        "sign": _SIGNS[verdict],
        "reason": first_line(row.reason),
        "note": _note(detail),
    }


def _note(detail: Detail | None) -> str:
    """What the engine's build and its benchmark remarked."""
    if detail is None:
        return ""
    remark = detail.speed.reason if detail.speed else ""
    return "; ".join(part for part in (detail.note, remark) if part)


def _answer(report: Report) -> str:
    if report.recommended is None:
        return "No precision can be recommended."
    choice = report.recommended
    row = next(row for row in report.rows if (row.precision, row.backend) == (choice.precision, choice.backend))
    return f"Ship {choice.precision.value.upper()} on {choice.backend}{_speed(row)}."


def _speed(row: Row) -> str:
    ratio = row.ratio_to_reference
    if ratio is None or ratio.low <= 1:
        return ", nothing that passed is shown to be faster"
    return f", {ratio.value:.2f} times as fast as FP32 there"


def _others(report: Report) -> list[str]:
    chosen = [choice for choice in report.recommended_by_backend if choice != report.recommended]
    return [f"On {choice.backend} it is {choice.precision.value.upper()}." for choice in chosen]


def _broken(report: Report, comparison: Comparison | None) -> list[str]:
    """Sentences about what the run did not reach; branches that broke have a card of their own."""
    of_run = [one for one in report.failures if one.precision is None or one.backend is None]
    lines = [f"Stage {one.stage} failed: {first_line(one.message)}" for one in of_run]
    errors = sum(row.verdict is None for row in report.rows)
    if errors:
        lines.append(f"{errors} of {len(report.rows)} branches broke before they could be judged.")
    if comparison is None:
        lines.append("The engines were not compared, so there is no verdict.")
    return lines
