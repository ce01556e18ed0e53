"""Push and pull, against a folder and against a bucket: only what is missing, proven on arrival, nothing lost."""

import hashlib
from pathlib import Path
from typing import Any

import pytest

from cxr_core.errors import MirrorError, MissingArtifact
from cxr_core.mirror import Mirror, pull, pull_run, push
from cxr_core.store import Store
from tests.cxr_core.mirror.conftest import change, fill, objects, recorded


def test_a_second_machine_has_it_all_after_a_pull(
    store: Store, other: Store, filled: dict[str, Any], either: str
) -> None:
    mirror = Mirror.at(either)
    pushed = push(store, mirror)
    assert (pushed.blobs, pushed.records, pushed.runs, pushed.pins, pushed.left) == (5, 2, 1, 1, ())
    there = objects(either)
    for path, data in there.items():
        if path.startswith("blobs/"):
            assert hashlib.sha256(data).hexdigest() == path.removeprefix("blobs/sha256/").replace("/", "")
    assert {path for path in there if not path.startswith("blobs/")} == {
        "FORMAT", "runs/r1/run.json", "pins/releases/first.json",
        *(f"actions/{filled[stage].key}" for stage in ("train", "ingest")),
    }  # fmt: skip
    told: list[tuple[int, int, str]] = []
    pulled = pull(other, mirror, progress=lambda *step: told.append(step))
    assert told[-1] == (pushed.bytes, pushed.bytes, "5 of 5 files, 0 of 0 MB")
    assert (pulled.blobs, pulled.bytes, pulled.left) == (5, pushed.bytes, ())
    for stage in ("train", "ingest"):
        assert other.record(filled[stage].key) == filled[stage]
    assert (other.read_run("latest"), other.pins()) == (store.read_run("r1"), store.pins())
    assert other.verify().exit_code == 0
    assert not list((other.root / "tmp").iterdir())


def test_a_run_comes_alone_with_its_records_and_without_a_listing(store: Store, other: Store, either: str) -> None:
    mine = recorded(store, "export", {"graph": store.put_bytes(b"graph", "graph")})
    store.write_run("r2", {"started": "2026-11-25T00:00:00Z", "records": {mine.key: mine.model_dump(mode="json")}})
    recorded(store, "foreign", {"other": store.put_bytes(b"other", "other")})
    push(store, Mirror.at(either))
    mirror, calls = counted(either)
    pulled = pull_run(other, mirror, "r2")
    assert (pulled.blobs, pulled.records, pulled.runs, pulled.left) == (1, 1, 1, ())
    assert other.read_run("latest")["run_id"] == "r2"
    assert other.record(mine.key) == mine
    assert not {"find", "ls", "walk"} & set(calls)
    with pytest.raises(MissingArtifact, match="no run r3"):
        pull_run(other, mirror, "r3")
    mirror.write("runs/r4/run.json", [b"{"], 1)
    with pytest.raises(MirrorError, match="run r4"):
        pull_run(other, mirror, "r4")


class Counting:
    """A file system of fsspec that counts the calls to it."""

    def __init__(self, files: Any) -> None:
        self.files = files
        self.calls: list[str] = []

    def __getattr__(self, name: str) -> Any:
        real = getattr(self.files, name)
        return (lambda *args, **named: self.calls.append(name) or real(*args, **named)) if callable(real) else real


def counted(url: str) -> tuple[Mirror, list[str]]:
    plain = Mirror.at(url)
    files = Counting(plain.files)
    return Mirror(url, files, plain.root), files.calls  # type: ignore[arg-type]


def test_only_what_is_missing_travels(store: Store, other: Store, filled: dict[str, Any], either: str) -> None:
    mirror, calls = counted(either)
    push(store, mirror)
    pull(other, mirror)
    before = objects(either)
    for again, side in ((push, store), (pull, other)):
        calls.clear()
        report = again(side, mirror)
        assert (report.blobs, report.bytes, report.records, report.runs, report.pins) == (0, 0, 0, 0, 0)
        assert calls.count("find") == (4 if again is push else 3)
        # FORMAT, and the run and the pin, which may have changed; no record and no blob.
        assert calls.count("cat_file") == 3
        assert set(calls) == {"find", "cat_file"}
    assert objects(either) == before
    new = store.put_bytes(b"new", "new")
    recorded(store, "export", {"new": new})
    assert push(store, mirror).blobs == 1
    report = pull(other, mirror)
    assert (report.blobs, report.bytes, report.records) == (1, 3, 1)


def test_a_large_file_goes_in_parts_and_comes_whole(store: Store, other: Store, url: str) -> None:
    ref = store.put_bytes(bytes(range(256)) * (20 << 12) + b"tail", "engine")  # 20 MiB: three parts
    store.pin("keep", [ref])
    assert push(store, Mirror.at(url)).bytes == ref.size
    assert pull(other, Mirror.at(url)).bytes == ref.size
    other.verify_ref(ref)


def test_local_damage_never_reaches_the_mirror(store: Store, filled: dict[str, Any], url: str) -> None:
    large = store.put_bytes(b"large" * (2 << 20), "large")
    store.pin("large", [large])
    for ref in (filled["weights"], large):
        path = store.path(ref)
        path.chmod(0o644)
        path.write_bytes(b"X" + path.read_bytes()[1:])
    report = push(store, Mirror.at(url))
    assert report.exit_code == 1
    told = {left.what for left in report.left}
    train = f"record {filled['train'].key}"
    assert told == {f"blob {large.digest}", f"blob {filled['weights'].digest}", train, "run r1", "pin large"}
    there = objects(url)
    assert not any(digest[9:] in path for path in there for digest in (large.digest, filled["weights"].digest))
    assert "pins/releases/first.json" in there  # the rest went
    for path in (path for path in there if path.startswith("blobs/")):
        assert hashlib.sha256(there[path]).hexdigest() == path[13:].replace("/", "")


def test_what_is_unreadable_here_is_told_and_the_rest_goes(store: Store, filled: dict[str, Any], url: str) -> None:
    (store.root / "actions" / "stray").write_bytes(b"{}")
    (store.root / "actions" / ("0" * 64)).write_bytes(b"{}")
    (store.root / "pins" / "stray.json").write_bytes(b"")
    (store.root / "runs" / "begun").mkdir()
    report = push(store, Mirror.at(url))
    assert {left.what for left in report.left} == {"record stray", f"record {'0' * 64}", "pin stray"}
    assert (report.blobs, report.records, report.runs, report.pins) == (5, 2, 1, 1)


def blob(digest: str) -> str:
    return f"blobs/sha256/{digest[7:9]}/{digest[9:]}"


WRONG = {"short": b"x", "empty": b"", "other": b"weightz" * 1000, "long": b"weights" * 1001, "gone": None}


@pytest.mark.parametrize("how", WRONG)
def test_wrong_bytes_in_the_mirror_never_land(
    store: Store, other: Store, filled: dict[str, Any], url: str, how: str
) -> None:
    push(store, Mirror.at(url))
    change(url, blob(filled["weights"].digest), WRONG[how])
    report = pull(other, Mirror.at(url))
    assert report.exit_code == 1
    key = filled["train"].key
    assert [left.what for left in report.left] == [f"blob {filled['weights'].digest}", f"record {key}", "run r1"]
    assert all(f"cxr store push {url} " in left.mend for left in report.left)
    assert not other.has(filled["weights"])
    assert other.record(filled["ingest"].key) == filled["ingest"]  # the rest came
    assert list(other.pins()) == ["releases/first"]
    assert other.verify().exit_code == 0
    push(store, Mirror.at(url), force=True)
    assert pull(other, Mirror.at(url)).left == ()
    assert other.record(key) == filled["train"]


def test_another_size_is_replaced_by_a_plain_push(store: Store, other: Store, filled: dict[str, Any], url: str) -> None:
    push(store, Mirror.at(url))
    change(url, blob(filled["weights"].digest), b"cut")
    assert push(store, Mirror.at(url)).blobs == 1
    assert pull(other, Mirror.at(url)).left == ()


def test_a_damaged_listing_keeps_its_files_out_of_the_account(
    store: Store, other: Store, filled: dict[str, Any], url: str
) -> None:
    push(store, Mirror.at(url))
    change(url, blob(filled["data"].digest), b"[]\n")
    report = pull(other, Mirror.at(url))
    assert {left.what for left in report.left} == {
        f"blob {filled['data'].digest}", f"record {filled['ingest'].key}", "run r1", "pin releases/first",
    }  # fmt: skip
    assert other.record(filled["train"].key) and not other.has(filled["data"])


def test_a_file_lost_in_a_tree_keeps_its_listing_out(
    store: Store, other: Store, filled: dict[str, Any], url: str
) -> None:
    push(store, Mirror.at(url))
    lost = next(entry for entry in store.entries(filled["data"]) if entry.name == "a.bin")
    change(url, blob(lost.digest), b"wrong")
    report = pull(other, Mirror.at(url))
    assert f"record {filled['ingest'].key}" in {left.what for left in report.left}
    blobs = {path.parent.name + path.name for path in (other.root / "blobs").rglob("*") if path.is_file()}
    assert not blobs & {lost.digest[7:], filled["data"].digest[7:]} and len(blobs) == 3


@pytest.mark.parametrize("room", ["actions", "runs", "pins"])
@pytest.mark.parametrize("how", ["flipped", "forged", "cut", "of another", "foreign"])
def test_a_damaged_document_is_never_taken(
    store: Store, other: Store, filled: dict[str, Any], tmp_path: Path, room: str, how: str
) -> None:
    url = f"file://{tmp_path}/mirror"
    push(store, Mirror.at(url))
    there = objects(url)
    path = {"actions": f"actions/{filled['train'].key}", "runs": "runs/r1/run.json", "pins": "pins/releases/first.json"}
    good, others = there[path[room]], [there[name] for key, name in path.items() if key != room]
    bad = {
        "flipped": bytes([good[0], good[1] ^ 1]) + good[2:],
        "forged": good.replace(b"1.0", b"3.0").replace(b'"data"', b'"dato"'),
        "cut": good[: len(good) // 2],
        "of another": others[0],
        "foreign": b'{"a": 1}',
    }
    change(url, path[room], bad[how])
    report = pull(other, Mirror.at(url))
    assert len(report.left) == 1 and report.exit_code == 1
    assert (other.root / path[room]).exists() is False
    change(url, path[room], good)
    assert pull(other, Mirror.at(url)).left == ()
    assert other.verify().exit_code == 0


def test_a_lost_artifact_comes_back(store: Store, filled: dict[str, Any], url: str) -> None:
    push(store, Mirror.at(url))
    store.path(filled["weights"]).unlink()
    assert store.verify().exit_code == 1
    assert push(store, Mirror.at(url)).exit_code == 0  # what a run here names is lost here, and not there
    assert pull(store, Mirror.at(url)).left == ()
    assert store.read_bytes(filled["weights"]) == b"weights" * 1000
    assert store.record(filled["train"].key) == filled["train"]
    assert store.verify().exit_code == 0


def test_by_name_only_what_it_needs(store: Store, other: Store, filled: dict[str, Any], url: str) -> None:
    from cxr_core.mirror import Document

    push(store, Mirror.at(url))
    report = pull(other, Mirror.at(url), choose=lambda mirrored: {Document("actions", filled["train"].key)})
    assert (report.blobs, report.records, report.runs, report.pins) == (1, 1, 0, 0)
    third = fill(Store.open(other.root.parent / "third"), other.root.parent / "thirds")
    assert third["train"] == filled["train"]


def test_a_newer_format_is_refused(store: Store, other: Store, filled: dict[str, Any], url: str) -> None:
    from cxr_core.errors import MirrorError

    push(store, Mirror.at(url))
    for content, said in ((b"99\n", "upgrade cxr"), (b"x", "restore that file"), (b"1" * 200, "more than 100 bytes")):
        change(url, "FORMAT", content)
        for action in (push, pull):
            with pytest.raises(MirrorError, match=said):
                action(store if action is push else other, Mirror.at(url))
    change(url, "FORMAT", None)
    with pytest.raises(MirrorError, match="content but no FORMAT"):
        push(store, Mirror.at(url))
    with pytest.raises(MirrorError, match="no mirror at"):
        pull(other, Mirror.at(url))
    assert not other.pins() and not list(other.records())
