import json
import logging
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cxr_core.errors import MissingArtifact, StoreError, UsageError
from cxr_core.refs import Record
from cxr_core.store import Store
from cxr_core.store.actions import record_from_content
from cxr_core.store.seals import sealed, unsealed

Persist = Callable[..., tuple[str, bytes]]
fewer = settings(max_examples=60)


@pytest.fixture
def written(store: Store, folder: Path, persisted: Persist) -> tuple[str, bytes]:
    outputs = {"weights": store.put_bytes(b"weights", "w"), "tensors": store.put(folder, "tensors")}
    key, content = persisted("train", outputs, parameters={"batch": 8})
    store.write_action(key, content)
    return key, content


def test_a_record_comes_back_byte_for_byte(store: Store, written: tuple[str, bytes]) -> None:
    key, content = written
    assert store.read_action(key) == content
    assert store.record(key).output("weights").name == "w"
    assert [record.key for record in store.records()] == [key]
    document = json.loads((store.root / "actions" / key).read_bytes())  # one JSON document for everybody else
    assert {name: document[name] for name in ("metadata", "result")} == json.loads(content)


def test_plain_absence_is_a_miss_without_a_warning(store: Store, caplog: pytest.LogCaptureFixture) -> None:
    with pytest.raises(MissingArtifact, match="yet to run"):
        store.read_action("0" * 64)
    assert caplog.records == []


@pytest.mark.parametrize("key", ["", "abc", "../../etc/passwd", "0" * 63, "0" * 65, "G" * 64, "0" * 63 + "\n"])
def test_keys_are_hex(store: Store, key: str) -> None:
    for act in (store.read_action, store.work, store.drop_work, lambda k: store.write_action(k, b"{}")):
        with pytest.raises(UsageError, match="64 lower-case hex"):
            act(key)


def spoilers() -> dict[str, Callable[[bytes], bytes]]:
    def outer(change: dict[str, Any]) -> Callable[[bytes], bytes]:
        return lambda data: sealed(json.dumps(json.loads(unsealed(data)) | change).encode())

    def inner(change: Callable[[dict[str, Any]], object]) -> Callable[[bytes], bytes]:
        def spoil(data: bytes) -> bytes:
            document = json.loads(unsealed(data))
            result = json.loads(document["result"])
            change(result)
            return sealed(json.dumps(document | {"result": json.dumps(result)}).encode())

        return spoil

    return {
        "empty": lambda data: b"",
        "torn": lambda data: data[: len(data) // 2],
        "one byte short": lambda data: data[:-1],
        "unsealed": unsealed,
        "noise": lambda data: b"\x80\x04\x95pickled",
        "deep": lambda data: sealed(b'{"a":' * 100_000 + b"1" + b"}" * 100_000),
        "no metadata": outer({"metadata": None}),
        "pickle": outer({"metadata": {"serializer": {"type": "pickle"}}}),
        "compressed": outer({"metadata": {"serializer": {"type": "compressed/json"}}}),
        "result no text": outer({"result": {"a": 1}}),
        "result no JSON": outer({"result": "gASVpickled"}),
        "result a list": outer({"result": "[]"}),
        "other class": inner(lambda r: r.update({"__class__": "os.system"})),
        "other version": inner(lambda r: r["data"].update(schema_version=2)),
        "other key": inner(lambda r: r["data"].update(key="0" * 64)),
        "hostile name": inner(lambda r: r["data"]["outputs"]["weights"].update(name="../../x")),
        "unknown field": inner(lambda r: r["data"].update(surprise=1)),
    }


@pytest.mark.parametrize("spoil", spoilers())
def test_anything_else_is_a_miss_with_a_warning(
    store: Store, written: tuple[str, bytes], spoil: str, caplog: pytest.LogCaptureFixture
) -> None:
    key, content = written
    path = store.root / "actions" / key
    path.write_bytes(spoilers()[spoil](path.read_bytes()))
    with caplog.at_level(logging.WARNING, "cxr.store"):
        with pytest.raises(MissingArtifact, match="is a miss"):
            store.read_action(key)
        assert [record.name for record in caplog.records] == ["cxr.store"]
        assert list(store.records()) == []
    assert store.verify().exit_code == 1
    assert (store.root / "quarantine" / "actions" / key).exists()
    assert store.verify().exit_code == 0
    store.write_action(key, content)
    assert store.read_action(key) == content


def test_a_folder_in_a_records_place_is_a_miss(store: Store, written: tuple[str, bytes]) -> None:
    key, content = written
    path = store.root / "actions" / key
    path.unlink()
    path.mkdir()
    with pytest.raises(MissingArtifact, match="is a miss"):
        store.read_action(key)
    assert store.verify().exit_code == 1
    store.write_action(key, content)
    assert store.read_action(key) == content


@pytest.mark.parametrize("victim", ["weights", "tensors", "deep/b.bin"])
@pytest.mark.parametrize("how", ["gone", "cut"])
def test_a_hit_means_the_blobs_are_there(store: Store, written: tuple[str, bytes], victim: str, how: str) -> None:
    key, content = written
    record = store.record(key)
    digest = record.outputs.get(victim, record.outputs["tensors"]).digest
    if victim == "deep/b.bin":
        listing = json.loads(path_of(store, digest).read_bytes())
        digest = next(entry["digest"] for entry in listing if entry["name"] == victim)
    path = path_of(store, digest)
    data = path.read_bytes()
    path.unlink()
    if how == "cut":
        path.write_bytes(data[:-1])
    with pytest.raises(MissingArtifact, match=r"stage train, output \w+ .*is (missing|damaged)"):
        store.read_action(key)
    store.put_bytes(data, "again")
    assert store.read_action(key) == content


def path_of(store: Store, digest: str) -> Path:
    return store.root / "blobs" / "sha256" / digest[7:9] / digest[9:]


def test_a_record_is_refused_before_its_outputs(store: Store, persisted: Persist) -> None:
    ref = store.put_bytes(b"weights", "w")
    store.path(ref).unlink()
    key, content = persisted("train", {"weights": ref})
    with pytest.raises(StoreError, match="came before its outputs"):
        store.write_action(key, content)
    assert not (store.root / "actions" / key).exists()


def test_only_a_record_of_that_key_is_kept(store: Store, persisted: Persist) -> None:
    key, content = persisted("train", {})
    for bad_key, bad in ((key, b"not json"), (key, b"{}"), (key, b'{"a": 1}'), ("0" * 64, content)):
        with pytest.raises(StoreError, match="cannot be kept"):
            store.write_action(bad_key, bad)
    assert list((store.root / "actions").iterdir()) == []


def test_a_hit_makes_its_blobs_young(store: Store, written: tuple[str, bytes]) -> None:
    key, _ = written
    path = store.path(store.record(key).output("weights"))
    os.utime(path, (1, 1))
    store.read_action(key)
    assert path.stat().st_mtime > 1


def test_a_refresh_overwrites(store: Store, written: tuple[str, bytes], persisted: Persist) -> None:
    key, content = written
    other, newer = persisted("train", {"weights": store.put_bytes(b"new", "w")}, seconds=9.0, parameters={"batch": 8})
    assert other == key and newer != content
    store.write_action(key, newer)
    assert store.read_action(key) == newer


def test_newest_first_goes_by_the_files_time(store: Store, persisted: Persist) -> None:
    keys = []
    for batch in (1, 2, 3):
        key, content = persisted("train", {}, parameters={"batch": batch})
        store.write_action(key, content)
        keys.append(key)
    for age, key in zip((20, 10, 30), keys, strict=True):
        os.utime(store.root / "actions" / key, (1000 - age, 1000 - age))
    assert [stored.record.key for stored in store.records_newest_first()] == [keys[1], keys[0], keys[2]]
    rows = store.ls()
    assert [row.key for row in rows] == [keys[1], keys[0], keys[2]]
    assert rows[0].written == "1970-01-01T00:16:30+00:00" and rows[0].whole


def test_every_single_bit_of_a_record_is_guarded(store: Store, written: tuple[str, bytes]) -> None:
    data = (store.root / "actions" / written[0]).read_bytes()
    for bit in range(8 * len(data)):
        spoilt = bytearray(data)
        spoilt[bit // 8] ^= 1 << bit % 8
        with pytest.raises(ValueError, match=r"torn|damaged"):
            unsealed(bytes(spoilt))
    for length in range(len(data)):
        with pytest.raises(ValueError, match=r"torn|damaged"):
            unsealed(data[:length])


@pytest.mark.parametrize("content", [b"", b"{}", b"{ }", b"[1]", b"1", b'{"a":1'])
def test_only_objects_with_a_member_are_sealed(content: bytes) -> None:
    with pytest.raises(ValueError, match="at least one member"):
        sealed(content)


@fewer
@given(st.dictionaries(st.text(), st.text(), min_size=1))
def test_sealing_is_undone_byte_for_byte_and_stays_json(content: dict[str, str]) -> None:
    data = json.dumps(content).encode()
    assert unsealed(sealed(data)) == data
    assert {**content, "seal": json.loads(sealed(data))["seal"]} == json.loads(sealed(data))


@fewer
@given(st.recursive(st.none() | st.booleans() | st.text(max_size=5), lambda x: st.dictionaries(st.text(), x)))
def test_no_document_crashes_the_record_reader(content: Any) -> None:
    with pytest.raises(ValueError, match=r".+"):
        record_from_content(json.dumps(content).encode(), "0" * 64)


def test_work_folders_come_and_go(store: Store) -> None:
    key = "a" * 64
    (store.work(key) / "epoch1.safetensors").write_bytes(b"x")
    (store.work(key) / "more").mkdir()
    store.drop_work(key)
    assert not (store.root / "work" / key).exists()
    store.drop_work(key)


def test_the_record_class_is_where_its_name_says() -> None:
    assert f"{Record.__module__}.{Record.__qualname__}" == "cxr_core.refs.Record"
