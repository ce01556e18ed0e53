"""Work on many small things on all cores: threads, for hashing and file-system calls leave the interpreter free."""

import os
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TypeVar

T = TypeVar("T")
R = TypeVar("R")


def portions(things: Iterable[T], weight: Callable[[T], int], most: int, many: int = 64) -> Iterator[list[T]]:
    """The things in lists of up to ``many``, or fewer where their weights come to ``most``."""
    portion: list[T] = []
    heavy = 0
    for thing in things:
        portion.append(thing)
        heavy += weight(thing)
        if len(portion) >= many or heavy >= most:
            yield portion
            portion, heavy = [], 0
    if portion:
        yield portion


def on_all_cores(work: Callable[[list[T]], R], given: Iterable[list[T]]) -> Iterator[R]:
    """``work`` of each portion, in the order given; few are under way at once, so that memory stays small."""
    threads = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    ahead: deque[Future[R]] = deque()
    with ThreadPoolExecutor(threads) as pool:
        for portion in given:
            ahead.append(pool.submit(work, portion))
            if len(ahead) > 2 * threads:
                yield ahead.popleft().result()
        while ahead:
            yield ahead.popleft().result()
