"""``cxr bench import``: trtexec's logs as one table, and below it what they do not show."""

from collections.abc import Sequence

from rich.table import Table
from rich.text import Text

from cxr_core.bench.trtexec.case import Finding, NotApplied
from cxr_core.bench.trtexec.importing import Imported, ImportedRow
from flows.showing import output

_COLOUR = {"error": "bold red", "warning": "yellow"}
_SHOWN_FROM = {"variation": 100, "log": 110}


def print_judgement(found: Imported) -> None:
    """The table, the findings by rule, and what follows."""
    title = " on ".join(filter(None, (found.model, found.device)))
    output.print(_table(found.rows, title, output.width))
    for finding in _first_of_each(found.findings):
        concerned = [other for other in found.findings if other.rule == finding.rule]
        output.print()
        names = ", ".join(one.precision for one in concerned)
        output.print(Text.assemble((finding.rule, _COLOUR[finding.severity]), "  ", names))
        for line in (*(f"{one.precision}: {one.arithmetic}" for one in concerned), finding.says):
            output.print(f"  {line}", markup=False, highlight=False, soft_wrap=True)
    if found.not_applied:
        output.print()
        output.print("Not judged, for want of something:")
        for line in _not_judged(found.not_applied):
            output.print(f"  {line}", markup=False, highlight=False, soft_wrap=True)
    output.print()
    output.print(_conclusion(found), highlight=False)


def _table(rows: Sequence[ImportedRow], title: str, width: int) -> Table:
    columns = {
        "precision": "precision", "images": "images/s", "queries": "queries", "median": "median ms",
        "variation": "CV %", "size": "engine MB", "accuracy": "accuracy % [95 %]", "log": "log",
    }  # fmt: skip
    shown = [name for name in columns if width >= _SHOWN_FROM.get(name, 0)]
    table = Table(box=None, header_style="bold underline", padding=(0, 1, 0, 0), title=title or None)
    for name in shown:
        table.add_column(columns[name], justify="left" if name in ("precision", "log") else "right", no_wrap=True)
    for row in rows:
        cells = _cells(row)
        table.add_row(*(Text(cells[name], style="red" if cells[name] == "invalid" else "") for name in shown))
    return table


def _cells(row: ImportedRow) -> dict[str, str]:
    accuracy = "" if "wrong-sample-size" not in row.reason else "invalid"
    if row.accuracy is not None and row.accuracy_interval is not None:
        low, high = row.accuracy_interval
        accuracy = f"{100 * row.accuracy:.2f} [{100 * low:.1f}, {100 * high:.1f}]"
    return {
        "precision": row.precision,
        "images": "invalid" if row.images_per_second is None else f"{row.images_per_second:,.0f}",
        "queries": f"{row.queries:,}",
        "median": f"{row.median_ms:.4g}",
        "variation": "" if row.variation is None else f"{row.variation:.1f}",
        "size": "" if row.engine_bytes is None else f"{row.engine_bytes / 1e6:.1f}",
        "accuracy": accuracy,
        "log": row.log,
    }


def _first_of_each(findings: Sequence[Finding]) -> list[Finding]:
    return list({finding.rule: finding for finding in reversed(findings)}.values())[::-1]


def _not_judged(kept: Sequence[NotApplied]) -> list[str]:
    """A line for each rule and what it lacked, with the precisions that it could not judge."""
    alike: dict[tuple[str, str], list[str]] = {}
    for one in kept:
        alike.setdefault((one.rule, one.lacks), []).append(one.precision)
    return [
        f"{rule}{f' of {names}' if (names := ', '.join(filter(None, precisions))) else ''}: lacks {lacks}"
        for (rule, lacks), precisions in alike.items()
    ]


def _conclusion(found: Imported) -> str:
    if not found.findings:
        best = f" The highest rate is that of {found.fastest}." if found.fastest else ""
        limit = " by the rules that could be applied" if found.not_applied else ""
        return (
            f"Nothing was found against these logs{limit}.{best} How runs differ from each other, one log each cannot "
            "tell."
        )
    invalid = [row.precision for row in found.rows if row.reason]
    if len(invalid) == len(found.rows):
        return "No precision can be chosen from these logs: every row has a figure that is not what it says."
    best = f"The highest rate of those without an error is that of {found.fastest}." if found.fastest else ""
    return " ".join(filter(None, (f"Not to be chosen by these logs: {', '.join(invalid)}." if invalid else "", best)))
