"""What a flow or a command makes and has not named yet is leased: gc takes none of it."""

import logging
import threading
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from pydantic import JsonValue

from cxr_core.errors import UsageError
from cxr_core.refs import Precision, Ref
from cxr_core.store.trees import Entry
from flows import bundling, pipeline, promoting
from flows.pinning import hold
from tasks import stage
from tasks.place import current_store
from tasks.stage import Stage
from tests.cxr_core.store.conftest import gc_later


@pytest.fixture(autouse=True)
def _own_store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CXR_STORE", str(tmp_path / "store"))


@pytest.fixture
def collecting_hold() -> Callable[..., bool]:
    """As ``hold``, with a gc just before the pin."""

    def collect_and_hold(name: str, refs: Sequence[Ref], *, dry: bool = False) -> bool:
        assert gc_later(current_store()).removed_blobs == ()
        return hold(name, refs, dry=dry)

    return collect_and_hold


def test_a_run_holds_a_lease_from_its_first_put(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    store = current_store()

    def settle(**parameters: Any) -> None:
        ref = store.put_bytes(b"weights", "weights")
        gc_later(store)
        assert store.has(ref)
        raise UsageError("as far as this goes")

    monkeypatch.setattr(pipeline, "settle", settle)
    with pytest.raises(UsageError):
        pipeline.pipeline_body({})
    assert list((store.root / "leases").iterdir()) == []


class _Stage(Stage):
    """A stage of this test's, whose code has no place in a key."""

    def parts(self, parameters: Mapping[str, Any]) -> dict[str, JsonValue]:
        return {"stage": self.name}


def test_gc_in_a_loop_takes_nothing_from_a_stage_at_work(monkeypatch: pytest.MonkeyPatch) -> None:
    """Its inputs are read by a child while it computes, its scratch folder is as old as the stage."""
    store, over = current_store(), threading.Event()
    monkeypatch.setattr(stage, "get_run_logger", lambda: logging.getLogger("x"))
    declared = _Stage(
        "copy", "tests.cxr_core.child_work:copy_later", lambda **given: given, (), lambda given: (), lambda given: {},
        devices=("cpu",), resumable=False, shown_every=None,
    )  # fmt: skip

    def collect() -> int:
        passes = 0
        while not over.is_set():
            gc_later(store)
            passes += 1
        return passes

    with store.lease("run"), ThreadPoolExecutor(1) as pool:
        source = store.put_bytes(b"input", "input")
        collecting = pool.submit(collect)
        try:
            record = stage._run(declared, {"source": source, "seconds": 1.0})
        finally:
            over.set()
        assert collecting.result() > 1
        assert record.environment["computed_on"] == "cpu"
        gc_later(store)
        assert {name: store.read_bytes(ref) for name, ref in record.outputs.items() if name != "log"} == {
            "early": b"written at once", "late": b"input",
        }  # fmt: skip


def test_promote_holds_a_lease_until_its_pin(
    monkeypatch: pytest.MonkeyPatch, collecting_hold: Callable[..., bool], capsys: pytest.CaptureFixture[str]
) -> None:
    store = current_store()
    store.write_run("r", {"started": "2026-11-24T00:00:00Z", "rows": []})

    def entries(what: object) -> list[Entry]:
        ref = store.put_bytes(b"engine", "engine")
        return [Entry(digest=ref.digest, name="engine", size=ref.size)]

    class What:
        branch = "fp32@onnxruntime"

    monkeypatch.setattr(promoting, "_row", lambda *arguments: {"verdict": "pass"})
    monkeypatch.setattr(promoting, "_judged", lambda *arguments: False)
    monkeypatch.setattr(promoting, "_promotion", lambda *arguments: What())
    monkeypatch.setattr(promoting, "_entries", entries)
    monkeypatch.setattr(promoting, "hold", collecting_hold)
    promoting.promote("r", Precision.FP32, None, "one", False, True)
    (ref,) = store.pins()["releases/one"]
    gc_later(store)
    store.verify_ref(ref)


def test_import_holds_a_lease_until_its_pin(
    monkeypatch: pytest.MonkeyPatch, collecting_hold: Callable[..., bool], tmp_path: Path
) -> None:
    store, source = current_store(), tmp_path / "source"
    source.mkdir()
    (source / "a").write_text("a")
    store.pin("keep/x", [store.put(source, "x"), store.put_bytes(b"y", "y")])
    bundling.export("keep/x", tmp_path / "x.tar", None, "latest", True)
    monkeypatch.setenv("CXR_STORE", str(tmp_path / "other"))
    monkeypatch.setattr(bundling, "hold", collecting_hold)
    bundling.take_in(tmp_path / "x.tar", None, "kept", True)
    gc_later(current_store())
    assert sorted(ref.name for ref in current_store().pins()["kept"]) == ["x", "y"]
    for ref in current_store().pins()["kept"]:
        current_store().verify_ref(ref)


def test_export_holds_a_lease_on_the_account_that_it_packs(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    store, real = current_store(), bundling.pack
    data = {"fingerprint": {}}
    store.write_run("r", {"started": "2026-11-24T00:00:00Z", "data": data, "settings": {}, "parameters": {}})

    def collect_and_pack(*arguments: Any) -> Any:
        assert gc_later(store).removed_blobs == ()
        return real(*arguments)

    monkeypatch.setattr(bundling, "pack", collect_and_pack)
    bundling.export("r", tmp_path / "r.tar", None, "latest", True)
    monkeypatch.setattr(bundling, "pack", real)
    monkeypatch.setattr(store, "lease", None)  # an artifact is only read
    store.pin("keep/x", [store.put_bytes(b"x", "x")])
    bundling.export("keep/x", tmp_path / "x.tar", None, "latest", True)
    assert (tmp_path / "r.tar").exists() and (tmp_path / "x.tar").exists()
