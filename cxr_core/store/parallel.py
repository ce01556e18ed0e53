"""Work on many small things on all cores: threads, for hashing and file-system calls leave the interpreter free."""

import os
from collections import deque
from collections.abc import Callable, Generator, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from itertools import chain, islice
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


def on_all_cores(work: Callable[[list[T]], R], given: Iterable[list[T]]) -> Generator[R, None, None]:
    """``work`` of each portion, in the order given; a single portion without a thread.

    Few are under way at once, so that memory stays small. Close it where the loop over it may end early: then nothing
    is under way any more.
    """
    rest = iter(given)
    first = list(islice(rest, 2))
    if len(first) < 2:
        yield from map(work, first)
        return
    threads = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    ahead: deque[Future[R]] = deque()
    pool = ThreadPoolExecutor(threads)
    try:
        for portion in chain(first, rest):
            ahead.append(pool.submit(work, portion))
            if len(ahead) > 2 * threads:
                yield ahead.popleft().result()
        while ahead:
            yield ahead.popleft().result()
    finally:
        pool.shutdown(cancel_futures=True)
