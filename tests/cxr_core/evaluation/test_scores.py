import numpy as np
import pandas as pd
import pytest

from cxr_core.errors import DataError
from cxr_core.evaluation.scores import defect, read_scores, require_finite, require_same_images


@pytest.fixture
def table(synthetic) -> pd.DataFrame:
    return synthetic.answers(60)


def _written(tmp_path, table: pd.DataFrame, name: str = "scores.csv"):
    path = tmp_path / name
    table.to_csv(path, index=False)
    return path


def test_what_is_written_is_read(tmp_path, table):
    scores = read_scores(_written(tmp_path, table))
    assert len(scores) == 60
    assert list(scores.files) == list(table["file"])
    np.testing.assert_allclose(scores.margin, table["logit_pneumonia"] - table["logit_normal"])
    assert [scores.patients[i] for i in scores.patient] == list(table["patient"])
    assert defect(scores) is None
    require_finite(scores)


@pytest.mark.parametrize(
    ("spoil", "words"),
    [
        (lambda t: t.drop(columns="patient"), "patient missing"),
        (lambda t: t.head(0), "holds no image"),
        (lambda t: t.iloc[::-1], "sorted by file"),
        (lambda t: pd.concat([t.head(1), t]), "sorted by file"),
        (lambda t: t.assign(label=t["label"] * 2), "labels must be 0"),
        (lambda t: t.assign(label=np.nan), "labels must be 0"),
        (lambda t: t.assign(file=t["file"].sample(frac=1, random_state=0).to_numpy()), "sorted by file"),
        (lambda t: t.head(1), "only label 0"),
        (lambda t: t[t["label"] == 1], "only label 1"),
        (lambda t: t[t["label"] == 0], "only label 0"),
        (lambda t: t.assign(probability=t["probability"] + 1), "0..1"),
        (lambda t: t.assign(logit_normal="high"), "logit_normal must hold numbers"),
    ],
)
def test_a_damaged_file_is_refused_with_the_reason(tmp_path, table, spoil, words):
    with pytest.raises(DataError, match=words):
        read_scores(_written(tmp_path, spoil(table)))


def test_a_file_cut_in_its_last_number_is_refused(tmp_path, table):
    path = _written(tmp_path, table)
    for less in (1, 2, 5):
        path.write_bytes(path.read_bytes()[:-less])
        with pytest.raises(DataError, match="ends inside a line"):
            read_scores(path)


def test_a_missing_file_is_told_without_its_folder(tmp_path):
    with pytest.raises(DataError, match="No such file") as caught:
        read_scores(tmp_path / "scores.csv")
    assert str(tmp_path) not in str(caught.value)


def test_not_finite_answers_are_a_finding_about_the_engine(tmp_path, synthetic, table):
    margin = synthetic.margin_of(table).copy()
    margin[[3, 7]] = np.nan
    scores = read_scores(_written(tmp_path, synthetic.with_margin(table, margin)))
    assert defect(scores) == "2 of 60 answers are not finite numbers"
    with pytest.raises(DataError, match="2 of 60 answers"):
        require_finite(scores)


def test_infinite_logits_are_not_finite(tmp_path, synthetic, table):
    margin = synthetic.margin_of(table).copy()
    margin[0] = np.inf
    assert "1 of 60" in str(defect(read_scores(_written(tmp_path, synthetic.with_margin(table, margin)))))


def test_one_answer_for_all_is_a_finding(tmp_path, synthetic, table):
    scores = read_scores(_written(tmp_path, synthetic.with_margin(table, np.full(len(table), 0.3))))
    assert "all 60 answers are the same" in str(defect(scores))


@pytest.mark.parametrize(
    ("spoil", "words"),
    [
        (lambda t: t.iloc[1:], "59.* 1 on one side only"),
        (lambda t: t.assign(file=t["file"] + "x"), "120 on one side only"),
        (lambda t: t.assign(label=1 - t["label"]), "labels or patients differ"),
        (lambda t: t.assign(patient=["p"] * 30 + ["q"] * 30), "labels or patients differ"),
    ],
)
def test_scores_of_other_images_cannot_be_paired(tmp_path, table, spoil, words):
    reference = read_scores(_written(tmp_path, table))
    with pytest.raises(DataError, match=words):
        require_same_images(read_scores(_written(tmp_path, spoil(table), "other.csv")), reference)
