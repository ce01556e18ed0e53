"""Each formula against SciPy, scikit-learn, its definition or a published example."""

import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import binomtest, brunnermunzel, permutation_test, ttest_rel
from sklearn.metrics import roc_auc_score

from cxr_core.evaluation.delong import components, delong
from cxr_core.evaluation.differences import Finding, difference_of_auc, difference_of_shares, holm
from cxr_core.evaluation.intervals import patient_bootstrap
from cxr_core.evaluation.metrics import expected_calibration_error
from cxr_core.evaluation.paired import mcnemar_exact
from cxr_core.evaluation.signflip import auc_parts, sign_flip_p


def _answers(seed: int, images: int = 60, ties: bool = True):
    rng = np.random.default_rng(seed)
    label = np.resize([0, 1, 1], images)
    ours, theirs = (rng.normal(0.3 * label, 0.4) for _ in range(2))
    return label, *((np.round(one, 1) for one in (ours, theirs)) if ties else (ours, theirs))


# DeLong


@pytest.mark.parametrize("seed", range(10))
def test_the_mean_of_the_components_is_the_auc(seed):
    label, ours, _ = _answers(seed)
    above, below = components(label, ours)
    assert above.mean() == pytest.approx(roc_auc_score(label, ours))
    assert below.mean() == pytest.approx(above.mean())


@pytest.mark.parametrize("ties", [True, False])
@pytest.mark.parametrize("seed", range(10))
def test_delongs_standard_error_is_that_of_scipys_brunner_munzel_statistic(seed, ties):
    # Against one answer for all (AUC 1/2, no variance) DeLong's z is Brunner and Munzel's; against its own mirror
    # image the difference and its error double.
    label, ours, _ = _answers(seed, ties=ties)
    expected = brunnermunzel(ours[label == 0], ours[label == 1], distribution="normal")
    found = delong(label, ours, np.zeros(len(label)))
    assert found is not None
    assert found.difference / found.standard_error == pytest.approx(expected.statistic)
    assert found.p == pytest.approx(expected.pvalue)
    twice = delong(label, ours, -ours)
    assert twice is not None
    assert (twice.difference, twice.standard_error) == pytest.approx((2 * found.difference, 2 * found.standard_error))


@pytest.mark.parametrize("seed", range(10))
def test_delongs_covariance_is_that_of_the_definition(seed):
    label, *both = _answers(seed, 24)
    found = delong(label, *both)
    assert found is not None
    kernels = []
    for one in both:
        ill, well = one[label == 1][:, None], one[label == 0][None, :]
        kernels.append((ill > well) + 0.5 * (ill == well))
    kernel = kernels[0] - kernels[1]
    variance = np.var(kernel.mean(1), ddof=1) / kernel.shape[0] + np.var(kernel.mean(0), ddof=1) / kernel.shape[1]
    assert found.difference == pytest.approx(kernel.mean())
    assert found.standard_error == pytest.approx(np.sqrt(variance))


def test_delong_where_it_says_nothing():
    label = np.array([0, 1, 0, 1])
    same = np.array([0.1, 0.6, 0.4, 0.9])
    assert delong(label, same, same) == delong(label, same, same * 2)
    assert delong(label, same, same).p == 1.0
    assert delong(label, same, -same) is None  # 1 against 0, both without variance
    assert delong(np.array([0, 1, 1]), same[:3], -same[:3]) is None


# the sign-flip test


@given(st.integers(0, 8), st.integers(0, 8))
def test_with_one_image_a_patient_it_is_mcnemars_exact_test(lost, gained):
    change = np.concatenate([-np.ones(lost), np.ones(gained), np.zeros(20)])
    assert sign_flip_p(change, np.arange(len(change)), 0) == pytest.approx(mcnemar_exact(lost, gained))
    if lost + gained:
        assert mcnemar_exact(lost, gained) == pytest.approx(binomtest(lost, lost + gained).pvalue)


@settings(max_examples=15)
@given(st.lists(st.integers(-3, 3), min_size=2, max_size=9), st.booleans())
def test_it_agrees_with_scipys_permutation_test(values, whole):
    # Swapping the pair (value, 0) in each patient is what flips a sign.
    sums = np.asarray(values, dtype=float) + (0 if whole else 0.37 * np.arange(len(values)))
    expected = permutation_test(
        (sums, np.zeros(len(sums))), lambda a, b, axis: (a - b).sum(axis), permutation_type="samples", n_resamples=2**9
    )
    assert sign_flip_p(sums, np.arange(len(sums)), 0) == pytest.approx(expected.pvalue)


def test_many_patients_take_draws_and_agree_with_students_paired_test():
    rng = np.random.default_rng(3)
    for shift in (0.0, 0.1, 0.2):
        sums = rng.normal(shift, 1, 200)
        assert sign_flip_p(sums, np.arange(200), 0) == pytest.approx(ttest_rel(sums, sums * 0).pvalue, abs=0.02)
    assert sign_flip_p(sums, np.arange(200), 1) == sign_flip_p(sums, np.arange(200), 1)


def test_images_of_one_patient_are_one_piece_of_evidence():
    change = -np.ones(8)
    assert sign_flip_p(change, np.arange(8), 0) == pytest.approx(2 / 2**8)
    assert sign_flip_p(change, np.repeat([0, 1], 4), 0) == pytest.approx(2 / 2**2)
    assert sign_flip_p(np.array([1.0, -1.0]), np.array([0, 0]), 0) == 1.0
    assert sign_flip_p(np.zeros(4), np.arange(4), 0) == 1.0


@pytest.mark.parametrize("seed", range(4))
def test_the_parts_of_an_auc_difference_change_sign_where_patients_are_swapped(seed):
    label, ours, theirs = _answers(seed, 24)
    patient = np.random.default_rng(seed).integers(0, 5, 24)
    parts = auc_parts(label, ours, theirs)
    for swapped in itertools.product([False, True], repeat=5):
        swap = np.array(swapped)[patient]
        mine, its = np.where(swap, theirs, ours), np.where(swap, ours, theirs)
        expected = roc_auc_score(label, mine) - roc_auc_score(label, its)
        assert np.where(swap, -parts, parts).sum() == pytest.approx(expected, abs=1e-12)


@pytest.mark.slow
def test_the_sign_flip_test_keeps_its_level_where_mcnemar_and_delong_do_not():
    # No difference in truth; all images of a patient change alike, three a patient.
    rng, runs = np.random.default_rng(0), 400
    patient, label = np.repeat(np.arange(80), 3), np.repeat(np.arange(80) % 2, 3)
    wrong = {"sign-flip": 0, "mcnemar": 0, "auc sign-flip": 0, "delong": 0}
    for _ in range(runs):
        change = rng.choice([-1.0, 0.0, 1.0], 80, p=[0.15, 0.7, 0.15])[patient]
        wrong["sign-flip"] += sign_flip_p(change, patient, 0) < 0.05
        wrong["mcnemar"] += mcnemar_exact(int((change < 0).sum()), int((change > 0).sum())) < 0.05
        ours, theirs = (label + rng.normal(0, 1, 80)[patient] for _ in range(2))
        wrong["auc sign-flip"] += sign_flip_p(auc_parts(label, ours, theirs), patient, 0) < 0.05
        found = delong(label, ours, theirs)
        wrong["delong"] += found is not None and found.p < 0.05
    assert max(wrong["sign-flip"], wrong["auc sign-flip"]) < 0.075 * runs, wrong
    assert min(wrong["mcnemar"], wrong["delong"]) > 0.10 * runs, wrong


# differences and what may be said of them


def _shares(lost: int, gained: int, images: int, margin: float = 0.01):
    theirs = np.ones(images, dtype=bool)
    theirs[-gained or images :] = False
    ours = theirs.copy()
    ours[:lost] = False
    ours[-gained or images :] = True
    label, patient = np.arange(images) % 2, np.arange(images)
    draws = patient_bootstrap(label, patient, 400, 0)
    return difference_of_shares(ours, theirs, np.ones(images, dtype=bool), draws, margin)


@pytest.mark.parametrize(
    ("lost", "gained", "images", "finding"),
    [
        (0, 0, 600, Finding.EQUIVALENT),  # nothing changed on enough images
        (0, 0, 200, Finding.OPEN),  # nothing changed, which on so few shows nothing
        (4, 4, 500, Finding.OPEN),  # no difference found, and none ruled out
        (0, 12, 500, Finding.NOT_INFERIOR),
        (30, 0, 500, Finding.INFERIOR),
    ],
)
def test_no_difference_found_is_never_called_equal(lost, gained, images, finding):
    found = _shares(lost, gained, images)
    assert found.finding is finding
    assert (found.p > 0.05) == (lost == gained)


def test_equivalence_is_two_one_sided_tests():
    found = _shares(3, 3, 4000)
    assert found.finding is Finding.EQUIVALENT
    narrow = _shares(3, 3, 4000, margin=min(-found.low, found.high))
    assert narrow.finding is Finding.OPEN  # a bound on the margin is not inside of it


def test_sensitivity_is_judged_on_the_ill_alone():
    label, patient = np.resize([0, 1], 300), np.arange(300)
    draws = patient_bootstrap(label, patient, 300, 0)
    theirs, ours = np.ones(300, dtype=bool), np.ones(300, dtype=bool)
    ours[1:20:2] = False  # ten ill ones missed
    ill = difference_of_shares(ours, theirs, label == 1, draws, 0.01)
    well = difference_of_shares(ours, theirs, label == 0, draws, 0.01)
    assert (ill.value, well.value) == (pytest.approx(-10 / 150), 0.0)
    assert ill.finding is Finding.INFERIOR
    assert difference_of_shares(ours, theirs, label == 2, draws, 0.01) is None


@pytest.mark.parametrize("seed", range(10))
def test_an_auc_difference_lies_in_its_interval(seed):
    label, ours, theirs = _answers(seed)
    draws = patient_bootstrap(label, np.arange(len(label)), 200, 0)
    found = difference_of_auc(label, ours, theirs, draws, 0.01, 0)
    assert found.value == pytest.approx(roc_auc_score(label, ours) - roc_auc_score(label, theirs))
    assert found.low <= found.value <= found.high


def test_the_same_ranks_do_not_make_an_auc_equal():
    label, ours, _ = _answers(0, 90)
    draws = patient_bootstrap(label, np.arange(90), 200, 0)
    found = difference_of_auc(label, ours, ours, draws, 0.01, 0)
    assert (found.value, found.p, found.finding) == (0.0, 1.0, Finding.OPEN)
    assert found.high == -found.low == pytest.approx(1.6449**2 / (30 + 1.6449**2), rel=1e-3)


@pytest.mark.parametrize("seed", range(10))
def test_each_replicates_calibration_error_is_what_repeating_the_images_gives(seed):
    label, ours, _ = _answers(seed)
    patient = np.random.default_rng(seed).integers(0, 20, len(label))
    _, patient = np.unique(patient, return_inverse=True)
    probability = np.clip(ours, 0, 1)
    draws = patient_bootstrap(label, patient, 200, seed)
    for replicate in (0, 199):
        times = draws.weights[replicate][patient].astype(int)
        expected = expected_calibration_error(np.repeat(label, times), np.repeat(probability, times))
        assert draws.ece(label, probability)[replicate] == pytest.approx(expected)


def test_holm_by_hand():
    # By hand: 4 x .005, 3 x .01, 2 x .03, and .04 is raised to that.
    assert holm([0.01, 0.04, 0.03, 0.005]) == pytest.approx([0.03, 0.06, 0.06, 0.02])
    assert holm([0.9, 0.8]) == [1.0, 1.0]
    assert holm([]) == []


@given(st.lists(st.floats(0, 1), min_size=1, max_size=8))
def test_holm_rejects_what_the_stepwise_definition_rejects(values):
    rejected, alpha = set(), 0.05
    for rank, i in enumerate(sorted(range(len(values)), key=lambda i: values[i])):
        if values[i] > alpha / (len(values) - rank):
            break
        rejected.add(i)
    adjusted = holm(values)
    near = {i for i, p in enumerate(adjusted) if abs(p - alpha) < 1e-9}
    assert {i for i, p in enumerate(adjusted) if p <= alpha} - near == rejected - near
