import pytest

from cxr_core.config import CompareConfig
from cxr_core.evaluation.cases import MOST_CASES, disagreements, worst
from cxr_core.evaluation.compare import compare
from cxr_core.evaluation.rows import Comparison
from cxr_core.evaluation.scores import read_scores


@pytest.fixture
def scores(tmp_path, synthetic):
    """A function: a table as scores."""

    def of(table):
        table.to_csv(tmp_path / "scores.csv", index=False)
        return read_scores(tmp_path / "scores.csv")

    return of


def test_an_image_is_told_once_whichever_engines_disagree(synthetic, scores):
    table = synthetic.answers(120)
    reference = scores(table)
    engines = {
        "fp32@a": scores(table),
        "int8@a": scores(synthetic.flipped(table, lost=2, gained=1)),
        "int8@b": scores(synthetic.flipped(table, lost=3)),
    }
    found = disagreements(reference, engines, synthetic.THRESHOLD)
    assert len(found) == 4
    assert len({one.file for one in found}) == 4
    both = ("int8@a", "int8@b")
    assert sorted(one.otherwise for one in found) == [("int8@a",), both, both, ("int8@b",)]
    for one in found:
        i = reference.files.index(one.file)
        assert (one.label, one.reference) == (reference.label[i], reference.probability[i])
        assert one.answers == {name: each.probability[i] for name, each in engines.items()}
        for name, answer in one.answers.items():
            flipped = (answer >= synthetic.THRESHOLD) != (one.reference >= synthetic.THRESHOLD)
            assert flipped == (name in one.otherwise)


def test_the_largest_shift_among_changed_decisions_comes_first(synthetic, scores):
    table = synthetic.answers(200)
    engine = scores(synthetic.noisy(table, 2.0))
    found = disagreements(scores(table), {"int8@a": engine}, synthetic.THRESHOLD)
    shifts = [abs(one.answers["int8@a"] - one.reference) for one in found]
    assert len(found) > MOST_CASES
    assert shifts == sorted(shifts, reverse=True)


def test_the_worst_are_wrong_and_the_surest_first(synthetic, scores):
    reference = scores(synthetic.answers(200))
    found = worst(reference, {}, synthetic.THRESHOLD)
    wrong = (reference.probability >= synthetic.THRESHOLD) != (reference.label == 1)
    assert {one.file for one in found} == {reference.files[i] for i in range(200) if wrong[i]}
    sure = [abs(one.reference - one.label) for one in found]
    assert sure == sorted(sure, reverse=True)


def test_a_comparison_keeps_the_first_and_counts_all_and_leaves_broken_answers_out(tmp_path, synthetic):
    table = synthetic.answers(200)
    broken = synthetic.with_margin(table, [float("nan")] * len(table))
    branches = [
        synthetic.done(tmp_path, "int8", "openvino", synthetic.noisy(table, 2.0)),
        synthetic.done(tmp_path, "fp16", "openvino", broken),
    ]
    inputs = synthetic.inputs(tmp_path, table, branches)
    compare(**inputs, config=CompareConfig(bootstrap=200))
    found = Comparison.model_validate_json((inputs["out"] / "comparison.json").read_bytes())
    assert found.disagreeing == found.rows[0].flips
    assert len(found.disagreements) == MOST_CASES < found.disagreeing
    assert all(set(one.answers) == {"int8@openvino"} for one in (*found.disagreements, *found.worst))
    shift = found.details[0].paired.shift
    assert shift == tuple(sorted(shift))
    assert max(-shift[0], shift[-1]) == pytest.approx(found.details[0].paired.max_abs_dp)
