"""What happens between the look at a blob and its name."""

import os
from collections.abc import Callable
from pathlib import Path

import pytest

from cxr_core.errors import UsageError
from cxr_core.store import Store, intake
from cxr_core.store.blobs import Blobs
from cxr_core.store.disk import CHUNK
from cxr_core.store.intake import Intake
from cxr_core.store.seals import digest_of

Act = Callable[[], object]


@pytest.fixture
def between(monkeypatch: pytest.MonkeyPatch) -> Callable[[Act], None]:
    """``between(act)``: once, after blobs were looked at and before they are named or made young."""

    def arrange(act: Act) -> None:
        real = Intake._name

        def name(self: Intake) -> None:
            monkeypatch.setattr(Intake, "_name", real)
            act()
            real(self)

        monkeypatch.setattr(Intake, "_name", name)

    return arrange


@pytest.mark.parametrize("size", [10, 3_000_000])
def test_a_blob_collected_after_the_look_is_put_all_the_same(
    store: Store, tmp_path: Path, between: Callable[[Act], None], size: int
) -> None:
    source = tmp_path / "source"
    source.write_bytes(os.urandom(size))
    ref = store.put(source, "x")
    between(lambda: store.gc(dry_run=False, grace_seconds=-1))
    assert store.put(source, "x") == ref
    assert store.read_bytes(ref) == source.read_bytes()


@pytest.mark.parametrize("more", [-1, 0, 1, 2])
def test_sizes_about_one_chunk_are_read_to_their_end(store: Store, tmp_path: Path, more: int) -> None:
    data = os.urandom(CHUNK + more)
    source = tmp_path / "source"
    source.write_bytes(data)
    ref = store.put(source, "x")
    assert (ref.size, ref.digest) == (len(data), digest_of(data))
    assert store.read_bytes(ref) == data
    assert store.verify().exit_code == 0
    store.path(ref).chmod(0o644)
    with store.path(ref).open("ab") as file:
        file.write(b"x")
    assert store.verify().exit_code == 1


@pytest.mark.parametrize("size", [10, CHUNK, CHUNK + 1])
def test_a_source_that_grows_after_it_was_measured_is_taken_to_its_end(
    store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, size: int
) -> None:
    source = tmp_path / "source"
    source.write_bytes(bytes(size))
    real = intake._opened

    def opened(path: str | Path) -> tuple[int, int]:
        found = real(path)
        with source.open("ab") as file:
            file.write(b"more")
        return found

    monkeypatch.setattr(intake, "_opened", opened)
    assert store.put(source, "x").size == size + 4


def test_a_source_that_changes_meanwhile_is_refused(
    store: Store, tmp_path: Path, between: Callable[[Act], None]
) -> None:
    source = tmp_path / "source"
    source.write_bytes(b"before")
    ref = store.put(source, "x")
    between(lambda: (source.write_bytes(b"after"), store.path(ref).unlink()))
    with pytest.raises(UsageError, match="changed while it was put"):
        store.put(source, "x")
    assert list((store.root / "tmp").iterdir()) == []


def test_another_users_blob_gives_way_to_ours(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    """gc of this user must see it as young, and only its owner may make it so."""
    ref = store.put_bytes(b"shared", "x")
    path = store.path(ref)
    os.utime(path, (1, 1))
    before = path.stat().st_ino
    monkeypatch.setattr(Blobs, "touch", lambda self, digest: False)
    store.put_bytes(b"shared", "x")
    assert path.stat().st_ino != before and path.stat().st_mtime > 1


@pytest.mark.parametrize(("name", "limit"), [("_FILES", 2), ("_BYTES", 1000)])
def test_a_put_that_stops_half_way_has_given_its_names_so_far(
    store: Store, folder: Path, monkeypatch: pytest.MonkeyPatch, name: str, limit: int
) -> None:
    monkeypatch.setattr(intake, name, limit)
    monkeypatch.setattr(intake, "_PORTION_FILES", 1)
    whole = store.put(folder, "tree")
    assert store.gc(dry_run=False, grace_seconds=-1).removed_blobs
    (folder / "zz").symlink_to("nowhere")
    with pytest.raises(UsageError):
        intake.put_blobs(Blobs(store._layout), [*sorted(folder.rglob("*.bin")), folder / "zz"])
    (folder / "zz").unlink()
    report = store.verify()
    assert (report.exit_code, report.blobs) == (0, 2)  # alpha, twice, and beta
    assert list((store.root / "tmp").iterdir()) == []
    assert store.put(folder, "tree") == whole
    store.verify_ref(whole)


def test_what_is_there_is_not_written_again(store: Store, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    ref = store.put(folder, "tree")
    monkeypatch.setattr(os, "write", lambda *_: pytest.fail("wrote what is there"))
    monkeypatch.setattr(os, "replace", lambda *_: pytest.fail("renamed what is there"))
    assert store.put(folder, "tree") == ref
