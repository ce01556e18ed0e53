"""The loop keeps both floors, counts what was bound, and costs next to nothing."""

from collections.abc import Callable
from dataclasses import replace
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest

from cxr_core.bench.audit import answers_before, batch_complaint, complaint, memory_complaint
from cxr_core.bench.inputs import batches
from cxr_core.bench.loop import turn
from cxr_core.bench.trtexec.exports import latencies, read_times, write_times
from cxr_core.bench.trtexec.times import queries_of
from tests.cxr_core.bench.virtual import Sleeper, VirtualClock


class Echo:
    """Answers with two statistics of the images; ``lie`` spoils the answers from the third call on."""

    input_shape = (-1, 1, 16, 16)
    spans = None

    def __init__(self, lie: str = "") -> None:
        self.lie, self.calls, self.bound_images, self.seen = lie, 0, 0, []

    def __call__(self, images: np.ndarray) -> np.ndarray:
        self.calls += 1
        self.seen.append(images)
        self.bound_images = 1 if self.lie == "batch" else len(images)
        answers = np.stack([images.mean((1, 2, 3)), images.std((1, 2, 3))], axis=1).astype(np.float32) / 255
        if self.lie == "first only":
            answers[1:] = answers[0]
        if self.calls > 2 and self.lie in ("nan", "drift", "short"):
            answers = {"nan": answers * np.nan, "drift": answers + 0.1, "short": answers[:0]}[self.lie]
        return answers


def test_inputs_are_whole_pixel_values_repeatable_and_all_different() -> None:
    some = batches(3, 20, 28, seed=4)
    assert len(some) > 1 and all(b.shape == (3, 1, 20, 28) and b.dtype == np.float32 for b in some)
    stacked = np.concatenate(some)
    assert stacked.min() >= 0 and stacked.max() <= 255 and (stacked == np.round(stacked)).all()
    assert len({image.tobytes() for image in stacked}) == len(stacked)
    np.testing.assert_array_equal(stacked, np.concatenate(batches(3, 20, 28, seed=4)))
    assert not np.array_equal(stacked, np.concatenate(batches(3, 20, 28, seed=5)))


def test_time_and_count_floors_both_hold() -> None:
    some = batches(1, 16, 16, 0)
    assert len(turn(Echo(), some, 0.0, least=37).starts) == 37
    long = turn(Echo(), some, 0.05)
    assert long.seconds >= 0.05 and len(long.starts) > 1


def test_inputs_are_cycled_and_images_counted_from_the_binding() -> None:
    some, runner = batches(5, 16, 16, 0), Echo()
    done = turn(runner, some, 0.0, least=9)
    assert all(seen is some[i % len(some)] for i, seen in enumerate(runner.seen))
    assert done.bound.tolist() == [5] * 9
    assert done.images_per_second == pytest.approx(45 / done.seconds)
    lying = turn(Echo("batch"), some, 0.0, least=9)
    assert lying.bound.sum() == 9


def test_queries_do_not_overlap_and_nothing_but_the_call_is_timed() -> None:
    done = turn(Echo(), batches(1, 16, 16, 0), 0.02)
    edges = [edge for pair in zip(done.starts, done.stops, strict=True) for edge in pair]
    assert all(a <= b for a, b in pairwise(edges))
    between = (done.starts[1:] - done.stops[:-1]) / 1e3
    assert np.median(between) < 200, "microseconds between two queries"


@pytest.mark.parametrize(
    ("lie", "words"),
    [
        ("nan", "query 2 answered with values that are not finite"),
        ("drift", "query 2 answered otherwise while timed than before"),
        ("short", "query 2 was given 3 images, 3 were bound and 0 answered"),
        ("batch", "query 0 was given 3 images, 1 were bound"),
    ],
)
def test_wrong_answers_are_told_with_the_query(lie: str, words: str) -> None:
    some, expected = batches(3, 16, 16, 0), answers_before(Echo(), batches(3, 16, 16, 0))
    assert words in complaint(turn(Echo(lie), some, 0.0, least=6), some, expected)
    assert complaint(turn(Echo(), some, 0.0, least=6), some, expected) == ""


@pytest.mark.parametrize(
    ("starts", "stops", "by"),
    [
        ([0, 20, 40, 60], [10, 30, 50, 70], ""),
        ([0, 1, 40, 41], [10, 11, 50, 51], ""),  # two streams
        ([0, 20, 40, 60], [10, 15, 50, 70], "5 ms"),  # within a query
        ([0, 20, 13, 60], [10, 30, 50, 70], "7 ms"),  # between two
        ([0, 20, 40, 60], [10, 30, 50, 70 - 3_600_000], "3.6e+06 ms"),
    ],
)
def test_a_clock_that_goes_back_is_told(starts: list[int], stops: list[int], by: str) -> None:
    some = batches(2, 16, 16, 0)
    done = turn(Echo(), some, 0.0, least=4)
    done = replace(done, starts=1_000_000 * np.array(starts), stops=1_000_000 * np.array(stops))
    found = complaint(done, some, answers_before(Echo(), some))
    assert found.startswith(f"the clock went back by {by} while queries were timed") if by else found == ""


def test_a_clock_that_goes_back_within_a_query_is_found_by_the_loop() -> None:
    clock, some = VirtualClock(), batches(2, 8, 8, 0)
    expected = answers_before(Sleeper(clock, lambda call, batch: 0.0), some)
    done = turn(Sleeper(clock, lambda call, batch: -0.5 if call == 2 else 0.01), some, 0.0, 4, clock)
    assert "the clock went back by 500 ms" in complaint(done, some, expected)


def test_a_batch_answered_by_its_first_image_alone_is_found() -> None:
    spread = np.stack([np.full((1, 16, 16), v) for v in (0, 120, 250)]).astype(np.float32)
    honest, lying = Echo(), Echo("first only")
    assert batch_complaint(honest, spread, honest(spread)) == ""
    assert "otherwise in a batch of 3 than alone" in batch_complaint(lying, spread, lying(spread))


def test_times_are_written_as_trtexec_exports_them_and_read_back(tmp_path: Path) -> None:
    import json

    turns = [turn(Echo(), batches(1, 16, 16, 0), 0.0, least=5) for _ in range(2)]
    write_times(tmp_path / "times.json", queries_of(turns))
    rows = json.loads((tmp_path / "times.json").read_text())
    assert set(rows[0]) == {
        "startEnqMs", "endEnqMs", "startH2dMs", "endH2dMs", "startComputeMs", "endComputeMs", "startD2hMs", "endD2hMs",
        "h2dMs", "computeMs", "d2hMs", "latencyMs",
    }  # fmt: skip
    assert len(rows) == 10 and rows[0]["startComputeMs"] == 0
    expected = np.concatenate([t.milliseconds for t in turns])
    np.testing.assert_allclose(latencies(read_times(tmp_path / "times.json")), expected, atol=1e-6)
    for row in rows:
        assert row["latencyMs"] == pytest.approx(row["endComputeMs"] - row["startComputeMs"], abs=1e-5)


class Remembering(Echo):
    """Computes for a while, but only for images that it has not seen."""

    def __init__(self, remembers: bool = True) -> None:
        super().__init__()
        self.remembers, self.known = remembers, {}

    def __call__(self, images: np.ndarray) -> np.ndarray:
        key = images.tobytes()
        if key not in self.known or not self.remembers:
            for _ in range(20):
                np.sort(images, axis=None)
            self.known[key] = super().__call__(images)
        self.bound_images = len(images)
        return self.known[key]


def of_pairs(ms: Callable[[int, int, int], float]) -> tuple[Sleeper, VirtualClock]:
    """Try, known image, and 0 for it or 1 for the new one after it -> its time; 4 known images."""
    clock = VirtualClock()
    return Sleeper(clock, lambda call, batch: ms(call // 8, call // 2 % 4, call % 2) / 1000), clock


def test_an_engine_whose_new_images_were_held_up_is_not_taken_for_one_that_remembers() -> None:
    runner, clock = of_pairs(lambda attempt, image, new: 20 if new and attempt < 10 else 1)
    assert memory_complaint(runner, batches(1, 8, 8, 0), clock) == ""
    assert runner.calls == 11 * 8


@pytest.mark.parametrize(("lucky", "found"), [(1, False), (14, False), (16, True)])
def test_one_lucky_query_is_no_memory_nor_are_as_many_as_one_of_four_images_may_have(lucky: int, found: bool) -> None:
    """14 in a row have a chance of 6e-5 for one image, and of 2.4e-4 for any of four."""
    runner, clock = of_pairs(lambda attempt, image, new: 1 if (image, new) == (2, 0) and attempt < lucky else 3)
    assert ("answers are remembered" in memory_complaint(runner, batches(1, 8, 8, 0), clock)) == found


@pytest.mark.parametrize("held_up", [0, 10])
def test_one_image_remembered_is_found_beside_load_that_holds_up_others(held_up: int) -> None:
    """Of the others, at random, in ``held_up`` of 24 tries the known one and in as many the new one."""
    random = np.random.default_rng(0)
    upon = np.stack([random.permutation(24) for _ in range(4)])
    slower = {0: upon < held_up, 1: upon >= 24 - held_up}
    runner, clock = of_pairs(
        lambda attempt, image, new: 0.1 if (image, new) == (1, 0) else 5 if slower[new][image, attempt] else 1
    )
    found = memory_complaint(runner, batches(1, 8, 8, 0), clock)
    assert found == "images seen before are answered 10.0 times as fast as new ones, so answers are remembered"


def test_an_engine_that_remembers_its_answers_is_found() -> None:
    some = batches(1, 64, 64, 0)
    for runner in (Remembering(), Remembering(remembers=False), Echo()):
        answers_before(runner, some)
        words = memory_complaint(runner, some)
        assert ("so answers are remembered" in words) == (isinstance(runner, Remembering) and runner.remembers), words
