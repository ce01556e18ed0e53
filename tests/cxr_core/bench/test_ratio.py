"""Ratios over rounds: their value, and that their interval covers as often as it says."""

import numpy as np
import pytest
from scipy.stats import ttest_1samp

from cxr_core.bench.ratio import ratio_from_rounds


def coverage(rounds: int, trials: int, spread: float = 0.05) -> float:
    random, hits = np.random.default_rng(7), 0
    for seed in range(trials):
        found = ratio_from_rounds(1.3 * np.exp(random.normal(0, spread, rounds)), seed)
        hits += found.low <= 1.3 <= found.high
    return hits / trials


def test_value_is_the_geometric_mean_and_lies_in_its_interval() -> None:
    found = ratio_from_rounds([2.0, 0.5, 2.0, 0.5], seed=0)
    assert found.value == pytest.approx(1.0) and found.low < 1 < found.high and found.rounds == 4


def test_ratio_and_its_inverse_are_mirror_images() -> None:
    ratios = [1.1, 1.3, 1.2, 1.4]
    there, back = ratio_from_rounds(ratios, 3), ratio_from_rounds([1 / r for r in ratios], 3)
    assert there.value == pytest.approx(1 / back.value)
    assert there.low == pytest.approx(1 / back.high, rel=0.02)


def test_equal_rounds_give_an_interval_without_width() -> None:
    found = ratio_from_rounds([1.25] * 10, seed=0)
    assert found.low == pytest.approx(1.25) and found.high == pytest.approx(1.25)


def test_same_seed_same_interval() -> None:
    assert ratio_from_rounds([1.0, 1.1, 1.2], 5) == ratio_from_rounds([1.0, 1.1, 1.2], 5)


@pytest.mark.parametrize("rounds", [2, 3, 12])
def test_an_interval_is_never_narrower_than_students(rounds: int) -> None:
    per_round = np.exp(np.random.default_rng(rounds).normal(0.1, 0.05, rounds))
    found, told = ratio_from_rounds(per_round.tolist(), 0), ttest_1samp(np.log(per_round), 0).confidence_interval(0.95)
    assert found.low <= np.exp(told.low) * (1 + 1e-12) and found.high >= np.exp(told.high) * (1 - 1e-12)


def test_one_round_carries_no_interval() -> None:
    with pytest.raises(ValueError, match="at least 2, got 1"):
        ratio_from_rounds([1.0], 0)


@pytest.mark.parametrize("rounds", [2, 4, 6, 10, 20])
def test_interval_covers(rounds: int) -> None:
    assert coverage(rounds, 300) >= 0.91


@pytest.mark.slow
@pytest.mark.parametrize("rounds", [2, 4, 6, 10, 20])
def test_interval_covers_closely(rounds: int) -> None:
    assert 0.925 <= coverage(rounds, 3000) <= 0.98
