"""Parts placed in other pools: what is refused before anything is sent, and how an account passes the mirror."""

import os
import time
from collections.abc import Iterable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from cxr_core.code import code_digests
from cxr_core.errors import DamagedArtifact, MachineError, MirrorError, MissingArtifact, UsageError
from cxr_core.refs import Record
from flows import placing, runs, serving
from flows.inputs import settle
from flows.ledger import Entry, Ledger, Past
from flows.part import part
from tasks.caching import RecordStorage
from tasks.place import current_store
from tests.conftest import Place
from tests.cxr_core.mirror.conftest import recorded

PLACED = {"profile": "smoke", "overrides": {"placement": {"train": "rocm", "engines": "nvidia"}}}


@pytest.fixture(autouse=True)
def _own_store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CXR_STORE", str(tmp_path / "store"))
    monkeypatch.delenv("CXR_DATA", raising=False)
    monkeypatch.delenv("CXR_MIRROR", raising=False)


def test_what_is_placed_where_the_run_is_or_nowhere_is_computed_there() -> None:
    assert settle(profile="smoke", data="phantom").pools == {}
    assert settle(**PLACED).pools == {"train": "rocm", "engines": "nvidia"}
    assert settle(**PLACED, pool="nvidia").pools == {"train": "rocm"}
    assert settle(**PLACED, pool="rocm", data="phantom").pools == {"engines": "nvidia"}


@pytest.mark.parametrize("name", ["data", "weights", "onnx"])
def test_paths_are_of_the_machine_that_trains(name: str) -> None:
    inputs = settle(**PLACED, **{name: "/only/there"})
    assert (inputs.data if name == "data" else inputs.brought[name]) == "/only/there"
    with pytest.raises(UsageError, match=r"rocm; give it in full"):
        settle(**PLACED, **{name: "not/in/full"})
    with pytest.raises(UsageError, match="/only/there"):  # here it is looked for
        settle(**PLACED, pool="rocm", **{name: "/only/there"})


def test_what_a_rerun_takes_as_data() -> None:
    assert settle(**PLACED, data="phantom").data == "phantom"
    assert settle(**PLACED).data is None


def test_without_a_mirror_a_placement_is_refused_and_a_plain_run_is_not(monkeypatch: pytest.MonkeyPatch) -> None:
    assert placing.check(settle(profile="smoke", data="phantom")) == []
    with pytest.raises(UsageError, match="same CXR_MIRROR") as refused:
        placing.check(settle(**PLACED))
    assert refused.value.exit_code == 2
    monkeypatch.setenv("CXR_MIRROR", "ftp://elsewhere/cxr")
    with pytest.raises(UsageError, match="s3://"):
        placing.check(settle(**PLACED))


def test_a_mirror_that_cannot_be_reached_is_named(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("CXR_MIRROR", f"file://{tmp_path}/file/mirror")
    with pytest.raises(MirrorError, match="file/mirror"):
        placing.check(settle(**PLACED))


def test_a_pool_that_nobody_has_joined_is_named_with_how_to_join() -> None:
    placing.refuse_unknown({"train": "rocm"}, {"rocm"})
    with pytest.raises(UsageError, match=r"placement\.engines.*did you mean nvidia\?.*cxr worker nvdia --api"):
        placing.refuse_unknown({"train": "rocm", "engines": "nvdia"}, {"rocm", "nvidia"})
    with pytest.raises(UsageError, match="joined are none"):
        placing.refuse_unknown({"train": "rocm"}, ())


def test_a_run_in_a_terminal_is_not_in_the_server_s_own_pool_and_is_told_how_to_be() -> None:
    pools = settle(profile="smoke", overrides={"placement": {"train": "cxr"}}).pools
    with pytest.raises(UsageError, match=r"cxr is the pool of `cxr serve`.*leave the field blank") as refused:
        placing.refuse_unknown(pools, {"nvidia"})
    assert "cxr worker" not in str(refused.value)  # which refuses that pool


def test_a_second_machine_does_not_join_the_server_s_own_pool() -> None:
    with pytest.raises(UsageError, match="choose another name"):
        serving.join("cxr", "http://127.0.0.1:9", None)


def test_a_part_without_a_mirror_or_of_other_code_is_refused(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    asked: dict[str, Any] = {"what": "train", "run": "r", "settings": {}, "parameters": {}}
    asked |= {"started": "", "age": 0.0}
    with pytest.raises(UsageError, match="same CXR_MIRROR"):
        part.fn(**asked, code=placing.code())
    monkeypatch.setenv("CXR_MIRROR", f"file://{tmp_path}/mirror")
    with pytest.raises(MachineError, match="bring both machines to the same commit"):
        part.fn(**asked, code="0" * 64)
    with pytest.raises(UsageError, match="profile of run r"):
        part.fn(**asked, code=placing.code())


def test_code_is_that_of_every_module_and_the_same_each_time(monkeypatch: pytest.MonkeyPatch) -> None:
    digests: dict[str, str] = {}

    def noted(modules: Iterable[str]) -> dict[str, str]:
        digests.update(code_digests(modules))
        return digests

    monkeypatch.setattr(placing, "code_digests", noted)
    placing.code.cache_clear()
    digest = placing.code()
    assert {"cxr_core/graphs/export.py", "tasks/engine.py", "flows/pipeline.py"} <= digests.keys()
    placing.code.cache_clear()
    assert digest == placing.code()
    assert len(digest) == 64


def test_a_run_is_later_than_its_parts() -> None:
    now = datetime.now(UTC).isoformat(timespec="microseconds")
    assert datetime.fromisoformat(now) - datetime.fromisoformat(placing.just_before(now)) == timedelta(microseconds=1)


@pytest.mark.parametrize("ahead", [timedelta(hours=1), -timedelta(hours=1)])
def test_what_a_part_computes_anew_is_told_by_its_own_clock(ahead: timedelta) -> None:
    record = recorded(current_store(), "export", {})
    file = current_store().root / "actions" / record.key
    inputs = settle(profile="smoke", data="phantom")
    by_theirs = (datetime.now(UTC) + ahead).isoformat(timespec="microseconds")
    asked = runs.begin("part", "part", inputs, {}, started=by_theirs, age=300.0)
    storage = RecordStorage(since=asked.since)
    assert storage.read_path(record.key)  # of an earlier attempt, or of this one
    os.utime(file, (time.time() - 301, time.time() - 301))
    with pytest.raises(MissingArtifact, match="to be computed anew"):
        storage.read_path(record.key)
    assert asked.account("running")["started"] == by_theirs  # by which it is ordered beside its run


def _account() -> tuple[runs.Run, dict[str, Any], Record]:
    """The account of a run in which one stage was a hit, one failed and one never ran."""
    store = current_store()
    record = recorded(store, "export", {"model.onnx": store.put_bytes(b"graph", "model.onnx")})
    row = {"precision": None, "backend": None, "cached": False, "key": None, "error": None}
    branch = {"precision": "int8", "backend": "openvino"}
    given = {
        "records": {record.key: record.model_dump(mode="json")},
        "failures": [{"stage": "engine", **branch, "error": "DamagedArtifact", "message": "no such bytes"}],
        "stages": [
            {**row, "name": "export", "state": "Cached", "key": record.key},
            {**row, **branch, "name": "engine", "state": "Failed", "error": "no such bytes"},
            {**row, **branch, "name": "benchmark", "state": "NotReady"},
        ],
    }
    run = runs.begin("here", "here", settle(profile="smoke", data="phantom"), {})
    return run, given, record


def test_stages_of_another_machine_count_as_those_of_this_run() -> None:
    _, given, record = _account()
    ledger = Ledger()
    exported, engine, benchmark = ledger.adopt(given)
    assert (exported.record, exported.cached, exported.failure) == (record, True, None)
    assert (engine.record, benchmark.record, benchmark.failure) == (None, None, None)
    assert isinstance(engine.failure, DamagedArtifact)
    assert engine.place == "engine int8@openvino"
    assert [row["stage"] for row in ledger.failures()] == ["engine"]
    again = Ledger()
    again.adopt({"stages": ledger.stages(), "failures": ledger.failures(), "records": ledger.records()})
    assert again.stages() == ledger.stages()
    assert again.failures() == ledger.failures()


def test_an_account_passes_the_mirror_with_all_that_it_names_and_becomes_no_run(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("CXR_MIRROR", f"file://{tmp_path}/mirror")
    run, given, record = _account()
    ledger = Ledger()
    ledger.adopt(given)
    (tmp_path / "mirror" / "actions").mkdir(parents=True)
    (tmp_path / "mirror" / "actions" / "note.txt").write_text("what others leave there stops no run")
    (tmp_path / "mirror" / "FORMAT").write_text("2\n")
    handed = placing.hand_over(run, ledger)
    assert [known.run_id for known in current_store().runs()] == ["here"]

    monkeypatch.setenv("CXR_STORE", str(tmp_path / "other"))
    account = placing.take(handed)
    assert account["records"] == given["records"]
    assert account["started"] < run.started
    there = current_store()
    assert there.read_bytes(record.output("model.onnx")) == b"graph"
    assert there.record(record.key) == record
    assert there.runs() == []
    with pytest.raises(MissingArtifact, match="has no run here"):
        placing.take("here")


def test_a_part_whose_worker_shares_the_store_keeps_its_account(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("CXR_MIRROR", f"file://{tmp_path}/mirror")
    run, given, _ = _account()
    ledger = Ledger()
    ledger.adopt(given)
    left = run.finish(ledger, runs.Outcome())
    placing.send("here")
    assert placing.take("here")["records"] == left["records"]
    assert [known.run_id for known in current_store().runs()] == ["here"]


def test_what_did_not_pass_the_mirror_whole_is_an_error(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("CXR_MIRROR", f"file://{tmp_path}/mirror")
    run, given, record = _account()
    ledger = Ledger()
    ledger.adopt(given)
    handed = placing.hand_over(run, ledger)
    digest = record.output("model.onnx").digest.removeprefix("sha256:")
    for place in ("mirror", "store"):
        blob = tmp_path / place / "blobs" / "sha256" / digest[:2] / digest[2:]
        blob.chmod(0o644)
        blob.write_bytes(b"grapH")
    monkeypatch.setenv("CXR_MIRROR", f"file://{tmp_path}/empty")
    with pytest.raises(MirrorError, match=r"did not pass the mirror.*store verify"):
        placing.hand_over(run, ledger)
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("CXR_MIRROR", f"file://{tmp_path}/file/mirror")
    with pytest.raises(MirrorError, match="file/mirror"):
        placing.hand_over(run, ledger)
    assert [known.run_id for known in current_store().runs()] == ["here"]  # none that says it completed
    monkeypatch.setenv("CXR_MIRROR", f"file://{tmp_path}/mirror")
    monkeypatch.setenv("CXR_STORE", str(tmp_path / "other"))
    with pytest.raises(MirrorError, match=r"push .*--force.*Then Retry"):
        placing.take(handed)


def test_a_stage_that_is_over_is_not_waited_for() -> None:
    _, given, record = _account()
    entry: Entry = Ledger().adopt(given)[0]
    assert isinstance(entry.future, Past)
    entry.future.wait()
    assert entry.future.result() == record


def test_no_server_at_the_address_is_said(tmp_path: Path) -> None:
    place = Place(tmp_path)
    refused = place.cxr("worker", "nvidia", "--api", "http://127.0.0.1:9", code=3)
    assert "no Prefect server answers at http://127.0.0.1:9" in refused.stderr
    assert "--api" in place.cxr("worker", "nvidia", code=2).stderr
