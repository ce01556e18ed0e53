import os
import threading
import time
from collections.abc import Iterator
from contextlib import closing

import pytest

from cxr_core.store.parallel import on_all_cores, portions

CORES = len(os.sched_getaffinity(0))


def test_portions_end_by_number_or_by_weight() -> None:
    assert list(portions([1, 1, 1, 9, 1, 5, 5], lambda weight: weight, 9, 3)) == [[1, 1, 1], [9], [1, 5, 5]]
    assert list(portions([], lambda _: 1, 9)) == []


def test_results_come_in_order_and_only_a_few_portions_are_taken_ahead() -> None:
    taken = 0

    def given() -> Iterator[list[int]]:
        nonlocal taken
        for number in range(100):
            taken += 1
            yield [number]

    def slow_at_first(portion: list[int]) -> int:
        time.sleep(0.02 if portion[0] < CORES else 0)
        return portion[0]

    for place, found in enumerate(on_all_cores(slow_at_first, given())):
        assert found == place and taken - place <= 2 * CORES + 2


def test_a_single_portion_needs_no_thread() -> None:
    assert list(on_all_cores(lambda _: threading.current_thread(), [[1]])) == [threading.main_thread()]
    assert threading.main_thread() not in on_all_cores(lambda _: threading.current_thread(), [[1], [2]])


def test_when_closed_nothing_is_under_way() -> None:
    running = 0

    def work(portion: list[int]) -> int:
        nonlocal running
        running += 1
        time.sleep(0.05)
        running -= 1
        if portion == [0]:
            raise ValueError("the first")
        return 0

    with pytest.raises(ValueError, match="the first"), closing(on_all_cores(work, ([n] for n in range(50)))) as found:
        next(found)
    assert running == 0
