import fcntl
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest

from cxr_core.errors import StoreError, UsageError
from cxr_core.store import FlockTable, Store

HOLD = """
import os, sys, time, pathlib
from cxr_core.store import Store
table = Store.open(pathlib.Path(sys.argv[1])).lock_table()
assert table.acquire("key", "child", 5)
if sys.argv[2] == "fork" and os.fork() == 0:
    time.sleep(60)  # an orphan that inherited the open file
print("held", flush=True)
time.sleep(60)
"""


@contextmanager
def holding_child(root: Path, how: str = "plain") -> Iterator[subprocess.Popen[str]]:
    command = [sys.executable, "-c", HOLD, str(root), how]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, start_new_session=True) as child:
        try:
            assert child.stdout is not None and child.stdout.readline() == "held\n"
            yield child
        finally:
            with suppress(ProcessLookupError):  # its group is gone with it, unless an orphan stays
                os.killpg(child.pid, signal.SIGKILL)


@pytest.fixture
def table(store: Store) -> FlockTable:
    return store.lock_table()


@pytest.mark.parametrize("how", ["plain", "fork"])
def test_a_killed_holder_frees_its_lock_at_once(store: Store, table: FlockTable, how: str) -> None:
    with holding_child(store.root, how) as child:
        assert table.is_locked("key")
        assert not table.is_holder("key", "child")  # it is held, but not here
        assert "child (process " in table.holder("key")
        assert not table.acquire("key", "me", timeout=0.1)
        child.kill()
        child.wait()
        began = time.monotonic()
        assert table.acquire("key", "me", timeout=10)
        assert time.monotonic() - began < 5
        table.release("key", "me")


def test_a_waiter_gets_the_lock_when_its_holder_is_killed(store: Store, table: FlockTable) -> None:
    with holding_child(store.root) as child:
        threading.Timer(0.2, child.kill).start()
        assert table.wait("key", timeout=10)
        assert table.acquire("key", "me", timeout=10)


def test_holders_of_one_process_exclude_each_other(table: FlockTable) -> None:
    assert table.acquire("key", "a", 0)
    assert not table.acquire("key", "b", 0)
    assert not table.is_holder("key", "b") and table.is_holder("key", "a")
    assert table.acquire("key", "a", 0)  # again, as one lock
    table.release("key", "a")
    assert not table.is_locked("key")
    assert table.acquire("key", "b", 0)


def test_two_tables_exclude_each_other(store: Store, table: FlockTable) -> None:
    other = store.lock_table()
    assert table.acquire("key", "a", 0)
    assert other.is_locked("key") and not other.acquire("key", "a", 0)
    assert not other.wait("key", 0.05)
    with pytest.raises(StoreError, match="not held by"):
        other.release("key", "a")
    table.release("key", "a")
    assert other.wait("key", 0)
    assert other.acquire("key", "a", 0)


def test_a_lock_that_was_never_taken_is_free(table: FlockTable) -> None:
    assert not table.is_locked("key") and table.wait("key", 0) and not table.is_holder("key", "a")
    with pytest.raises(StoreError, match="acquire it before"):
        table.release("key", "a")


def test_any_key_has_a_file_of_its_own(table: FlockTable) -> None:
    keys = ["a" * 64, "x/y", "../../etc", "", "store", "é", "n" * 300]
    assert len({table.path(key) for key in keys}) == len(keys)
    for key in keys:
        assert table.path(key).parent == table.path("a").parent
        assert table.acquire(key, "me", 0)
        assert table.is_locked(key)


def test_threads_count_one_by_one(store: Store, table: FlockTable) -> None:
    seen = {"inside": 0, "most": 0, "total": 0}

    def work(number: int) -> None:
        for _ in range(10):
            assert table.acquire("key", f"thread{number}", 30)
            seen["inside"] += 1
            seen["most"] = max(seen["most"], seen["inside"])
            seen["total"] += 1
            time.sleep(0.0002)
            seen["inside"] -= 1
            table.release("key", f"thread{number}")

    threads = [threading.Thread(target=work, args=(number,)) for number in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert seen == {"inside": 0, "most": 1, "total": 60}


def test_a_block_holds_and_frees(store: Store) -> None:
    waits: list[str] = []
    with store.lock("device-cpu", holder="benchmark int8", on_wait=waits.append):
        wanted = r"still held by benchmark int8 \(process \d+ on .*freed at its death"
        with pytest.raises(StoreError, match=wanted), store.lock("device-cpu", timeout=0.05, on_wait=waits.append):
            pass
    with store.lock("device-cpu", timeout=0, on_wait=waits.append):
        pass
    assert len(waits) == 1 and waits[0].startswith("benchmark int8")


def test_a_block_frees_when_it_fails(store: Store) -> None:
    with pytest.raises(RuntimeError), store.lock("x"):
        raise RuntimeError
    with store.lock("x", timeout=0):
        pass


def test_lock_names_are_plain(store: Store) -> None:
    with pytest.raises(UsageError), store.lock("../x"):
        pass


def test_a_lock_file_swept_away_is_not_held_in_vain(table: FlockTable, monkeypatch: pytest.MonkeyPatch) -> None:
    """gc takes the file away at the worst moment, between open and flock: a lock on it would exclude nobody."""
    real, swept = fcntl.flock, list[int]()

    def sweeping(descriptor: int, operation: int) -> None:
        if not swept:
            swept.append(table.path("key").stat().st_ino)
            table.path("key").rename(table.path("gone"))
            table.path("key").touch()  # and the next one makes it anew
        real(descriptor, operation)

    monkeypatch.setattr(fcntl, "flock", sweeping)
    assert table.acquire("key", "me", 0)
    assert swept and table.path("key").stat().st_ino != swept[0]
    assert table.is_locked("key")


def test_a_forked_child_does_not_hold_what_its_parent_holds(store: Store) -> None:
    script = (
        "import os, pathlib, sys\n"
        "from cxr_core.store import Store\n"
        "table = Store.open(pathlib.Path(sys.argv[1])).lock_table()\n"
        "assert table.acquire('key', 'me', 0)\n"
        "child = os.fork()\n"
        "if child == 0:\n"
        "    os._exit(0 if not table.is_holder('key', 'me') and not table.acquire('key', 'me', 0) else 1)\n"
        "assert os.waitpid(child, 0)[1] == 0\n"
        "assert table.is_holder('key', 'me')\n"
    )
    done = subprocess.run([sys.executable, "-c", script, str(store.root)], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("text", ["", "{", "[]", '{"holder": "x"}', "\udcff"])
def test_a_torn_holder_note_is_no_problem(table: FlockTable, text: str) -> None:
    table.path("key").parent.mkdir(exist_ok=True)
    table.path("key").write_bytes(text.encode(errors="surrogateescape"))
    assert table.holder("key") == "an unnamed holder"
    assert table.acquire("key", "me", 0)
