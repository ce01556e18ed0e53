"""What a person sees in the terminal: progress bars while it runs, the decision table when it is done."""

import os
import sys
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from rich.console import Console
from rich.progress import BarColumn, Progress, SpinnerColumn, TaskID, TextColumn, TimeElapsedColumn, TimeRemainingColumn

_PIPED_WIDTH = 120  # where nobody's window says how wide it is

terminal = Console(stderr=True)
output = Console() if sys.stdout.isatty() else Console(width=int(os.environ.get("COLUMNS", _PIPED_WIDTH)))


def say(text: str) -> None:
    """A line for the person, not for machines."""
    terminal.print(text, markup=False, highlight=False, soft_wrap=True)


class _Bars:
    def __init__(self, progress: Progress) -> None:
        self._progress = progress
        self._bars: dict[str, TaskID] = {}

    def __call__(self, label: str, done: int, total: int, text: str) -> None:
        if total == 0:
            if label in self._bars:
                self._progress.remove_task(self._bars.pop(label))
            return
        if label not in self._bars:
            self._bars[label] = self._progress.add_task(label, total=total, text="")
        self._progress.update(self._bars[label], completed=done, total=total, text=text)


@contextmanager
def progress_bars() -> Iterator[None]:
    """One bar a running stage; where there is no terminal, one line a finished stage."""
    from tasks.progress import show_on, stop_showing  # brings Prefect, whose settings must be complete by then

    columns = (
        SpinnerColumn(),
        TextColumn("{task.description:<28}"),
        BarColumn(),
        TextColumn("{task.fields[text]}"),
        TimeElapsedColumn(),
        TimeRemainingColumn(),
    )
    with Progress(*columns, console=terminal, transient=True, disable=not terminal.is_terminal) as progress:
        bars = _Bars(progress) if terminal.is_terminal else _line
        show_on(bars)
        try:
            yield
        finally:
            stop_showing(bars)


def _line(label: str, done: int, total: int, text: str) -> None:
    if total == 0:
        say(f"  {label}")


def print_summary(summary: dict[str, Any]) -> None:
    """The decision table, what failed, and where the report is."""
    from cxr_core.report.table import decision_table, reason_lines

    if summary["rows"]:
        phantom = summary["data"].get("source") == "phantom"
        output.print(decision_table(summary["rows"], width=output.width, phantom=phantom))
        for line in reason_lines(summary["rows"]):
            output.print(line, markup=False, highlight=False, soft_wrap=True)
    for failure in summary.get("failures", []):
        branch = "@".join(str(failure[name]) for name in ("precision", "backend") if failure.get(name))
        say(f"failed: {failure['stage']} {branch}".rstrip() + f"\n  {failure['message']}")
    if not summary.get("failures") and summary["state"] == "failed":
        say(summary["message"])
    stages = summary.get("stages", [])
    cached = sum(1 for stage in stages if stage["cached"])
    print_data(summary["data"])
    output.print(
        f"{len(stages)} stages, {cached} of them from the store; looks at test: {summary.get('looks_at_test')}",
        highlight=False,
    )
    print_lost(summary.get("lost", []))
    if summary.get("recommended"):
        chosen = summary["recommended"]
        output.print(f"fastest of {chosen['backend']} that passed: {chosen['precision']}", highlight=False)
    if summary.get("url"):
        output.print(f"run: {summary['url']}", highlight=False, soft_wrap=True)
    if summary.get("report"):
        output.print(f"report: {summary['report']}", highlight=False, soft_wrap=True)


def print_lost(lost: Iterable[Mapping[str, Any]]) -> None:
    """What an old account names and the store has no more: ``engine lost: ...``."""
    for one in lost:
        output.print(
            f"{one['output']} lost: {one['digest']}, left by {one['stage']} {one['branch']}".rstrip()
            + ", is no longer in the store. Its figures stay true of it; a rerun makes another",
            markup=False, highlight=False, soft_wrap=True,
        )  # fmt: skip


def print_data(data: dict[str, Any]) -> None:
    """Where the figures come from; phantoms in letters that cannot be missed."""
    if data.get("source") == "phantom":
        output.print("[bold reverse] PHANTOM DATA [/] these figures are about generated images, not about radiographs")
    taken = data.get("fingerprint") or {}
    if taken:
        rate = taken["bytes"] / 1e6 / max(taken["seconds"], 1e-9)
        output.print(
            f"data: {data['folder']} ({data['how']}); fingerprint of {taken['files']} files in "
            f"{taken['seconds']:.2f} s ({rate:.0f} MB/s)",
            highlight=False,
            soft_wrap=True,
        )
