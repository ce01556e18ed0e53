from collections.abc import Callable
from pathlib import Path

from cxr_core.refs import Ref
from cxr_core.store import Store

Persist = Callable[..., tuple[str, bytes]]
STARTED = "2026-11-24T00:00:00Z"


def on_disk(store: Store, *refs: Ref) -> int:
    """What the blobs of these take on disk, each once; a tree's listing too."""
    files = {(store.root / "blobs" / "sha256" / d[7:9] / d[9:]) for ref in refs for d in store._artifacts.digests(ref)}
    return sum(file.stat().st_blocks * 512 for file in files)


def test_what_is_named_often_is_on_disk_once(store: Store, folder: Path, persisted: Persist) -> None:
    shared, own = store.put_bytes(b"s" * 100_000, "shared"), store.put_bytes(b"o" * 50_000, "own")
    tree, loose = store.put(folder, "tree"), store.put_bytes(b"l" * 20_000, "loose")
    store.write_action(*persisted("train", {"shared": shared, "own": own}, parameters={"seed": 1}))
    store.write_action(*persisted("train", {"shared": shared}, parameters={"seed": 2}))
    store.write_action(*persisted("engine", {"shared": shared, "tree": tree}))
    store.write_run("one", {"started": STARTED, "deep": [shared.model_dump(), own.model_dump()]})
    store.pin("releases/a", [shared, tree])
    found = store.du()
    shares = {(share.kind, share.name): share for share in found.shares}
    assert list(shares) == [("pin", "releases/a"), ("run", "one"), ("stage", "train"), ("stage", "engine")]
    train, engine = shares["stage", "train"], shares["stage", "engine"]
    assert (train.artifacts, train.logical) == (3, 250_000)
    assert (train.disk, train.alone) == (on_disk(store, shared, own), on_disk(store, own))
    assert (engine.artifacts, engine.logical) == (2, 100_000 + tree.size)
    assert (engine.disk, engine.alone) == (on_disk(store, shared, tree), on_disk(store, tree))
    run, pin = shares["run", "one"], shares["pin", "releases/a"]
    assert (run.logical, run.disk, run.alone) == (150_000, on_disk(store, shared, own), on_disk(store, own))
    assert (pin.logical, pin.alone) == (100_000 + tree.size, on_disk(store, tree))
    assert found.logical == sum(share.logical for share in found.shares)
    assert (found.disk, found.unnamed) == (on_disk(store, shared, own, tree, loose), on_disk(store, loose))
    assert found.blobs == 3 + len({entry.digest for entry in store.entries(tree)}) + 1
    assert found.size < found.disk < found.logical
    assert {"actions", "runs", "FORMAT"} < found.beside.keys() and "blobs" not in found.beside


def test_a_hole_takes_no_room_and_what_is_lost_none(store: Store, tmp_path: Path) -> None:
    hole, lost = store.put_bytes(b"x", "hole"), store.put_bytes(b"lost", "lost")
    store.pin("p", [hole, lost])
    path = store.path(hole)
    path.chmod(0o644)
    with path.open("r+b") as opened:
        opened.truncate(10_000_000)
    store.path(lost).unlink()
    found = store.du()
    assert found.size == 10_000_000 and found.disk < 100_000
    assert (found.blobs, found.shares[0].artifacts, found.shares[0].disk) == (1, 2, found.disk)


def test_an_empty_store_takes_next_to_nothing(store: Store) -> None:
    found = store.du()
    assert (found.logical, found.blobs, found.size, found.disk, found.unnamed, found.shares) == (0, 0, 0, 0, 0, ())
