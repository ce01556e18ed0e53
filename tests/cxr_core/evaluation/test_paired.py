import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.optimize import minimize_scalar
from scipy.stats import norm

from cxr_core.config import CompareConfig
from cxr_core.evaluation.differences import tango_bound
from cxr_core.evaluation.intervals import patient_bootstrap
from cxr_core.evaluation.paired import mcnemar_exact, paired
from cxr_core.evaluation.scores import read_scores


@pytest.fixture
def pair(tmp_path, synthetic):
    """A function: the pairing of an engine's table with the reference's."""
    reference = synthetic.answers(240)

    def of(table):
        read = []
        for name, one in (("engine", table), ("reference", reference)):
            one.to_csv(tmp_path / f"{name}.csv", index=False)
            read.append(read_scores(tmp_path / f"{name}.csv"))
        draws = patient_bootstrap(read[1].label, read[1].patient, 500, 0)
        return paired(read[0], read[1], synthetic.THRESHOLD, draws, CompareConfig())

    return reference, of


def test_mcnemar_of_a_published_example():
    # Agresti, Categorical Data Analysis, approval ratings: 86 and 150 changed; exact p 3.716e-05 (R, exact2x2).
    assert mcnemar_exact(86, 150) == pytest.approx(3.716e-5, rel=1e-3)
    assert mcnemar_exact(0, 0) == 1.0
    assert mcnemar_exact(6, 0) == pytest.approx(2 * 0.5**6)


def test_the_reference_against_itself(pair):
    reference, of = pair
    found = of(reference)
    assert (found.flips, found.agreement, found.mcnemar_p, found.max_abs_dp) == (0, 1.0, 1.0, 0.0)
    # A bootstrap alone would say that no loss at all is possible.
    assert found.accuracy_difference.low == pytest.approx(-(norm.ppf(0.95) ** 2) / (240 + norm.ppf(0.95) ** 2))


def test_changes_are_counted_by_direction(pair, synthetic):
    reference, of = pair
    found = of(synthetic.flipped(reference, lost=7, gained=2))
    assert (found.lost, found.gained, found.flips) == (7, 2, 9)
    assert found.agreement == pytest.approx(231 / 240)
    assert found.accuracy_difference.value == pytest.approx(-5 / 240)
    assert found.accuracy_difference.low < -5 / 240 < found.accuracy_difference.high
    assert found.mcnemar_p == pytest.approx(mcnemar_exact(7, 2))
    assert found.flips_share.low < 9 / 240 < found.flips_share.high


def test_probability_shift(pair, synthetic):
    reference, of = pair
    other = synthetic.noisy(reference, 0.5)
    shift = (other["probability"] - reference["probability"]).abs()
    found = of(other)
    assert found.mean_abs_dp.value == pytest.approx(shift.mean())
    assert found.max_abs_dp == pytest.approx(shift.max())
    assert found.mean_abs_dp.low < shift.mean() < found.mean_abs_dp.high


def _score_by_maximum_likelihood(lost: int, gained: int, images: int, delta: float) -> float:
    """The same statistic without the closed form: the share lost is found by maximising the likelihood."""

    def unlikely(q: float) -> float:
        return -(lost * np.log(q) + gained * np.log(q + delta) + (images - lost - gained) * np.log(1 - 2 * q - delta))

    low, high = max(0.0, -delta), (1 - delta) / 2
    q = minimize_scalar(unlikely, bounds=(low + 1e-12, high - 1e-12), method="bounded", options={"xatol": 1e-12}).x
    return float((gained - lost - images * delta) / np.sqrt(images * (2 * q + delta - delta**2)))


@settings(max_examples=60)
@given(st.integers(30, 800), st.integers(1, 12), st.integers(1, 12))
def test_at_tangos_bounds_the_score_statistic_is_the_normal_quantile(images, lost, gained):
    low, high = (tango_bound(lost, gained, images, side) for side in (-1, 1))
    assert low < (gained - lost) / images < high
    assert _score_by_maximum_likelihood(lost, gained, images, low) == pytest.approx(norm.ppf(0.95), abs=1e-3)
    assert _score_by_maximum_likelihood(lost, gained, images, high) == pytest.approx(-norm.ppf(0.95), abs=1e-3)


def test_tangos_bounds_mirror_each_other():
    assert tango_bound(5, 1, 300, -1) == pytest.approx(-tango_bound(1, 5, 300, 1))


@pytest.mark.parametrize(("lost", "gained"), [(40, 0), (0, 40), (0, 0), (39, 1)])
def test_tangos_bounds_stay_within_what_is_possible(lost, gained):
    assert -1 <= tango_bound(lost, gained, 40, -1) <= (gained - lost) / 40 <= tango_bound(lost, gained, 40, 1) <= 1


def _misses(rng, share_lost: float, share_gained: float, runs: int, images: int = 500) -> tuple[float, float]:
    """How often the truth lies below the lower bound: by bootstrap alone, and by the interval in use."""
    truth, alone, used = share_gained - share_lost, 0, 0
    label, patient = np.arange(images) % 2, np.arange(images)
    draws = patient_bootstrap(label, patient, 400, 0)
    for _ in range(runs):
        change = rng.choice([-1.0, 1.0, 0.0], p=[share_lost, share_gained, 1 - share_lost - share_gained], size=images)
        low = float(np.quantile(draws.means(change), 0.05))
        alone += truth < low
        used += truth < min(low, tango_bound(int((change < 0).sum()), int((change > 0).sum()), images, -1))
    return alone / runs, used / runs


def test_with_few_changes_a_bootstrap_alone_misses_too_often():
    # A true loss of 0.4 points, nothing gained: the case that a gate at 1 point is there for.
    alone, used = _misses(np.random.default_rng(0), 0.004, 0.0, 300)
    assert alone > 0.10
    assert used < 0.08


@pytest.mark.slow
def test_the_bound_in_use_keeps_its_level():
    for lost, gained in ((0.002, 0.0), (0.004, 0.001), (0.01, 0.01), (0.02, 0.005)):
        _, used = _misses(np.random.default_rng(1), lost, gained, 3000)
        assert used < 0.065, (lost, gained)
