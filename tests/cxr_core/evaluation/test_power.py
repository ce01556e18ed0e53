import numpy as np
import pytest
from scipy.stats import binom

from cxr_core.config import CompareConfig
from cxr_core.evaluation.differences import tango_bound
from cxr_core.evaluation.paired import mcnemar_exact
from cxr_core.evaluation.power import power, resolution, significant_from
from cxr_core.evaluation.scores import read_scores


@pytest.fixture
def found(tmp_path, synthetic):
    synthetic.answers(522).to_csv(tmp_path / "scores.csv", index=False)
    scores = read_scores(tmp_path / "scores.csv")
    return scores, power(scores, CompareConfig(sensitivity_margin=0.02))


def test_it_agrees_with_the_tests_that_it_speaks_about(found):
    scores, told = found
    assert told.smallest_bound == pytest.approx(-tango_bound(0, 0, 522, -1))
    assert tango_bound(0, 0, told.images_needed, -1) > -0.01
    assert tango_bound(0, 0, told.images_needed - 1, -1) <= -0.01
    assert mcnemar_exact(told.significant_from, 0) < 0.05 <= mcnemar_exact(told.significant_from - 1, 0)
    assert f"522 test images of {len(scores.patients)} patients" in told.sentence
    assert "2.05 points" not in told.sentence
    assert "The smallest loss that is found with 80 % power is 1.51 points" in told.sentence


def test_each_figure_stands_on_its_own_images(found):
    scores, told = found
    ill = scores.label == 1
    assert [one.figure for one in told.by_figure] == ["accuracy", "sensitivity", "specificity"]
    assert [one.images for one in told.by_figure] == [522, ill.sum(), (~ill).sum()]
    assert told.by_figure[1].patients == len(np.unique(scores.patient[ill]))
    assert [one.margin for one in told.by_figure] == [0.01, 0.02, 0.01]


@pytest.mark.parametrize("images", [6, 20, 522, 5000])
def test_the_smallest_difference_is_found_with_the_stated_power(images):
    found = resolution("accuracy", images, 5, 0.01, 0.01)
    assert found.smallest_difference is not None
    assert binom.sf(significant_from() - 1, images, found.smallest_difference) == pytest.approx(0.8)
    assert found.smallest_difference_patients is None  # five patients can never show one


@pytest.mark.parametrize(("margin", "flips"), [(0.01, 0.01), (0.01, 0.04), (0.02, 0.02)])
def test_as_many_images_as_are_said_to_be_needed_give_the_stated_power(margin, flips):
    needed = resolution("accuracy", 500, 300, margin, flips).needed
    rng = np.random.default_rng(0)
    draws = rng.multinomial(needed, [flips / 2, flips / 2, 1 - flips], 800)
    shown = np.mean([tango_bound(int(lost), int(gained), needed, -1) > -margin for lost, gained, _ in draws])
    assert 0.72 < shown < 0.88


def test_without_any_flips_the_floor_is_needed():
    assert resolution("accuracy", 500, 300, 0.01, 0.0).needed == 268
