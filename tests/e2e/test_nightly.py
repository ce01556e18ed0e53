"""The nightly: it fires, survives a restart and a killed worker, rebuilds, tells what drifted, and tells whom."""

import json
import os
import signal
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any

import pytest

from tests.conftest import Place
from tests.serving import DOUBLES, Served, serving, until, with_doubles

pytestmark = pytest.mark.slow

SMOKE_NIGHT = {"profile": "smoke", "data": "phantom"}


def _every_few_seconds(served: Served) -> None:
    nightly = served.deployment("full/nightly")["id"]
    schedule = {"schedule": {"interval": 8}, "active": True, "slug": "often", "parameters": SMOKE_NIGHT}
    served.call(f"/deployments/{nightly}/schedules", [schedule])


def _nights(served: Served) -> list[Any]:
    wanted = served.deployment("full/nightly")["id"]
    states = {"state": {"type": {"any_": ["COMPLETED"]}}}
    runs = served.call("/flow_runs/filter", {"flow_runs": states, "limit": 200})
    return [run for run in runs if run["deployment_id"] == wanted and run["auto_scheduled"]]


def _waiting(served: Served) -> list[Any]:
    """Nights whose time has come and that no worker has taken."""
    late = {"state": {"name": {"any_": ["Late"]}}}
    return [run for run in served.call("/flow_runs/filter", {"flow_runs": late}) if run["auto_scheduled"]]


def test_it_fires_again_after_a_restart_and_after_the_worker_was_killed(copied: Callable[[], Place]) -> None:
    place = copied()
    with serving(place) as served:
        _every_few_seconds(served)
        until(lambda: _nights(served), 240, "the first night")
        for _ in range(20):  # over several nights, never two at once
            running = served.call("/flow_runs/filter", {"flow_runs": {"state": {"type": {"any_": ["RUNNING"]}}}})
            assert len(running) <= 1
            time.sleep(0.5)
        for worker in place.processes("worker start"):
            with suppress(ProcessLookupError):
                os.kill(worker, signal.SIGKILL)
        seen = len(_nights(served))
        until(lambda: len(_nights(served)) > seen + 1, 300, "a night after the worker was killed")
        all_cached = served.executed_by_store(_nights(served)[0]["id"])
        assert all_cached == []
        served.call("/work_pools/cxr", {"is_paused": True}, method="PATCH")
        missed = until(lambda: _waiting(served), 60, "a night that nobody takes")
        time.sleep(61)  # as long as it takes for a night to have been missed
    with serving(place) as served:
        served.call("/work_pools/cxr", {"is_paused": False}, method="PATCH")
        for run in missed:
            state = served.state(run["id"])
            assert state["type"] == "CANCELLED", state
            assert "while the server was down" in state["message"]
        seen = len(_nights(served))
        until(lambda: len(_nights(served)) > seen, 240, "a night after the restart")


def test_the_weekly_rebuilds_engines_only_and_reports_what_drifted(copied: Callable[[], Place]) -> None:
    place = copied()
    before = place.json("report")
    with serving(place) as served:
        run_id = served.start("full/nightly", **SMOKE_NIGHT, rebuild="engines")
        assert served.ended(run_id, 600)["type"] == "COMPLETED"
        done = served.executed_by_store(run_id)
        assert served.executed_by_prefect(run_id) == done
    assert {name.partition("[")[0] for name in done} == {"engine", "benchmark", "accuracy", "compare", "report"}
    report = json.loads((place.store / "runs" / run_id / "report.json").read_text())
    drifted = {(line["precision"], line["backend"]): line for line in report["drift"]}
    changed = {
        (row["precision"], row["backend"])
        for row in report["rows"]
        if row["engine_digest"] not in {old["engine_digest"] for old in before["rows"]}
    }
    assert set(drifted) == changed
    for line in drifted.values():
        assert line["flips"] == 0
        assert line["images"] == 39
        assert "built anew as asked" in line["why"][0]
    assert "Drift since the last green run" in (place.store / "runs" / run_id / "report.html").read_text()
    # The engines of the last green run are still there.
    old = {row["engine_digest"] for row in before["rows"] if row["engine_digest"]}
    assert old
    assert all(place.cxr("store", "path", digest).stdout.strip() for digest in old)


def test_a_change_is_named_in_the_drift(copied: Callable[[], Place]) -> None:
    place = copied()
    changed = ("--set", "variant.int8_method=entropy", "--set", "variant.keep_stem=false")  # surely another graph
    run = place.json("run", "--profile", "smoke", "--data", "phantom", *changed)
    report = json.loads((Path(run["report"]).parent / "report.json").read_text())
    named = {(line["precision"], line["backend"]): line["why"] for line in report["drift"]}
    assert set(named) == {("int8", "openvino"), ("int8", "onnxruntime")}
    assert any("int8_method" in why and "search" in why and "entropy" in why for why in named["int8", "openvino"])


@contextmanager
def _receiver() -> Iterator[tuple[str, list[str]]]:
    heard: list[str] = []

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            heard.append(self.rfile.read(int(self.headers["content-length"])).decode())
            self.send_response(200)
            self.end_headers()

        def log_message(self, format: str, *args: Any) -> None:
            return

    server = HTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}/", heard
    server.shutdown()
    server.server_close()


def _webhook_block(served: Served, url: str) -> str:
    kind = served.call("/block_types/slug/custom-webhook")
    schema = served.call("/block_schemas/filter", {"block_schemas": {"block_type_id": {"any_": [kind["id"]]}}})[0]
    content = {
        "name": "test",
        "url": url,
        "method": "POST",
        "json_data": {"subject": "{{subject}}", "body": "{{body}}"},
    }
    body = {"name": "ops", "data": content, "block_schema_id": schema["id"], "block_type_id": kind["id"]}
    served.call("/block_documents/", body)
    return "custom-webhook/ops"


def test_who_must_know_is_told_of_a_failed_night_and_once_of_a_lost_verdict(
    copied: Callable[[], Place], tmp_path: Path
) -> None:
    fault = tmp_path / "fault"
    fault.write_text("error:int8")
    lenient = {"accuracy_margin": 0.49, "flips_share": 1.0, "probability_shift": 1.0}
    night = {"profile_file": str(DOUBLES / "doubles.yaml"), "data": "phantom", "overrides": {"compare": lenient}}
    place = copied()
    with _receiver() as (url, heard), serving(place, **with_doubles(f"@{fault}")) as served:
        missing = place.cxr("serve", "--notify", "custom-webhook/ops", code=2)
        assert "under Blocks" in missing.stderr
        place.cxr("serve", "--notify", _webhook_block(served, url))
        names = {automation["name"] for automation in served.call("/automations/filter", {})}
        assert "cxr: a run without heartbeat has crashed" in names

        failed = served.start("full/nightly", **night)
        assert served.ended(failed)["type"] == "FAILED"
        until(lambda: any("Failed" in text for text in heard), 60, "the word of the failed night")

        fault.write_text("faithful")
        passed = served.start("full/nightly", **night)
        assert served.ended(passed)["type"] == "COMPLETED"
        fault.write_text("faithful,nan:int8")
        for _ in range(2):  # lost in the first of them, and still lost in the second
            lost = served.start("full/nightly", **night, rebuild="engines")
            assert served.ended(lost)["type"] == "FAILED"  # such answers make no valid benchmark either
        until(lambda: any("no longer passes" in text for text in heard), 60, "the word of the lost verdict")
        time.sleep(8)  # time for a second one, which must not come
    assert sum("no longer passes" in text for text in heard) == 1
    assert any("int8@fake" in text for text in heard)
