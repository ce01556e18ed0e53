"""``cxr serve``: the deployments are there, ``full`` starts through the API, and Ctrl-C ends everything."""

import base64
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import urllib.error
import urllib.request
import uuid
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

import pytest

from tests.conftest import PROJECT, SMOKE, Place
from tests.serving import free_port, serving, until


@pytest.mark.slow
def test_full_starts_through_the_api_and_the_terminal_uses_that_server(copied: Callable[[], Place]) -> None:
    place = copied()
    with serving(place) as served:
        assert {d["name"] for d in served.call("/deployments/filter", {})} == {"full", "nightly", "precision-branch"}
        full = served.deployment("full/full")
        assert full["parameters"] == {"profile": "quick"}
        schema = full["parameter_openapi_schema"]["properties"]
        untouched = {name: described.get("default") for name, described in schema.items()}
        run_id = served.start("full/full", **untouched | {"profile": "smoke"})
        assert served.ended(run_id)["type"] == "COMPLETED"
        assert served.executed_by_prefect(run_id) == served.executed_by_store(run_id) == []
        artifacts = served.call("/artifacts/filter", {"artifacts": {"flow_run_id": {"any_": [run_id]}}})
        keys = {artifact["key"] for artifact in artifacts}
        assert {"decision-table", "run-summary", "report", "plot-roc", "int8-openvino"} <= keys

        again = place.cxr("serve", "--port", served.address.rpartition(":")[2])
        assert "up already" in again.stderr
        status = place.json("serve", "--status")
        assert status["address"] == served.address
        assert not status["paused"]

        mine = place.json(*SMOKE)
        assert mine["url"].startswith(served.address)
        submitted = served.call(f"/flow_runs/{mine['run_id']}")
        assert submitted["state"]["type"] == "COMPLETED"
        assert submitted["deployment_id"] == full["id"]  # so that Retry works
        assert mine["name"].endswith(mine["data"]["fingerprint"]["digest"].removeprefix("sha256:")[:8])
        assert submitted["name"] == mine["name"]
        assert "smoke" in submitted["tags"]

        # A terminal with another store computes there itself; the server only sees it.
        shutil.copytree(place.store, place.folder / "other", symlinks=True)
        elsewhere = place.json(*SMOKE, CXR_STORE=str(place.folder / "other"))
        assert served.call(f"/flow_runs/{elsewhere['run_id']}")["deployment_id"] is None
    assert not Path(place.folder, "prefect", "server.json").exists()


@pytest.mark.slow
def test_in_the_background_schedules_survive_a_restart_and_stop_ends_it(place: Place) -> None:
    port = str(free_port())
    up = place.json("serve", "--detach", "--port", port)
    assert up["address"].endswith(port)
    assert place.json("serve", "--detach", "--port", port)["pid"] == up["pid"]
    shown = {row["name"]: row for row in place.json("schedule")}
    assert shown["nightly"]["active"]
    assert shown["weekly"]["parameters"] == {"profile": "quick", "rebuild": "engines"}
    far_off = f"30 {(datetime.now(UTC).hour + 12) % 24} * * *"
    place.cxr("schedule", "set", "nightly", "--cron", far_off, "--timezone", "Europe/Berlin")
    place.cxr("schedule", "pause", "weekly")
    refused = place.cxr("schedule", "set", "--timezone", "Europe/Berln", code=2)
    assert "did you mean Europe/Berlin" in refused.stderr
    assert "five fields" in place.cxr("schedule", "set", "--cron", "at night", code=2).stderr
    assert "nightly, weekly" in place.cxr("schedule", "pause", "daily", code=2).stderr

    assert place.json("serve", "--stop")["stopped"] == up["address"]
    until(lambda: place.processes() == {}, 30, "the end of all processes")
    assert "cxr serve" in place.cxr("schedule", code=3).stderr
    assert "cxr serve" in place.cxr("serve", "--status", code=3).stderr
    assert place.json("serve", "--stop")["stopped"] is None

    # A change in what is registered registers all of it anew; what a person has set stays, the rest follows the file.
    place.json("serve", "--detach", "--port", port, CXR_TIMEZONE="Asia/Tokyo")
    again = {row["name"]: row for row in place.json("schedule")}
    assert (again["nightly"]["when"], again["nightly"]["timezone"]) == (far_off, "Europe/Berlin")
    assert again["nightly"]["parameters"] == {"profile": "quick"}
    assert not again["weekly"]["active"]
    assert [worker["name"] for worker in place.json("serve", "--status")["workers"]] == ["cxr-local"]
    place.json("serve", "--stop")


def test_a_taken_port_is_named(place: Place) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        done = place.cxr("serve", "--port", str(taken.getsockname()[1]), code=2)
    assert "--port" in done.stderr


def test_beyond_this_machine_a_password_is_needed(place: Place) -> None:
    refused = place.cxr("serve", "--host", "0.0.0.0", code=2)
    assert "--auth USER:PASSWORD" in refused.stderr
    assert "colon" in place.cxr("serve", "--auth", "secret", code=2).stderr


def _address_of_this_machine() -> str:
    """Not loopback; nothing is sent to find it."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        try:
            probe.connect(("192.0.2.1", 9))
        except OSError:
            pytest.skip("this machine has no address but loopback")
        return str(probe.getsockname()[0])


@pytest.mark.slow
def test_a_host_given_is_reached_there_by_those_who_have_the_password(place: Place) -> None:
    here = _address_of_this_machine()
    port = str(free_port())
    up = place.json("serve", "--detach", "--host", "0.0.0.0", "--port", port, "--auth", "me:secret")
    url = f"http://{here}:{port}/api/deployments/count"
    with pytest.raises(urllib.error.HTTPError, match="401"):
        urllib.request.urlopen(urllib.request.Request(url, data=b"{}", method="POST"), timeout=10)
    basic = {"authorization": f"Basic {base64.b64encode(b'me:secret').decode()}", "content-type": "application/json"}
    asked = urllib.request.Request(url, data=b"{}", headers=basic, method="POST")
    assert urllib.request.urlopen(asked, timeout=10).read() == b"3"
    assert up["address"] == f"http://127.0.0.1:{port}"
    place.json("serve", "--stop")


@pytest.mark.slow
def test_ipv6_is_a_host_too(place: Place) -> None:
    try:
        with socket.socket(socket.AF_INET6) as probe:
            probe.bind(("::1", 0))
    except OSError:
        pytest.skip("this machine has no IPv6")
    port = str(free_port())
    up = place.json("serve", "--detach", "--host", "::1", "--port", port)
    assert up["address"] == f"http://[::1]:{port}"
    assert {row["name"] for row in place.json("schedule")} == {"nightly", "weekly"}
    place.json("serve", "--stop")


@pytest.mark.slow
def test_of_two_that_start_in_the_same_second_one_comes_up(place: Place) -> None:
    command = [sys.executable, "-m", "flows.cli", "serve", "--detach", "--json", "--port"]
    both = [
        subprocess.Popen(
            [*command, str(free_port())], cwd=PROJECT, env=place.environment, text=True, stdout=subprocess.PIPE
        )
        for _ in range(2)
    ]
    answers = [json.loads(process.communicate(timeout=200)[0]) for process in both]
    assert [process.returncode for process in both] == [0, 0]
    assert answers[0] == answers[1]
    assert len(place.processes("prefect server")) == len(place.processes("worker start")) == 1
    place.json("serve", "--stop")
    until(lambda: place.processes() == {}, 30, "the end of all processes")


@pytest.mark.slow
def test_what_another_version_left_is_refused_with_the_repair_and_the_store_may_move(
    copied: Callable[[], Place],
) -> None:
    place = copied()
    with serving(place) as served:
        full = served.deployment("full/full")
        with pytest.raises(urllib.error.HTTPError, match="409") as refused:
            served.start("full/full", profile="smoke", epochs=3)
        assert "'epochs' was unexpected" in refused.value.read().decode()
        # A run of an older release is retried without a look at today's form.
        served.call(f"/deployments/{full['id']}", {"enforce_parameter_schema": False}, method="PATCH")
        old = served.start("full/full", profile="smoke", epochs=3)
        assert served.ended(old)["type"] == "CRASHED"
        logs = served.call("/logs/filter", {"logs": {"flow_run_id": {"any_": [old]}}})
        assert any("provided with parameters ['profile', 'epochs']" in line["message"] for line in logs)

        environment = full["job_variables"]["env"] | {"CXR_REGISTERED_BY": "0.0.1"}
        served.call(f"/deployments/{full['id']}", {"job_variables": {"env": environment}}, method="PATCH")
        other = served.start("full/full", profile="smoke", data="phantom")
        assert served.ended(other)["type"] == "FAILED"
        said = served.state(other)["message"]
        assert "registered by cxr 0.0.1" in said
        assert "start `cxr serve`" in said
    place.store.rename(place.folder / "moved")
    with serving(place, "--store", str(place.folder / "moved")) as served:
        run_id = served.start("full/full", profile="smoke", data="phantom")
        assert served.ended(run_id)["type"] == "COMPLETED"
        account = json.loads((place.folder / "moved" / "runs" / run_id / "run.json").read_text())
        assert all(stage["cached"] for stage in account["stages"])
        assert account["store"] == str(place.folder / "moved")
    assert not place.store.exists()


@pytest.mark.slow
def test_a_server_with_a_password_answers_those_who_have_it_and_dies_with_its_owner(place: Place) -> None:
    port = str(free_port())
    up = place.json("serve", "--detach", "--port", port, "--auth", "me:secret")
    with pytest.raises(urllib.error.HTTPError, match="401"):
        urllib.request.urlopen(f"{up['address']}/api/flow_runs/{uuid.uuid4()}", timeout=10)
    assert {row["name"] for row in place.json("schedule")} == {"nightly", "weekly"}
    assert "secret" not in json.dumps(place.processes())
    assert (place.folder / "prefect" / "server.json").stat().st_mode & 0o077 == 0
    servers = [line for line in place.processes().values() if "prefect server" in line or "uvicorn" in line]
    assert len(servers) == 1  # no second one that asks nobody
    os.kill(up["pid"], signal.SIGKILL)
    until(lambda: place.processes() == {}, 40, "the end of what a killed cxr serve has left")
    assert place.json("serve", "--stop")["stopped"] is None


def test_json_is_one_document(place: Place) -> None:
    refused = place.cxr("serve", "--status", "--json", code=3)
    assert json.loads(refused.stdout)["exit_code"] == 3
