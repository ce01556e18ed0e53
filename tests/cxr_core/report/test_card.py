"""The model card is one that Hugging Face's own library reads, and says no more than the report."""

import pytest
from huggingface_hub import ModelCard

from cxr_core.evaluation.rows import Comparison
from cxr_core.report.card import card
from cxr_core.report.document import DataFacts, ModelFacts, Report, RunHeader, document
from cxr_core.report.limits import limits

SECTIONS = (  # of the hub's template
    "## Model Details", "## Uses", "### Direct Use", "### Out-of-Scope Use", "## Bias, Risks, and Limitations",
    "## How to Get Started with the Model", "## Training Details", "## Evaluation",
    "### Testing Data, Factors & Metrics", "### Results", "## Environmental Impact",
)  # fmt: skip


def _read(text: str) -> ModelCard:
    """As the hub's library reads it."""
    return ModelCard(text)


@pytest.fixture(scope="module")
def whole(run) -> Report:
    compared = Comparison.model_validate_json(run["comparison"].read_bytes())
    header = RunHeader(profile="quick", data=DataFacts(source="published"), looks_at_test=3)
    model = ModelFacts.model_validate_json((run["checkpoint"] / "checkpoint.json").read_bytes())
    made = document(header, compared, model, {}, ())
    return made.model_copy(update={"limits": limits(made)})


@pytest.fixture(scope="module")
def carded(whole) -> ModelCard:
    return _read(card(whole, whole.model))


def test_the_hubs_library_reads_it_and_finds_the_reports_figures(whole, carded):
    results = {one.metric_type: one for one in carded.data.eval_results}
    assert results["accuracy"].metric_value == pytest.approx(whole.reference.metrics.accuracy, abs=1e-6)
    assert results["roc_auc"].metric_value == pytest.approx(whole.reference.metrics.auc, abs=1e-6)
    assert {one.dataset_split for one in results.values()} == {"test"}
    assert (carded.data.pipeline_tag, carded.data.library_name) == ("image-classification", "onnx")
    assert carded.data.model_name == "cxr_small"


def test_it_has_the_templates_sections_in_order_and_the_reports_words(whole, carded):
    places = [carded.text.index(f"\n{section}\n") for section in SECTIONS]
    assert places == sorted(places)
    for sentence in (*whole.limits, *whole.warnings, whole.intended_use, whole.gate):
        assert sentence in carded.text
    assert "int8 | openvino" in carded.text
    assert "PHANTOM" not in carded.text


def test_every_table_has_cells_for_each_column(carded):
    blocks = [block for block in carded.text.split("\n\n") if block.startswith("|")]
    assert len(blocks) == 5
    for block in blocks:
        lines = [line.replace("\\|", "") for line in block.splitlines() if line.startswith("|")]
        assert len({line.count("|") for line in lines}) == 1, block


def test_phantoms_say_so(whole):
    phantom = _read(card(whole.model_copy(update={"data": DataFacts(source="phantom")}), whole.model))
    assert "**PHANTOM DATA" in phantom.text
    assert {one.dataset_type for one in phantom.data.eval_results} == {"phantom"}


def test_without_a_comparison_it_claims_no_figure(whole):
    broken = document(RunHeader(profile="quick"), None, whole.model, {}, ())
    found = _read(card(broken, whole.model))
    assert found.data.eval_results is None
    assert "The engines were not compared, so there is no figure." in found.text


def test_a_name_that_yaml_would_misread_stays_a_name(whole):
    odd = whole.model.model_copy(update={"model": "no: [a"})
    assert _read(card(whole, odd)).data.model_name == "no: [a"
