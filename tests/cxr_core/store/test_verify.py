import json
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from cxr_core.errors import DamagedArtifact, MissingArtifact
from cxr_core.refs import Ref
from cxr_core.store import Store, naming, verify
from cxr_core.store.layout import Layout

Persist = Callable[..., tuple[str, bytes]]


@pytest.fixture
def engine(store: Store, folder: Path, persisted: Persist) -> tuple[str, Ref, Ref]:
    """A record of an engine and a tree, a run that embeds it, and a bystander."""
    blob, tree = store.put_bytes(b"engine bytes", "engine"), store.put(folder, "layers")
    key, content = persisted("engine", {"engine": blob, "layers": tree})
    store.write_action(key, content)
    store.write_action(*persisted("train", {"weights": store.put_bytes(b"weights", "w")}))
    record = store.record(key).model_dump(mode="json")
    store.write_run("r1", {"started": "2026-11-24T00:00:00Z", "records": [record]})
    return key, blob, tree


def test_a_whole_store_is_clean(store: Store, engine: tuple[str, Ref, Ref]) -> None:
    seen: list[tuple[int, int, str]] = []
    report = store.verify(lambda *told: seen.append(told))
    assert (report.new_damage, report.lost, report.withdrawn, report.exit_code) == ((), (), (), 0)
    assert (report.blobs, report.records, report.runs, report.pins) == (6, 2, 1, 0)
    assert report.bytes == sum(p.stat().st_size for p in (store.root / "blobs").rglob("*") if p.is_file())
    assert seen[-1] == (6, 6, "blobs")


def victim_of(store: Store, engine: tuple[str, Ref, Ref], which: str) -> Path:
    _, blob, tree = engine
    digest = {"blob": blob.digest, "listing": tree.digest}.get(which)
    if digest is None:
        listing = json.loads((store.root / "blobs/sha256" / tree.digest[7:9] / tree.digest[9:]).read_bytes())
        digest = next(entry["digest"] for entry in listing if entry["name"] == "deep/b.bin")
    return store.root / "blobs" / "sha256" / digest[7:9] / digest[9:]


@pytest.mark.parametrize("which", ["blob", "listing", "entry"])
@pytest.mark.parametrize("how", ["flip", "gone", "empty", "cut", "swap", "symlink", "folder"])
def test_damage_is_new_once_and_lost_ever_after(
    store: Store, engine: tuple[str, Ref, Ref], which: str, how: str, flip: Callable[..., None]
) -> None:
    key, _, tree = engine
    path = victim_of(store, engine, which)
    digest = f"sha256:{path.parent.name}{path.name}"
    data = path.read_bytes()
    other = store.path(store.put_bytes(b"other content", "o"))
    if how == "flip":
        flip(path, 21)
    else:
        path.unlink()
    if how in ("empty", "cut", "swap"):
        path.write_bytes({"empty": b"", "cut": data[:-1], "swap": other.read_bytes()}[how])
    if how == "symlink":
        path.symlink_to(other)
    if how == "folder":
        path.mkdir()

    first = store.verify()
    assert [found.what for found in first.new_damage] == [digest]
    assert set(first.new_damage[0].named_by) == {"runs/r1", f"actions/{key}"}
    assert (first.exit_code, first.withdrawn, first.lost) == (1, (key,), ())
    assert not path.exists() and not path.is_symlink()
    assert (store.root / "quarantine" / "actions" / key).exists()
    with pytest.raises(MissingArtifact):
        store.read_action(key)

    second = store.verify()
    assert (second.exit_code, second.new_damage, second.withdrawn) == (0, (), ())
    assert [(found.what, found.named_by) for found in second.lost] == [(digest, ("runs/r1",))]
    assert store.read_run("r1")["records"][0]["key"] == key  # readable, with the engine lost
    assert not store.has(engine[1] if which == "blob" else tree)

    store.put_bytes(data, "again")
    third = store.verify()
    assert (third.exit_code, third.lost) == (0, ())


def test_damage_met_while_reading_withdraws_the_records(
    store: Store, engine: tuple[str, Ref, Ref], flip: Callable[..., None]
) -> None:
    key, _, tree = engine
    flip(victim_of(store, engine, "entry"))
    with pytest.raises(DamagedArtifact):
        store.verify_ref(tree)
    assert not (store.root / "actions" / key).exists()
    assert len(list(store.records())) == 1  # the bystander stays
    report = store.verify()
    assert (report.exit_code, len(report.lost)) == (0, 1)


def test_a_blob_repaired_while_it_is_looked_at_stays(
    store: Store, engine: tuple[str, Ref, Ref], flip: Callable[..., None]
) -> None:
    """Another process puts the good bytes between the look at the bad ones and their move."""
    key, blob, _ = engine
    flip(store.path(blob))
    blobs = sorted(path for path in (store.root / "blobs" / "sha256").rglob("*") if path.is_file())
    turn = blobs.index(store.path(blob)) + 1

    def repair(done: int, total: int, text: str) -> None:
        if done == turn:
            store.put_bytes(b"engine bytes", "engine")

    report = store.verify(repair)
    assert report.new_damage == ()
    assert store.read_bytes(blob) == b"engine bytes" and store.read_action(key)


def test_a_blob_lost_twice_is_new_damage_twice(store: Store, engine: tuple[str, Ref, Ref]) -> None:
    for _ in range(2):
        store.path(engine[1]).unlink()
        assert [found.what for found in store.verify().new_damage] == [engine[1].digest]
        assert store.verify().exit_code == 0
        store.put_bytes(b"engine bytes", "engine")


def test_what_has_no_place_among_the_blobs_is_moved(store: Store, engine: tuple[str, Ref, Ref]) -> None:
    shard = next((store.root / "blobs" / "sha256").iterdir())
    (shard / "notes.txt").write_text("x")
    (shard.parent / "README").write_text("x")
    (shard.parent / "zz").mkdir()
    report = store.verify()
    assert sorted(Path(found.what).name for found in report.new_damage) == ["README", "notes.txt", "zz"]
    assert len(list((store.root / "quarantine" / "foreign").iterdir())) == 3
    assert store.verify().exit_code == 0


def test_a_flipped_bit_in_any_file_is_found(store: Store, persisted: Persist, flip: Callable[..., None]) -> None:
    """A dozen bits of every file, one at a time, each with the whole store put right before the next."""
    ref = store.put_bytes(b"weights", "w")
    store.write_action(*persisted("train", {"w": ref}))
    store.write_run("r", {"started": "2026-11-24T00:00:00Z", "ref": ref.model_dump()})
    store.pin("p", [ref])
    rooms = ("blobs", "actions", "runs", "pins")
    good = {p: p.read_bytes() for room in rooms for p in (store.root / room).rglob("*") if p.is_file()}
    assert len(good) == 4
    for path, data in good.items():
        for bit in {*range(0, 8 * len(data), max(1, len(data) * 8 // 12)), 8 * len(data) - 1}:
            flip(path, bit)
            assert store.verify().exit_code == 1, f"bit {bit} of {path.name}"
            assert not path.exists()
            for other, content in good.items():
                if not other.exists():
                    other.write_bytes(content)
            assert store.verify().exit_code == 0


def test_a_pin_moved_on_while_verify_reads_is_no_damage(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    """gc took what the pin had named when it was read; what it names by now is whole."""
    old, new = store.put_bytes(b"old", "old"), store.put_bytes(b"new", "new")
    store.pin("p", [old])
    real = naming.namers

    def moved_on(layout: Layout) -> Iterator[naming.Namer]:
        for namer in real(layout):
            store.pin("p", [new])
            (store.root / "blobs" / "sha256" / old.digest[7:9] / old.digest[9:]).unlink(missing_ok=True)
            yield namer

    monkeypatch.setattr(verify, "namers", moved_on)
    report = store.verify()
    assert (report.exit_code, report.pins) == (0, 1)
