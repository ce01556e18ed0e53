import hashlib
import json
import subprocess
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest

from cxr_core.refs import Record, Ref
from cxr_core.store import GcReport, Store
from cxr_core.store.gc import Collector
from tests.serving import until

Persist = Callable[..., tuple[str, bytes]]


GC_LOOP = """
import pathlib, sys, time
from cxr_core.store import Store
from tests.cxr_core.store.conftest import gc_later
store, stop, passes, gone = Store.open(pathlib.Path(sys.argv[1])), pathlib.Path(sys.argv[2]), 0, 0
while not stop.exists():
    gone += len(gc_later(store).removed_blobs)
    passes += 1
    stop.with_name("passing").touch()
    time.sleep(0.02)
print(passes, gone)
"""
"""Collects until there is a file ``stop``; tells how often, and how many blobs went. ``passing`` shows a pass."""


def collecting(stop: Path, loop: "subprocess.Popen[str]") -> None:
    """Waits until a ``GC_LOOP`` is at work."""

    def passing() -> bool:
        assert loop.poll() is None
        return stop.with_name("passing").exists()

    until(passing, 60, "the first pass of gc")


def gc_later(store: Store, *, dry_run: bool = False) -> GcReport:
    """A pass that takes it to be ten days later, with no grace: without a name or a lease, everything goes."""
    later = time.time() + 864_000
    parts = store._layout, store._artifacts, store._quarantine
    return Collector(*parts, dry_run, keep_days=0, grace_seconds=0, now=later).run()


def content_of(record: Record) -> bytes:
    """A record as the workflow engine persists it; test_prefect_format shows that this is what it really writes."""
    inner = json.dumps({"__class__": "cxr_core.refs.Record", "data": record.model_dump(mode="json")})
    metadata = {"storage_key": record.key, "serializer": {"type": "json"}, "prefect_version": "3.8.8"}
    return json.dumps({"metadata": metadata, "result": inner}).encode()


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store.open(tmp_path / "store")


@pytest.fixture
def persisted() -> Persist:
    """``persisted(stage, outputs, **parts)`` gives a key and what is written for it."""

    def make(stage: str, outputs: Mapping[str, Ref], seconds: float = 1.0, **parts: Any) -> tuple[str, bytes]:
        parts = {"stage": stage, **parts}
        key = hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()
        return key, content_of(Record(stage=stage, key=key, parts=parts, outputs=dict(outputs), seconds=seconds))

    return make


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A small folder with nested files, two of them alike."""
    made = tmp_path / "source"
    (made / "deep" / "er").mkdir(parents=True)
    (made / "a.bin").write_bytes(b"alpha")
    (made / "deep" / "b.bin").write_bytes(b"beta" * 1000)
    (made / "deep" / "er" / "c.bin").write_bytes(b"alpha")
    (made / "empty").write_bytes(b"")
    return made


def flip(path: Path, bit: int = 0) -> None:
    """Flips one bit of a file behind the store's back, leaving its size and mode."""
    data = bytearray(path.read_bytes())
    data[bit // 8 % len(data)] ^= 1 << bit % 8
    mode = path.stat().st_mode
    path.chmod(0o644)
    path.write_bytes(data)
    path.chmod(mode)


@pytest.fixture(name="flip")
def _flip() -> Callable[..., None]:
    return flip
