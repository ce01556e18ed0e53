"""A stage that will not fit is refused before it starts, with what it needs, what there is, and the way out."""

import json
import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from cxr_core.errors import StoreFull
from cxr_core.refs import Record, Ref
from cxr_core.store import Store
from tasks import place
from tasks.room import require_room
from tasks.stage import AsJson, Stage, _refs_in, _run

Disk = Callable[[str], Path]


@pytest.fixture
def store(small_disk: Disk) -> Store:
    return Store.open(small_disk("size=4m,nr_inodes=200") / "store")


def parts(precision: str = "int8") -> dict[str, Any]:
    return {"stage": "engine", "parameters": {"precision": precision, "backend": "openvino"}}


def leave(store: Store, number: int, ref: Ref, precision: str = "int8") -> None:
    record = Record(stage="engine", key=f"{number:064x}", parts=parts(precision), outputs={"out": ref}, seconds=1)
    inner = json.dumps({"__class__": "cxr_core.refs.Record", "data": record.model_dump(mode="json")})
    content = {"metadata": {"serializer": {"type": "json"}}, "result": inner}
    store.write_action(record.key, json.dumps(content).encode())


def fill(store: Store, left: int) -> None:
    (store.root.parent / "filler").unlink(missing_ok=True)
    found = os.statvfs(store.root)
    (store.root.parent / "filler").write_bytes(bytes(found.f_bavail * found.f_frsize - left))


def test_twice_what_the_same_branch_left_last(store: Store) -> None:
    leave(store, 1, store.put_bytes(b"8" * 400_000, "engine"))
    leave(store, 2, store.put_bytes(b"32" * 300_000, "engine"), "fp32")
    fill(store, 700_000)
    with pytest.raises(StoreFull) as told:
        require_room(store, "engine int8@openvino", parts(), [])
    text = str(told.value)
    assert "while starting engine int8@openvino: needed 800,000 bytes in 2 files (twice what it left the last" in text
    assert "available 69" in text and "`cxr store gc`" in text and "--store or CXR_STORE" in text
    with pytest.raises(StoreFull, match=r"needed 1,200,000 bytes in 2 files"):
        require_room(store, "engine fp16@openvino", parts("fp16"), [])  # never ran: as the newest of the stage
    fill(store, 900_000)
    require_room(store, "engine int8@openvino", parts(), [])


def test_as_much_as_the_inputs_hold_where_it_never_ran(store: Store) -> None:
    big = store.put_bytes(b"x" * 1_000_000, "graph")
    fill(store, 900_000)
    with pytest.raises(StoreFull, match=r"needed 1,000,000 bytes in 1 files \(as much as its inputs hold\)"):
        require_room(store, "engine", parts(), [big])
    require_room(store, "engine", parts(), [])


def test_inodes_are_counted(store: Store, tmp_path: Path) -> None:
    folder = tmp_path / "many"
    folder.mkdir()
    for number in range(60):
        (folder / str(number)).write_text(str(number))
    leave(store, 1, store.put(folder, "many"))
    with pytest.raises(StoreFull, match=r"in 122 files .* but only \d+ inodes"):
        require_room(store, "engine", parts(), [])


@pytest.fixture
def here(store: Store, monkeypatch: pytest.MonkeyPatch) -> Iterator[Store]:
    monkeypatch.setenv("CXR_STORE", str(store.root))
    yield store
    place._once.cache_clear()


def test_a_stage_is_refused_before_anything_of_it_is_made(here: Store) -> None:
    ref = here.put_bytes(b"x" * 1_000_000, "graph")
    made = Stage("engine", "cxr_core.data.split:split", lambda **_: {"graph": ref}, (), lambda a: (), lambda a: {},
                 None, False, None)  # fmt: skip
    fill(here, 900_000)
    with pytest.raises(StoreFull, match=r"starting engine: needed 1,000,000 bytes"):
        _run(made, {})
    assert list((here.root / "tmp").iterdir()) == []


def test_references_are_found_at_any_depth() -> None:
    refs = [Ref(form="blob", digest=f"sha256:{number:064x}", size=1, name="x") for number in range(4)]
    record = Record(stage="x", key="0" * 64, parts={}, outputs={"a": refs[1]}, seconds=0)
    assert list(_refs_in({"a": refs[0], "b": AsJson([record, {"c": refs[2]}]), "d": (refs[3], 5), "e": "x"})) == refs
