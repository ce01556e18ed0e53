"""What a mirror may not do: be another format, name odd places, stand for something else, be out of reach, lie."""

import logging
import socket
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cxr_core.errors import MirrorError, UsageError
from cxr_core.mirror import Mirror, ReadThrough, pull, push
from cxr_core.mirror.documents import document_at, place_of
from cxr_core.mirror.remote import document_path
from cxr_core.store import Store
from cxr_core.store.layout import Layout
from tests.cxr_core.mirror.conftest import change, credentials, objects, recorded


@pytest.fixture
def folder(tmp_path: Path) -> str:
    return f"file://{tmp_path}/mirror"


@pytest.fixture
def silent_server(monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """It takes connections and never says a word."""
    with socket.create_server(("127.0.0.1", 0)) as listening:
        for name, value in credentials(f"http://127.0.0.1:{listening.getsockname()[1]}").items():
            monkeypatch.setenv(name, value)
        yield "s3://bucket/mirror"


@pytest.fixture
def closed_server(monkeypatch: pytest.MonkeyPatch) -> str:
    """Nothing listens there."""
    with socket.create_server(("127.0.0.1", 0)) as listening:
        port = listening.getsockname()[1]
    for name, value in credentials(f"http://127.0.0.1:{port}").items():
        monkeypatch.setenv(name, value)
    monkeypatch.setenv("AWS_MAX_ATTEMPTS", "1")
    return "s3://bucket/mirror"


@pytest.mark.parametrize(
    "url",
    ["/plain/folder", "file://relative", "s3://", "http://host/x", "memory://x", "s3://b/a/../c", "s3://b/x?versionId=1",
     "file:///a/./b"],
)  # fmt: skip
def test_an_address_that_none_can_have(url: str) -> None:
    with pytest.raises(UsageError, match="mirror"):
        Mirror.at(url)


def test_credentials_in_an_address_are_refused_and_not_repeated() -> None:
    with pytest.raises(UsageError) as refused:
        Mirror.at("s3://KEYID:HIDDEN@bucket/x")
    assert "HIDDEN" not in str(refused.value) and "AWS_SECRET_ACCESS_KEY" in str(refused.value)


@pytest.mark.parametrize("place", ["", "/inside", "/.."])
def test_the_store_is_no_mirror_of_itself(store: Store, place: str) -> None:
    mirror = Mirror("file:///x", Mirror.at("file:///x").files, f"{store.root}{place}")
    for action in (push, pull):
        with pytest.raises(UsageError, match="in one another"):
            action(store, mirror)


class Hostile:
    """A file system that lists what no store has."""

    def __init__(self, files: Any, names: list[str]) -> None:
        self.files, self.names = files, names

    def __getattr__(self, name: str) -> Any:
        return getattr(self.files, name)

    def find(self, path: str, **named: Any) -> dict[str, Any]:
        room = path.rpartition("/")[2]
        odd = {f"{path.removesuffix(room)}{name}": {"type": "file", "size": 9}
               for name in self.names if name.startswith(room)}  # fmt: skip
        return {**self.files.find(path, **named), **odd}


ODD = ["actions/../../x", "pins/../../../etc/x.json", "pins/a/b/c/d/e.json", "pins/.hidden.json", "runs/../run.json",
       "runs/../../x/run.json", "actions/short", f"actions/{'A' * 64}", "pins/a\x00b.json", "pins/a.json/../b.json",
       "runs/latest/run.json", "pins/x"]  # fmt: skip


def test_names_that_no_store_has_are_named_and_never_asked_for(
    store: Store, other: Store, filled: dict[str, Any], folder: str
) -> None:
    push(store, Mirror.at(folder))
    plain = Mirror.at(folder)
    report = pull(other, Mirror(folder, Hostile(plain.files, ODD), plain.root))  # type: ignore[arg-type]
    assert {left.what for left in report.left} == set(ODD)
    assert (report.blobs, report.runs) == (5, 1)
    assert {path.name for path in other.root.parent.iterdir()} <= {"store", "other", "mirror", "source"}
    assert other.verify().exit_code == 0


class Late:
    """A file system on which FORMAT appears only after the first look at it."""

    def __init__(self, files: Any) -> None:
        self.files, self.looked = files, False

    def __getattr__(self, name: str) -> Any:
        return getattr(self.files, name)

    def cat_file(self, path: str, **named: Any) -> Any:
        if path.endswith("/FORMAT") and not self.looked:
            self.looked = True
            raise FileNotFoundError(path)
        return self.files.cat_file(path, **named)


def test_another_who_just_began_the_mirror_is_no_loss_of_format(
    store: Store, filled: dict[str, Any], folder: str
) -> None:
    plain = Mirror.at(folder)
    push(store, plain)
    assert push(store, Mirror(folder, Late(plain.files), plain.root)).left == ()  # type: ignore[arg-type]


PARTS = ["actions", "runs", "pins", "..", ".", "", "a", "x.json", "run.json", "f" * 64]


@given(st.one_of(st.text(max_size=60), st.lists(st.sampled_from(PARTS), max_size=6).map("/".join)))
@settings(max_examples=400)
def test_a_listed_name_is_the_one_place_of_a_document_or_none(path: str) -> None:
    try:
        document = document_at(path)
    except UsageError:
        return
    if document:
        assert place_of(Layout(Path("/root")), document) == Path("/root", path)
        assert ".." not in path.split("/") and document_path(document) == path


def test_a_listing_without_end_is_refused(store: Store, folder: str, monkeypatch: pytest.MonkeyPatch) -> None:
    push(store, Mirror.at(folder))
    for number in range(4):
        change(folder, f"pins/p{number}.json", b"{}")
    monkeypatch.setattr("cxr_core.mirror.remote.MOST_OBJECTS", 3)
    with pytest.raises(MirrorError, match="more than 3 objects"):
        pull(store, Mirror.at(folder))


@pytest.mark.slow
def test_a_bucket_is_listed_to_its_limit_only(store: Store, bucket: str, monkeypatch: pytest.MonkeyPatch) -> None:
    url = f"s3://{bucket}"
    push(store, Mirror.at(url))
    for number in range(9):
        change(url, f"pins/p{number}.json", b"{}")
    assert len(Mirror.at(url).files.find(f"{bucket}/pins", detail=True, max_items=4)) == 4
    monkeypatch.setattr("cxr_core.mirror.remote.MOST_OBJECTS", 3)
    with pytest.raises(MirrorError, match="more than 3 objects"):
        pull(store, Mirror.at(url))


def test_links_and_pipes_in_a_folder_are_not_followed(
    store: Store, other: Store, filled: dict[str, Any], folder: str, tmp_path: Path
) -> None:
    import os

    push(store, Mirror.at(folder))
    actions = tmp_path / "mirror" / "actions"
    record = actions / filled["train"].key
    record.rename(tmp_path / "elsewhere")
    record.symlink_to(tmp_path / "elsewhere")
    os.mkfifo(actions / ("0" * 64))
    report = pull(other, Mirror.at(folder))
    assert sorted(left.what for left in report.left) == sorted(
        [f"actions/{'0' * 64}", f"actions/{filled['train'].key}"]
    )


def run_of(finished: str | None, state: str) -> dict[str, Any]:
    return {"started": "2026-11-24T00:00:00Z", "finished": finished, "state": state}


def test_of_a_runs_accounts_the_one_that_finished_last_stands(store: Store, other: Store, folder: str) -> None:
    mirror = Mirror.at(folder)
    store.write_run("r", run_of(None, "running"))
    push(store, mirror)
    assert pull(other, mirror).runs == 1
    store.write_run("r", run_of("2026-11-24T02:00:00+00:00", "completed"))
    assert (push(store, mirror).runs, pull(other, mirror).runs) == (1, 1)
    assert other.read_run("r")["state"] == "completed"
    other.write_run("r", run_of("2026-11-24T01:00:00Z", "older"))
    report = push(other, mirror)
    assert (report.runs, report.left) == (0, ())  # an older one is no news
    assert pull(store, mirror).runs == 0 and store.read_run("r")["state"] == "completed"
    other.write_run("r", run_of("2026-11-24T02:00:00Z", "another"))
    for report in (push(other, mirror), pull(other, mirror)):
        assert [left.what for left in report.left] == ["run r"] and "--force" in report.left[0].mend
    assert other.read_run("r")["state"] == "another"
    assert pull(other, mirror, force=True).runs == 1
    assert other.read_run("r")["state"] == "completed"


def test_a_pin_that_stands_for_something_else_stays(store: Store, other: Store, folder: str) -> None:
    mirror = Mirror.at(folder)
    mine, theirs = store.put_bytes(b"mine", "a"), other.put_bytes(b"theirs", "a")
    store.pin("releases/x", [mine])
    other.pin("releases/x", [theirs])
    push(store, mirror)
    for report in (push(other, mirror), pull(other, mirror)):
        assert report.exit_code == 1 and [left.what for left in report.left] == ["pin releases/x"]
        assert mine.digest[:19] in report.left[0].reason and theirs.digest[:19] in report.left[0].reason
    assert other.pins()["releases/x"] == (theirs,)
    assert push(other, mirror, force=True).pins == 1
    assert pull(store, mirror, force=True).left == ()
    assert store.pins()["releases/x"] == (theirs,) and store.read_bytes(theirs) == b"theirs"


def test_a_record_that_is_there_stays(store: Store, other: Store, folder: str) -> None:
    mirror = Mirror.at(folder)
    first = recorded(store, "engine", {"engine": store.put_bytes(b"first", "engine")})
    newer = recorded(other, "engine", {"engine": other.put_bytes(b"newer", "engine")}, seconds=2.5)
    push(store, mirror)
    assert push(other, mirror).records == 0 and pull(other, mirror).records == 0
    assert (other.record(first.key), store.record(first.key)) == (newer, first)
    assert push(other, mirror, force=True).records == 1
    assert pull(store, mirror).records == 0 and store.record(first.key) == first
    assert pull(store, mirror, force=True).records == 1 and store.record(first.key) == newer


def test_a_damaged_record_in_the_mirror_is_replaced_when_its_size_shows_it(
    store: Store, other: Store, filled: dict[str, Any], folder: str
) -> None:
    push(store, Mirror.at(folder))
    path = f"actions/{filled['train'].key}"
    change(folder, path, objects(folder)[path][:50])
    assert push(store, Mirror.at(folder)).records == 1
    assert pull(other, Mirror.at(folder)).left == ()


def test_a_server_that_is_not_there(store: Store, filled: dict[str, Any], closed_server: str) -> None:
    for action in (push, pull):
        with pytest.raises(MirrorError, match="Look at the address, the credentials") as told:
            action(store, Mirror.at(closed_server))
        assert "testing" not in str(told.value)


def test_a_bucket_that_is_not_there(store: Store, filled: dict[str, Any], bucket: str) -> None:
    with pytest.raises(MirrorError, match="bucket"):
        push(store, Mirror.at(f"s3://{bucket}-no/x"))


def test_a_worker_reads_through(
    store: Store, other: Store, filled: dict[str, Any], folder: str, caplog: pytest.LogCaptureFixture
) -> None:
    push(store, Mirror.at(folder))
    behind = ReadThrough(other, folder)
    assert not behind.fetch("0" * 64)
    assert behind.fetch(filled["train"].key)
    assert other.record(filled["train"].key) == filled["train"]
    assert not other.has(filled["data"])  # only what that record names
    change(folder, f"blobs/sha256/{filled['data'].digest[7:9]}/{filled['data'].digest[9:]}", b"[]\n")
    with caplog.at_level(logging.WARNING, "cxr.mirror"):
        assert not behind.fetch(filled["ingest"].key)
    assert "cxr store push" in caplog.text and "not asked any more" not in caplog.text
    assert other.verify().exit_code == 0


@pytest.mark.parametrize("url", ["file:///nowhere/at/all", "ftp://x", "s3://user:SECRET@bucket/x"])
def test_a_mirror_that_cannot_be_is_one_warning(other: Store, url: str, caplog: pytest.LogCaptureFixture) -> None:
    behind = ReadThrough(other, url)
    assert not any(behind.fetch(f"{number:064x}") for number in range(3))
    assert len(caplog.records) == 1 and "is computed here" in caplog.text


def test_a_silent_mirror_costs_its_patience_once(
    other: Store, silent_server: str, caplog: pytest.LogCaptureFixture
) -> None:
    behind = ReadThrough(other, silent_server, patience=5)
    began = time.monotonic()
    assert not any(behind.fetch(f"{number:064x}") for number in range(5))
    assert time.monotonic() - began < 20  # and not five times a second
    assert [record.message for record in caplog.records if record.name == "cxr.mirror"] == [
        f"mirror {silent_server} is not asked any more, what it may have is computed here: not a word in 5 s"
    ]
