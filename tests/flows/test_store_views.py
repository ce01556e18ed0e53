"""What ``cxr store why --run``, ``gc --dry-run`` and ``du`` tell."""

import hashlib
import json
import os
from pathlib import Path
from typing import Any

import pytest

from cxr_core.errors import UsageError
from cxr_core.refs import Record
from flows import explaining, storing
from flows.explaining import Told, stages_of
from tasks.place import current_store
from tests.cxr_core.store.conftest import content_of

Row = dict[str, Any]


@pytest.fixture(autouse=True)
def _own_store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CXR_STORE", str(tmp_path / "store"))


def made(stage: str, **parameters: Any) -> Record:
    """A record whose one output is of its own, as the store keeps it."""
    parts = {"stage": stage, "code": {"a.py": "sha256:" + "a" * 64}, "parameters": parameters}
    key = hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()
    ref = current_store().put_bytes(f"{stage} {parameters}".encode() * 100, "weights")
    record = Record(stage=stage, key=key, parts=parts, outputs={"weights": ref}, seconds=1.0)
    current_store().write_action(key, content_of(record))
    return record


def row(record: Record, cached: bool = False) -> Row:
    parameters: Any = record.parts["parameters"]
    branch = {name: parameters.get(name) for name in ("precision", "backend")}
    return {"name": record.stage, **branch, "cached": cached, "key": record.key, "error": None}


def ran(name: str, day: int, stages: list[Row], records: list[Record], **parameters: Any) -> None:
    account = {
        "started": f"2026-11-{day:02}T00:00:00+00:00", "state": "completed", "profile": "quick", "stages": stages,
        "records": {record.key: record.model_dump(mode="json") for record in records}, "parameters": parameters,
    }  # fmt: skip
    current_store().write_run(name, account)


def told(name: str) -> list[Told]:
    return list(stages_of(current_store().read_run(name)))


def test_each_stage_of_a_run_is_a_hit_or_computed_and_why() -> None:
    split, old, new = made("split", seed=0), made("train", batch=8), made("train", batch=16)
    failed = {"name": "export", "precision": None, "backend": None, "cached": False, "key": None, "error": "Boom: a\nb"}
    ran("one", 1, [row(split), row(old)], [split, old])
    ran(
        "two", 2, [row(split, cached=True), row(new), failed, {**failed, "name": "parity", "error": None}], [split, new]
    )
    first, second = told("one")
    assert [(one.what, one.why) for one in (first, second)] == [("computed", "the first of its kind")] * 2
    hit, computed, broken, skipped = told("two")
    assert (hit.stage, hit.what, hit.key) == ("split", "hit", split.key)
    assert hit.why == "all 3 fields of its key are as they were when run one computed it"
    assert (computed.what, computed.nearest) == ("computed", old.key)
    assert list(map(str, computed.differences)) == ["parameters.batch 8 -> 16"]
    assert computed.why == f"differs from {old.key[:12]} in 1 of 3 fields of its key"
    assert (broken.what, broken.why) == ("failed", "Boom: a")
    assert (skipped.what, skipped.why) == ("never ran", "a stage before it failed")


def test_a_later_record_explains_nothing() -> None:
    old, new = made("train", batch=8), made("train", batch=16)
    ran("one", 1, [row(old)], [old])
    ran("two", 2, [row(new)], [new])
    assert told("one")[0].why == "the first of its kind"
    os.utime(current_store().root / "actions" / new.key, (1, 1))  # it was there before, by whomever
    assert told("one")[0].nearest == new.key


def test_the_same_key_computed_again_says_why() -> None:
    engine = made("engine", precision="int8", backend="openvino")
    other = made("engine", precision="fp16", backend="openvino")
    ran("one", 1, [row(engine), row(other)], [engine, other])
    ran("asked", 2, [row(engine), row(other)], [engine, other], refresh=["int8@openvino"], rebuild="nothing")
    ran("weekly", 3, [row(engine)], [engine], refresh=None, rebuild="engines")
    assert [one.why.partition("; ")[2] for one in told("asked")] == ["asked for anew: refresh int8@openvino", ""]
    assert "its record was gone" in told("asked")[1].why
    assert told("weekly")[0].why.endswith("rebuild engines")


def test_why_of_a_run_is_a_table_or_json(capsys: pytest.CaptureFixture[str]) -> None:
    old, new = made("train", batch=8), made("train", batch=16)
    int8 = made("engine", precision="int8", backend="openvino")
    ran("one", 1, [row(old)], [old])
    ran("two", 2, [row(new), row(int8)], [new, int8])
    explaining.why(None, None, None, None, False)
    shown = capsys.readouterr().out
    assert "parameters.batch 8 -> 16" in shown and "int8@openvino" in shown
    explaining.why("train", None, None, "two", True)
    (stage,) = json.loads(capsys.readouterr().out)["stages"]
    assert stage["differences"] == [{"field": "parameters.batch", "earlier": 8, "later": 16, "absent": ""}]
    explaining.why(None, None, "openvino", "latest", True)
    assert [one["stage"] for one in json.loads(capsys.readouterr().out)["stages"]] == ["engine"]
    explaining.why("train", None, None, None, True)  # as ever, without a run
    assert json.loads(capsys.readouterr().out)[0]["field"] == "parameters.batch"
    with pytest.raises(UsageError, match=r"run two has no such stage; it has: train, engine int8@openvino"):
        explaining.why("parity", None, None, "two", False)


def test_gc_tells_what_goes_and_why_the_rest_stays(capsys: pytest.CaptureFixture[str]) -> None:
    old, kept = made("train", batch=8), made("train", batch=16)
    store = current_store()
    loose = store.put_bytes(b"loose", "loose")
    ran("one", 1, [row(kept)], [kept])
    for path in [path for path in store.root.rglob("*") if path.is_file()]:
        os.utime(path, (1, 1))
    with store.lease("run of today"):
        held = store.put_bytes(b"held", "held")
        os.utime(store.path(held), (1, 1))
        storing.gc(True, 30, 90, False)
        shown = capsys.readouterr().out
        storing.gc(True, 30, 90, True)
        report = json.loads(capsys.readouterr().out)
    lines = [" ".join(line.split()).replace("│", "").strip() for line in shown.splitlines()]
    size = old.output("weights").size
    assert f"would remove 2 blobs ({size + 5:,} bytes), 1 records, 0 leftovers" in lines
    assert any(line.split() == ["train", "weights", "1", f"{size:,}"] for line in lines)
    assert any(line.startswith("no record or run tells") and line.endswith("5") for line in lines)
    assert any(line.startswith("named by 1 run ") for line in lines)
    assert any(line.startswith("held by 1 lease of living processes") for line in lines)
    assert any(line.startswith("a lease is held by run of today (process") for line in lines)
    assert report["removed"][0] == {"stage": "train", "output": "weights", "blobs": 1, "bytes": size}
    assert report["kept"]["leases"] == {"blobs": 1, "bytes": 4, "by": 1}
    assert report["dry_run"] and store.has(loose)
    storing.gc(False, 30, 0, True)
    assert json.loads(capsys.readouterr().out)["forgotten_runs"] == []  # never the newest


def test_every_reason_to_stay_has_words(capsys: pytest.CaptureFixture[str]) -> None:
    store = current_store()
    made("train", batch=8)
    store.pin("p", [store.put_bytes(b"p", "p")])
    store.put_bytes(b"young", "x")
    (store.root / "blobs" / "sha256" / "ab").mkdir()
    (store.root / "blobs" / "sha256" / "ab" / "odd").write_text("x")
    os.utime(store.root / "blobs" / "sha256" / "ab" / "odd", (1, 1))
    storing.gc(True, 30, 90, False)
    shown = capsys.readouterr().out
    assert shown.index("1 pin") < shown.index("1 record") < shown.index("last day") < shown.index("no blob")
    for words in ("named by 1 pin", "named by 1 record younger than 30 days", "within the last day", "it is no blob"):
        assert words in shown


def test_du_is_a_table_or_json(capsys: pytest.CaptureFixture[str]) -> None:
    record = made("train", batch=8)
    ran("one", 1, [row(record)], [record])
    current_store().pin("releases/a", list(record.outputs.values()))
    storing.du(False)
    shown = capsys.readouterr().out
    assert "releases/a" in shown and "of no other run or pin" in shown and "beside the blobs:" in shown
    storing.du(True)
    found = json.loads(capsys.readouterr().out)
    assert [(share["kind"], share["name"]) for share in found["shares"]] == [
        ("pin", "releases/a"), ("run", "one"), ("stage", "train"),
    ]  # fmt: skip
    assert found["logical"] == 3 * record.output("weights").size


def test_gc_explains_what_keeps_one_thing(capsys: pytest.CaptureFixture[str]) -> None:
    record, store = made("train", batch=8), current_store()
    ran("one", 1, [row(record)], [record])
    ref = record.output("weights")
    store.pin("keep/it", [ref])
    with store.lease("run of today"):
        store.verify_ref(ref)
        explaining.keepers(ref.digest[7:19], "latest", False)
        shown = capsys.readouterr().out
    assert shown.splitlines()[:3] == ["run one", "pin keep/it", f"record train {record.key}"]
    assert shown.splitlines()[3].startswith("lease of run of today (process ")
    explaining.keepers(ref.digest, "latest", True)
    assert len(json.loads(capsys.readouterr().out)["kept_by"]) == 3
    loose = store.put_bytes(b"loose", "loose")
    assert store.kept_by(loose) == []
