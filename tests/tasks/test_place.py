import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from tasks.place import lock_table

THREADS = 8


def test_threads_that_ask_first_at_once_have_one_table(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for attempt in range(20):
        monkeypatch.setenv("CXR_STORE", str(tmp_path / str(attempt)))
        together = threading.Barrier(THREADS)

        def first(together: threading.Barrier = together) -> int:
            together.wait()
            return id(lock_table())

        with ThreadPoolExecutor(THREADS) as pool:
            assert len(set(pool.map(lambda _: first(), range(THREADS)))) == 1
