"""An old run whose engine is lost stays readable, and says so."""

import json
from pathlib import Path

import pytest
from typer.testing import CliRunner

from cxr_core.refs import Record
from cxr_core.store import Store
from flows.cli import app
from tasks import place


@pytest.fixture
def digest(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """The digest of an engine that a run names, whose bytes went bad and were found by verify."""
    monkeypatch.setenv("CXR_STORE", str(tmp_path / "store"))
    monkeypatch.setattr(
        "flows.settings.prepare", lambda: None
    )  # it would set the environment of the tests after this one
    store = Store.open(tmp_path / "store")
    engine, log = store.put_bytes(b"engine", "engine"), store.put_bytes(b"log", "log")
    parts = {"stage": "engine", "parameters": {"precision": "int8", "backend": "openvino"}}
    record = Record(stage="engine", key="a" * 64, parts=parts, outputs={"engine": engine, "log": log}, seconds=1)
    account = {
        "started": "2026-11-24T00:00:00Z", "state": "completed", "rows": [], "stages": [], "data": {},
        "message": "every branch was judged", "records": {"a" * 64: record.model_dump(mode="json")},
    }  # fmt: skip
    store.write_run("old", account)
    store.path(engine).unlink()
    assert store.verify().exit_code == 1
    return engine.digest


def said(*arguments: str) -> str:
    place._once.cache_clear()
    done = CliRunner().invoke(app, arguments)
    assert done.exit_code == 0, done.output
    return done.output


def test_the_report_of_an_old_run_says_what_is_lost(digest: str) -> None:
    assert f"engine lost: {digest}, left by engine int8@openvino, is no longer in the store" in said(
        "report", "--run", "old"
    )
    lost = json.loads(said("report", "--run", "old", "--json"))["lost"]
    assert lost == [{"output": "engine", "stage": "engine", "branch": "int8@openvino", "digest": digest}]


def test_store_show_says_so_of_the_artifact_and_of_its_record(digest: str) -> None:
    for name in (digest, "a" * 64):
        text = said("store", "show", name)
        assert f"engine lost: {digest}" in text and "log lost" not in text


def test_nothing_is_said_where_nothing_is_lost(digest: str) -> None:
    store = place.current_store()
    store.put_bytes(b"engine", "engine")
    assert "lost" not in said("report", "--run", "old") + said("store", "show", digest)
