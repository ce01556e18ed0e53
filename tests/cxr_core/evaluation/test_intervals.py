import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn.metrics import roc_auc_score

from cxr_core.evaluation.intervals import (
    PatientBootstrap,
    auc_interval,
    patient_bootstrap,
    percentile_interval,
    share_interval,
    wilson,
)


def test_wilson_of_a_published_example():
    # Newcombe 1998 (Stat. Med. 17:857), table I: 81/263 gives 0.2553 to 0.3662, 0/20 gives 0 to 0.1611.
    assert wilson(81, 263) == pytest.approx((0.2553, 0.3662), abs=5e-5)
    assert wilson(0, 20) == pytest.approx((0.0, 0.1611), abs=5e-5)


def test_wilson_on_the_published_test_split():
    low, high = wilson(574, 624)
    assert (high - low) / 2 == pytest.approx(0.021, abs=5e-4)


@given(st.integers(1, 400).flatmap(lambda n: st.tuples(st.integers(0, n), st.just(n))))
def test_wilson_holds_its_estimate_and_stays_in_range(case):
    low, high = wilson(*case)
    assert 0 <= low <= case[0] / case[1] + 1e-12
    assert case[0] / case[1] - 1e-12 <= high <= 1


def _sample(seed: int, patients: int = 90):
    rng = np.random.default_rng(seed)
    patient = np.repeat(np.arange(patients), rng.integers(1, 4, patients))
    label = (np.arange(patients) % 3 > 0).astype(int)[patient]
    return label, patient, np.round(np.clip(rng.normal(0.3 + 0.4 * label, 0.2), 0, 1), 2)


@given(st.integers(0, 50))
def test_each_replicate_is_what_repeating_the_images_gives(seed):
    label, patient, probability = _sample(seed)
    draws = patient_bootstrap(label, patient, 300, seed)
    auc, mean = draws.auc(label, probability), draws.means(probability)
    for replicate in (0, 150, 299):
        times = draws.weights[replicate][patient].astype(int)
        assert auc[replicate] == pytest.approx(roc_auc_score(np.repeat(label, times), np.repeat(probability, times)))
        assert mean[replicate] == pytest.approx(np.repeat(probability, times).mean())


def test_patients_are_drawn_whole_and_within_their_class():
    label, patient, _ = _sample(0)
    draws = patient_bootstrap(label, patient, 200, 0)
    of_patient = np.array([label[patient == p][0] for p in range(90)])
    assert (draws.weights[:, of_patient == 1].sum(axis=1) == 60).all()
    assert (draws.weights[:, of_patient == 0].sum(axis=1) == 30).all()
    assert (draws.weights == np.round(draws.weights)).all()


def test_the_seed_decides_the_draws():
    label, patient, _ = _sample(0)
    one, two, other = (patient_bootstrap(label, patient, 200, seed).weights for seed in (1, 1, 2))
    assert (one == two).all()
    assert (one != other).any()


def test_images_of_one_patient_widen_the_interval():
    # Five copies of each image: as evidence worth one. Drawing images instead would shrink the interval by sqrt(5).
    rng = np.random.default_rng(0)
    label, right = np.repeat([0, 1], 100), (rng.random(200) < 0.9).astype(float)
    single = patient_bootstrap(label, np.arange(200), 4000, 0)
    copied = patient_bootstrap(np.repeat(label, 5), np.repeat(np.arange(200), 5), 4000, 0)
    naive = patient_bootstrap(np.repeat(label, 5), np.arange(1000), 4000, 0)
    width = {
        name: np.ptp(percentile_interval(draws.means(values)))
        for name, draws, values in (
            ("single", single, right),
            ("copied", copied, np.repeat(right, 5)),
            ("naive", naive, np.repeat(right, 5)),
        )
    }
    assert width["copied"] == pytest.approx(width["single"])
    assert width["naive"] < 0.55 * width["copied"]


def _covers(seed: int, replicates: int) -> tuple[bool, bool]:
    """Whether the intervals of a clustered sample hold the truth, for a mean and for an AUC."""
    from scipy.stats import norm

    rng = np.random.default_rng(seed)
    patient = np.repeat(np.arange(160), rng.integers(1, 4, 160))
    label = (np.arange(160) % 2)[patient]
    score = 1.5 * label + rng.normal(0, 0.7, 160)[patient] + rng.normal(0, np.sqrt(1 - 0.49), len(patient))
    right = ((score > 0.75) == (label == 1)).astype(float)
    draws = patient_bootstrap(label, patient, replicates, seed)
    low, high = percentile_interval(draws.means(right))
    auc_low, auc_high = percentile_interval(draws.auc(label, score))
    return bool(low <= norm.cdf(0.75) <= high), bool(auc_low <= norm.cdf(1.5 / np.sqrt(2)) <= auc_high)


def test_coverage_by_simulation():
    found = np.mean([_covers(seed, 300) for seed in range(200)], axis=0)
    assert (found > 0.89).all()
    assert (found < 0.995).all()


def test_an_auc_interval_by_hand():
    label, patient, probability = _sample(0)
    draws = patient_bootstrap(label, patient, 4000, 0)
    area, low, high = roc_auc_score(label, probability), *auc_interval(label, probability, draws)
    spread = draws.auc(label, probability).std(ddof=1) / (area * (1 - area))
    reach = np.sqrt(30 / 29) * 2.04523  # t of 0.975 at 29, from a table: 30 patients are well
    assert np.log([low / (1 - low), high / (1 - high)]) == pytest.approx(
        np.log(area / (1 - area)) + reach * spread * np.array([-1, 1]), rel=1e-4
    )
    # Near 1 it is not symmetric, and does not leave 0..1.
    assert 0 < low < area < high < 1
    assert area - low > high - area


def test_an_auc_of_1_may_be_less():
    label = np.repeat([0, 1], [20, 30])
    draws = patient_bootstrap(label, np.arange(50), 300, 0)
    assert auc_interval(label, label.astype(float), draws) == wilson(20, 20)  # drawing patients alone would say 1 to 1
    assert auc_interval(label, 1.0 - label, draws) == wilson(0, 20)


def test_the_share_of_clustered_images_is_held_as_often_as_stated_and_wilsons_is_not():
    from scipy.stats import norm

    rng = np.random.default_rng(0)
    patient = np.repeat(np.arange(360), rng.integers(1, 4, 360))
    label, everything = (np.arange(360) % 2)[patient], np.ones(len(patient), dtype=bool)
    draws = patient_bootstrap(label, patient, 400, 0)
    held = []
    for _ in range(300):
        common, own = rng.normal(size=360)[patient], rng.normal(size=len(patient))
        right = np.sqrt(0.5) * (common + own) < norm.ppf(0.9)
        bounds = share_interval(right, everything, draws), wilson(int(right.sum()), len(right))
        held.append([low <= 0.9 <= high for low, high in bounds])
    patients, images = np.mean(held, axis=0)
    assert patients > 0.925
    assert images < 0.925


def test_a_percentile_interval_by_hand():
    assert percentile_interval(np.arange(101.0), 0.90) == pytest.approx((5.0, 95.0))


def test_large_samples_are_computed_in_blocks():
    draws = PatientBootstrap(weights=np.ones((700, 4)), patient=np.arange(4))
    assert draws.auc(np.array([0, 0, 1, 1]), np.array([0.1, 0.4, 0.35, 0.8])).tolist() == [0.75] * 700
