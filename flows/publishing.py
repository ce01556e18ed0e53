"""What the Prefect UI shows of a run: name and tags, decision table, plots, report, and each branch's history.

Artifact keys are stable, so that the UI's artifact page shows them night after night.
"""

import base64
import logging
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextvars import copy_context
from functools import partial
from pathlib import Path
from typing import Any
from uuid import UUID

from prefect.artifacts import (
    create_image_artifact,
    create_link_artifact,
    create_markdown_artifact,
    create_table_artifact,
)
from prefect.client.orchestration import get_client
from prefect.events import emit_event

from cxr_core.report.table import table_rows
from flows.automating import LOST_VERDICT
from flows.servers import running_server

_AT_ONCE = 8


def introduce(run_id: str, name: str, tags: set[str]) -> None:
    """Give the flow run its name and tags, once it is known which data it is about."""

    def call() -> None:
        with get_client(sync_client=True) as client:
            client.update_flow_run(UUID(run_id), name=name, tags=tags)

    _post("name and tags", call)


def publish(summary: Mapping[str, Any]) -> None:
    """Leave the run's artifacts. What the UI cannot take is told in the log and costs the run nothing."""
    # Each is a round trip to the server, and none waits for another.
    with ThreadPoolExecutor(_AT_ONCE) as pool:
        for what, call in _artifacts(summary):
            pool.submit(copy_context().run, _post, what, call)


def _artifacts(summary: Mapping[str, Any]) -> Iterator[tuple[str, Callable[[], object]]]:
    heading, rows, link = _heading(summary), summary["rows"], report_link(summary)
    yield "run-summary", partial(create_markdown_artifact, key="run-summary", markdown=_text(summary, link))
    if rows:
        table = list(table_rows(rows))
        call = partial(create_table_artifact, key="decision-table", table=table, description=heading)
        yield "decision-table", call
    for row in rows:
        yield f"{row['precision']}-{row['backend']}", partial(_branch, row)
    if not summary["report"]:
        return
    for plot in sorted(Path(summary["report"]).parent.glob("*.png")):
        yield plot.stem, partial(_plot, plot)
    if link:
        yield (
            "report",
            partial(create_link_artifact, key="report", link=link, link_text="The report", description=heading),
        )


def tell_of_lost(rows: Sequence[Mapping[str, Any]]) -> None:
    """Emit an event for each branch that has lost its verdict; an automation of the server makes a message of it."""
    for row in rows:
        branch = f"{row['precision']}@{row['backend']}"
        emit_event(
            LOST_VERDICT,
            resource={"prefect.resource.id": f"cxr.branch.{branch}", "prefect.resource.name": branch},
            payload={"branch": branch, "verdict": row["verdict"] or "error", "reason": row["reason"]},
        )


def report_link(summary: Mapping[str, Any]) -> str | None:
    """Where a browser opens the report; None where no server of ours shows this store."""
    server = running_server()
    if server is None or str(server.store) != summary["store"]:
        return None
    return f"{server.reports}/{summary['run_id']}/report.html"


def _branch(row: Mapping[str, Any]) -> None:
    """One row a night under the branch's own key: its history."""
    ratio, interval = row["ratio_to_reference"] or {}, row["accuracy_interval"]
    shown = {
        "accuracy": row["accuracy"],
        "accuracy 95 %": f"{interval[0]:.4f} to {interval[1]:.4f}" if interval else None,
        "throughput ratio to FP32": ratio.get("value"),
        "ratio 95 %": f"{ratio['low']:.3f} to {ratio['high']:.3f}" if ratio else None,
        "images/s": row["images_per_second"],
        "verdict": row["verdict"],
        "engine": row["engine_digest"],
    }
    key = f"{row['precision']}-{row['backend']}"
    described = f"{row['precision']} on {row['backend']}: accuracy and throughput ratio"
    create_table_artifact(key=key, table=[shown], description=described)


def _plot(file: Path) -> None:
    address = "data:image/png;base64," + base64.b64encode(file.read_bytes()).decode()
    name = file.stem.replace("_", "-")
    create_image_artifact(key=f"plot-{name}", image_url=address, description=name.replace("-", " "))


def _post(what: str, call: Callable[[], object]) -> None:
    """A server that went away must not cost the work it tells of."""
    try:
        call()
    except Exception as error:  # noqa: BLE001
        logging.getLogger("cxr.publishing").warning("%s is not shown in the UI (%s)", what, error)


def _heading(summary: Mapping[str, Any]) -> str:
    phantom = "PHANTOM DATA. " if summary["data"].get("source") == "phantom" else ""
    return f"{phantom}Profile {summary['profile']}: {summary['state']}"


def _text(summary: Mapping[str, Any], link: str | None) -> str:
    lines = [
        f"# {_heading(summary)}",
        f"- {summary['message']}",
        f"- store: `{summary['store']}`",
        f"- report: [{summary['report']}]({link})" if link else f"- report: `{summary['report']}`",
        f"- data: `{summary['data']['folder']}` ({summary['data']['how']})",
        f"- looks at test: {summary['looks_at_test']}",
    ]
    for failure in summary["failures"]:
        branch = "@".join(str(failure[name]) for name in ("precision", "backend") if failure[name])
        lines.append(f"- failed: {failure['stage']} {branch}\n\n```\n{failure['message']}\n```")
    return "\n".join(lines)
