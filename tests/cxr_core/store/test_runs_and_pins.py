import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from cxr_core.errors import DamagedArtifact, MissingArtifact, UsageError
from cxr_core.store import Store

Persist = Callable[..., tuple[str, bytes]]


def started(hour: int, **more: Any) -> dict[str, Any]:
    return {"started": f"2026-11-24T{hour:02}:00:00+00:00", **more}


def test_a_run_comes_back(store: Store) -> None:
    store.write_run("r1", started(8, state="Completed"))
    assert store.read_run("r1") == {"run_id": "r1", **started(8, state="Completed")}
    store.write_run("r1", started(8, state="Failed"))
    assert store.read_run("r1")["state"] == "Failed"
    assert store.run_folder("r1") == store.root / "runs" / "r1"
    assert json.loads((store.root / "runs" / "r1" / "run.json").read_bytes())["state"] == "Failed"


def test_latest_goes_by_when_a_run_started(store: Store) -> None:
    for run_id, hour in (("b", 9), ("c", 7), ("a", 8)):
        store.write_run(run_id, started(hour))
    store.write_run("z", {"started": "2026-11-24T11:30:00+03:00"})  # 08:30 in UTC, whatever its text sorts as
    assert store.read_run("latest")["run_id"] == "b"
    assert [run.run_id for run in store.runs()] == ["b", "z", "a", "c"]


def test_a_run_that_is_not_there(store: Store) -> None:
    with pytest.raises(UsageError, match="no run in the store"):
        store.read_run("latest")
    store.write_run("r1", started(8))
    with pytest.raises(UsageError, match=r"no run r2 .*newest there: r1"):
        store.read_run("r2")
    store.run_folder("begun")
    assert [run.run_id for run in store.runs()] == ["r1"]


@pytest.mark.parametrize("run_id", ["latest", "", "..", "a/b", ".x"])
def test_run_ids_are_plain(store: Store, run_id: str) -> None:
    for act in (lambda r: store.write_run(r, started(1)), store.run_folder):
        with pytest.raises(UsageError):
            act(run_id)


@pytest.mark.parametrize("content", [{}, {"started": "yesterday"}, {"started": None}])
def test_a_run_says_when_it_started(store: Store, content: dict[str, Any]) -> None:
    with pytest.raises(UsageError, match="ISO time"):
        store.write_run("r", content)


def test_a_run_is_plain_json_of_that_run(store: Store) -> None:
    for content in (started(1, x=float("nan")), started(1, x=object()), started(1, run_id="other")):
        with pytest.raises(UsageError):
            store.write_run("r", content)
    assert not (store.root / "runs" / "r" / "run.json").exists()


def test_a_damaged_run_is_told_and_the_others_stay_readable(store: Store, flip: Callable[..., None]) -> None:
    store.write_run("good", started(1))
    store.write_run("bad", started(2))
    flip(store.root / "runs" / "bad" / "run.json", 100)
    with pytest.raises(DamagedArtifact, match="verify"):
        store.read_run("bad")
    assert store.read_run("latest")["run_id"] == "good"


def test_swapped_runs_are_damage(store: Store) -> None:
    store.write_run("a", started(1))
    store.write_run("b", started(2))
    (store.root / "runs" / "a" / "run.json").write_bytes((store.root / "runs" / "b" / "run.json").read_bytes())
    with pytest.raises(DamagedArtifact, match="expected the account of run a"):
        store.read_run("a")


def test_a_refresh_loses_no_record_that_a_run_names(store: Store, persisted: Persist) -> None:
    old = store.put_bytes(b"engine of yesterday", "engine")
    key, content = persisted("engine", {"engine": old}, parameters={"precision": "int8"})
    store.write_action(key, content)
    store.write_run("yesterday", started(1, records=[store.record(key).model_dump(mode="json")]))
    newer = persisted(
        "engine", {"engine": store.put_bytes(b"engine of today", "engine")}, parameters={"precision": "int8"}
    )
    store.write_action(*newer)
    store.gc(dry_run=False, keep_days=0, grace_seconds=-1)
    named = store.read_run("yesterday")["records"][0]["outputs"]["engine"]
    assert named["digest"] == old.digest
    assert store.read_bytes(old) == b"engine of yesterday"


def test_pins_come_and_go(store: Store, folder: Path) -> None:
    tree, blob = store.put(folder, "t"), store.put_bytes(b"x", "b")
    store.pin("releases/2026.11", [tree, blob])
    store.pin("best", [blob])
    store.pin("releases", [blob])  # a name may stand beside a folder of names
    assert store.pins() == {"best": (blob,), "releases": (blob,), "releases/2026.11": (tree, blob)}
    store.pin("best", [tree])
    assert store.pins()["best"] == (tree,)
    store.unpin("best")
    assert "best" not in store.pins()
    with pytest.raises(UsageError, match=r"no pin best; pins here: releases"):
        store.unpin("best")


@pytest.mark.parametrize("name", ["", "/x", "a//b", "../x", "a/../b", ".x", "a/b/c/d/e"])
def test_pin_names_are_plain(store: Store, name: str) -> None:
    with pytest.raises(UsageError):
        store.pin(name, [store.put_bytes(b"x", "x")])


def test_only_what_is_there_is_pinned(store: Store) -> None:
    ref = store.put_bytes(b"x", "x")
    store.path(ref).unlink()
    with pytest.raises(MissingArtifact):
        store.pin("p", [ref])
    with pytest.raises(UsageError, match="at least one"):
        store.pin("p", [])
    assert store.pins() == {}


def test_a_damaged_pin_is_skipped_and_verify_moves_it(store: Store, flip: Callable[..., None]) -> None:
    ref = store.put_bytes(b"x", "x")
    store.pin("releases/a", [ref])
    flip(store.root / "pins" / "releases" / "a.json", 77)
    assert store.pins() == {}
    assert store.verify().exit_code == 1
    assert [path.name for path in (store.root / "quarantine" / "pins").iterdir()] == ["releases_a.json"]
    assert store.verify().exit_code == 0
