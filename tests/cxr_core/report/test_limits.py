"""What is said not to be shown follows from the figures: change the figures, and the sentence comes or goes."""

import pytest

from cxr_core.config import CompareConfig
from cxr_core.evaluation.compare import compare
from cxr_core.evaluation.differences import Finding
from cxr_core.evaluation.rows import Comparison
from cxr_core.evaluation.verdicts import Verdict
from cxr_core.report.document import DataFacts, ModelFacts, Report, RunHeader, document
from cxr_core.report.limits import limits

MODEL = ModelFacts(model="m", size=96, labels=("NORMAL", "PNEUMONIA"), threshold=0.5, temperature=1.0)


@pytest.fixture(scope="module")
def whole(run) -> Report:
    compared = Comparison.model_validate_json(run["comparison"].read_bytes())
    header = RunHeader(profile="quick", looks_at_test=3, data=DataFacts(source="published"))
    return document(header, compared, MODEL, {}, ())


def _with_row(report: Report, precision: str, **changes) -> Report:
    rows = [row.model_copy(update=changes) if row.precision == precision else row for row in report.rows]
    return report.model_copy(update={"rows": tuple(rows)})


def test_of_a_whole_run(whole):
    found = "\n".join(limits(whole))
    for expected in (
        "Other patients: all radiographs are of children",
        "That the model sees pneumonia alone: ridge32, which cannot, reaches an AUC of 0.910",
        "A first look at the test split: 3 models have been scored",
        "Small losses: a true loss of accuracy below",
        "tf32 openvino: there are no figures.",
        "it was measured on A CPU alone",
        "this is one model",
    ):
        assert expected in found, expected
    assert all(": " in sentence for sentence in limits(whole))


@pytest.mark.parametrize(
    ("source", "words"),
    [
        ("phantom", "Anything about patients: the images are drawn phantoms."),
        ("flat", "Other patients: all images come from one collection"),
    ],
)
def test_of_other_data(whole, source, words):
    found = limits(whole.model_copy(update={"data": DataFacts(source=source)}))
    assert found[0].startswith(words)
    assert "children" not in " ".join(found)


def test_a_model_below_its_shortcut_is_told_so(whole):
    strong = {"geometry": {"auc": 0.999, "accuracy": 0.99, "from": "the file's width"}}
    found = "\n".join(limits(whole.model_copy(update={"shortcuts": strong})))
    assert "That the model sees pneumonia: the file's width alone, which cannot, reaches an AUC of 0.999" in found


def test_what_is_not_so_is_not_said(whole):
    assert "A first look" not in "\n".join(limits(whole.model_copy(update={"looks_at_test": 1})))
    assert "That the model sees" not in "\n".join(limits(whole.model_copy(update={"shortcuts": {}})))
    assert "it did not run there" not in "\n".join(limits(whole))
    asked = _with_row(whole, "bf16", effective_precision="fp32")
    assert "in bf16 openvino (ran fp32): it did not run there." in "\n".join(limits(asked))


def test_a_split_too_small_for_the_margin_is_told(tmp_path, synthetic):
    reference = synthetic.answers(120)
    rows = [synthetic.done(tmp_path, "int8", "openvino", synthetic.noisy(reference, 0.5))]
    inputs = synthetic.inputs(tmp_path, reference, rows)
    compare(**inputs, config=CompareConfig(bootstrap=200))
    compared = Comparison.model_validate_json((inputs["out"] / "comparison.json").read_bytes())
    report = document(RunHeader(profile="quick"), compared, None, {}, ())
    found = "\n".join(limits(report))
    bound = 100 * compared.power.smallest_bound
    assert (
        f"That accuracy keeps within its margin of 1.00 points: 120 images leave a loss of {bound:.2f} possible"
        in found
    )
    wide = {"by_figure": tuple(one.model_copy(update={"margin": 0.4}) for one in compared.power.by_figure)}
    told = limits(report.model_copy(update={"power": compared.power.model_copy(update=wide)}))
    assert "keeps within its margin" not in "\n".join(told)


def test_open_findings_and_thin_percentiles_are_named(whole):
    int8 = next(row for row in whole.rows if row.precision == "int8")
    assert int8.latency_ms
    thin = _with_row(whole, "int8", latency_ms=int8.latency_ms.model_copy(update={"p99": None}))
    found = "\n".join(limits(thin))
    assert "The slowest hundredth of queries of int8 openvino: too few were timed." in found
    opened = int8.accuracy_difference.model_copy(update={"finding": Finding.OPEN})
    assert "That accuracy of int8 openvino equal FP32's" in "\n".join(
        limits(_with_row(whole, "int8", accuracy_difference=opened))
    )


def test_a_recommendation_that_others_may_outrun_is_told(whole):
    assert whole.recommended.precision == "bf16"
    assert "bf16 openvino is faster than" not in "\n".join(limits(whole))
    best = next(row for row in whole.rows if row.precision == "bf16").ratio_to_reference
    near = best.model_copy(update={"high": best.low + 0.01, "value": best.low, "low": best.low - 0.01})
    apart = best.model_copy(update={"high": best.low - 0.01, "value": best.low - 0.02, "low": best.low - 0.03})
    for ratio, verdict, told in ((near, "pass", True), (near, "fail", False), (apart, "pass", False)):
        other = _with_row(whole, "int8", ratio_to_reference=ratio, verdict=Verdict(verdict))
        assert ("That bf16 openvino is faster than int8 openvino" in "\n".join(limits(other))) is told


def test_a_run_that_broke_early_shows_nothing_and_says_so():
    found = limits(document(RunHeader(profile="quick"), None, None, {}, ()))
    assert found == ("Anything about a data set: none was taken in.",)
