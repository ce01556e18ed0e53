"""The decision table for the terminal, and as plain rows for a table artifact."""

from collections.abc import Mapping, Sequence
from typing import Any

from rich.table import Table
from rich.text import Text

from cxr_core.evaluation.rows import Row
from cxr_core.report.cells import COLUMNS, ERROR, cells, reasons

_STYLES = {"pass": "bold green", "fail": "bold red", "inconclusive": "yellow", "unsupported": "dim", ERROR: "bold red"}
_LEFT = frozenset({"precision", "backend", "runs", "verdict"})

# What is left out on narrow terminals, by the width from which a column is shown.
_SHOWN_FROM = {"p90": 160, "difference": 150, "auc": 130, "p99": 130, "p50": 100, "size": 100, "runs": 90}
_ACCURACY_WITH_INTERVAL_FROM = 115

AnyRow = Row | Mapping[str, Any]
"""A row, or one as it stands in ``report.json``."""


def decision_table(rows: Sequence[AnyRow], *, width: int = 100, phantom: bool = False) -> Table:
    """The table, fit for so many columns of text. Print the ``reason_lines`` below it."""
    table = Table(
        box=None,
        header_style="bold underline",
        padding=(0, 1, 0, 0),
        title="PHANTOM IMAGES: NOT ABOUT PATIENTS" if phantom else None,
    )
    shown = [name for name in COLUMNS if width >= _SHOWN_FROM.get(name, 0)]
    brief = {"accuracy": "acc. %"} if width < _ACCURACY_WITH_INTERVAL_FROM else {}
    for name in shown:
        table.add_column(brief.get(name, COLUMNS[name]), justify="left" if name in _LEFT else "right", no_wrap=True)
    for row in _rows(rows):
        texts = cells(row)
        for name in brief:
            texts[name] = _value_alone(texts[name])
        style = _STYLES[texts["verdict"]]
        table.add_row(*(Text(texts[name], style=style if name == "verdict" else "") for name in shown))
    return table


def _value_alone(text: str) -> str:
    return text.partition(" [")[0]


def reason_lines(rows: Sequence[AnyRow]) -> list[str]:
    """One line a row: which, the verdict, why."""
    return reasons(_rows(rows))


def table_rows(rows: Sequence[AnyRow]) -> list[dict[str, str]]:
    """The whole table as plain rows by heading, with the reason: the shape of a table artifact."""
    return [{COLUMNS[name]: text for name, text in cells(row).items()} | {"reason": row.reason} for row in _rows(rows)]


def markdown_table(rows: Sequence[AnyRow]) -> str:
    """The whole table in Markdown."""
    return markdown(list(COLUMNS.values()), [list(cells(row).values()) for row in _rows(rows)])


def markdown(head: Sequence[str], body: Sequence[Sequence[str]]) -> str:
    """A table of texts in Markdown; one that holds a bar or a line's end stays one cell."""
    lines = [head, ["---"] * len(head), *body]
    return "".join(f"| {' | '.join(map(_one_cell, line))} |\n" for line in lines)


def _one_cell(text: str) -> str:
    return " ".join(text.replace("|", "\\|").split("\n"))


def _rows(rows: Sequence[AnyRow]) -> list[Row]:
    return [row if isinstance(row, Row) else Row.model_validate(row) for row in rows]
