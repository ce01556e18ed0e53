import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn import metrics as sk
from sklearn.calibration import calibration_curve

from cxr_core.evaluation.curves import calibration_bins, roc
from cxr_core.evaluation.metrics import decisions, expected_calibration_error, metrics, ppv_at


@st.composite
def answers(draw):
    """Both classes, ties included, at least two images."""
    probability = draw(st.lists(st.integers(0, 40).map(lambda n: n / 40), min_size=2, max_size=60))
    label = draw(
        st.lists(st.integers(0, 1), min_size=len(probability), max_size=len(probability)).filter(
            lambda found: 0 < sum(found) < len(found)
        )
    )
    return np.array(label), np.array(probability)


@given(answers(), st.floats(0.01, 0.99))
def test_figures_are_those_of_scikit_learn(sample, threshold):
    label, probability = sample
    called = (probability >= threshold).astype(int)
    found = metrics(label, probability, threshold, 0.1)
    nan = float("nan")
    assert found.accuracy == pytest.approx(sk.accuracy_score(label, called))
    assert found.sensitivity == pytest.approx(sk.recall_score(label, called))
    assert found.specificity == pytest.approx(sk.recall_score(label, called, pos_label=0))
    ppv = sk.precision_score(label, called, zero_division=nan)
    assert (np.isnan(ppv) and found.ppv is None) or found.ppv == pytest.approx(ppv)
    npv = sk.precision_score(label, called, pos_label=0, zero_division=nan)
    assert (np.isnan(npv) and found.npv is None) or found.npv == pytest.approx(npv)
    assert found.f1 == pytest.approx(sk.f1_score(label, called, zero_division=nan))
    counts = found.confusion
    assert sk.confusion_matrix(label, called).ravel().tolist() == [
        counts.true_negative,
        counts.false_positive,
        counts.false_negative,
        counts.true_positive,
    ]


@given(answers())
def test_calibration_bins_are_those_of_scikit_learn(sample):
    label, probability = sample
    probability = np.clip(probability + 1e-4, 0, 1)  # off the edges, whose side is a convention
    observed, predicted = calibration_curve(label, probability, n_bins=10)
    bins = calibration_bins(label, probability)
    np.testing.assert_allclose([b.observed for b in bins], observed)
    np.testing.assert_allclose([b.predicted for b in bins], predicted)
    weighted = sum(b.images * abs(b.observed - b.predicted) for b in bins) / len(label)
    assert expected_calibration_error(label, probability) == pytest.approx(weighted)


def test_calibration_error_by_hand():
    # Bin 0.2..0.3: mean .25, observed 1/2, 2 images; bin 0.9..1: mean .95, observed 1, 2 images.
    label, probability = np.array([0, 1, 1, 1]), np.array([0.22, 0.28, 0.9, 1.0])
    assert expected_calibration_error(label, probability) == pytest.approx((2 * 0.25 + 2 * 0.05) / 4)


def test_ppv_at_a_prevalence_by_hand():
    # 1000 people, 1 % ill, sensitivity .9, specificity .91: 9 true and 89.1 false alarms.
    assert ppv_at(0.9, 0.91, 0.01) == pytest.approx(9 / (9 + 89.1))
    assert ppv_at(0.0, 1.0, 0.5) is None
    assert ppv_at(None, 0.9, 0.5) is None


def test_the_same_prevalence_gives_the_same_ppv():
    label = np.array([1] * 30 + [0] * 70)
    probability = np.concatenate([np.linspace(0.2, 0.9, 30), np.linspace(0.1, 0.8, 70)])
    found = metrics(label, probability, 0.5, 0.3)
    assert found.ppv_at_prevalence == pytest.approx(found.ppv)


def test_a_figure_without_a_denominator_is_none():
    found = metrics(np.array([0, 1]), np.array([0.1, 0.2]), 0.9, 0.1)
    assert found.ppv is None
    assert found.sensitivity == 0.0


def test_the_threshold_itself_is_called():
    assert decisions(np.array([0.4, 0.5, np.nan]), 0.5).tolist() == [False, True, False]


@given(answers())
def test_the_area_under_the_drawn_curve_is_the_auc(sample):
    curve = roc(*sample)
    assert sk.auc(curve.false_positive_rate, curve.true_positive_rate) == pytest.approx(sk.roc_auc_score(*sample))
