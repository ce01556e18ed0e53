"""``model-card.md``: the model in the form that Hugging Face's hub reads (YAML metadata, then its usual sections).

The sections are those of the hub's template (Mitchell et al. 2019, Model Cards for Model Reporting). Nothing is said
that the report does not say.
"""

from collections.abc import Iterator
from typing import Any

import yaml

from cxr_core.evaluation.rows import Assessment
from cxr_core.report.document import ModelFacts, Report
from cxr_core.report.sections import measured_lines, metric_lines, operating_lines, subgroup_lines
from cxr_core.report.table import markdown, markdown_table, reason_lines

_DATASETS = {
    "published": ("Chest X-ray images in the layout of Kermany et al. 2018", "chest-xray-pneumonia"),
    "flat": ("Chest X-ray images of the user", "chest-xray"),
    "phantom": ("Generated phantoms, no patients", "phantom"),
}


def card(report: Report, model: ModelFacts) -> str:
    """The card of the model that the report is about."""
    front = yaml.safe_dump(_metadata(report, model), sort_keys=False, allow_unicode=True, width=120)
    return f"---\n{front}---\n\n" + "\n".join(_body(report, model)) + "\n"


def _metadata(report: Report, model: ModelFacts) -> dict[str, Any]:
    """What the hub reads. The licence is that of the weights, which no stage can know."""
    found: dict[str, Any] = {
        "license": "unknown",
        "library_name": "onnx",
        "pipeline_tag": "image-classification",
        "tags": ["chest-x-ray", "pneumonia", "onnx", "quantization", "not-a-medical-device"],
        "metrics": ["accuracy", "roc_auc", "recall", "f1"],
    }
    if report.reference and report.data:
        name, kind = _DATASETS[report.data.source]
        result = {
            "task": {"type": "image-classification", "name": "Pneumonia on a chest X-ray"},
            "dataset": {"name": name, "type": kind, "split": "test"},
            "metrics": _metrics(report.reference),
        }
        found["model-index"] = [{"name": model.model, "results": [result]}]
    return found


def _metrics(reference: Assessment) -> list[dict[str, Any]]:
    known = (
        ("accuracy", "Accuracy", reference.metrics.accuracy),
        ("roc_auc", "AUC", reference.metrics.auc),
        ("recall", "Sensitivity", reference.metrics.sensitivity),
        ("specificity", "Specificity", reference.metrics.specificity),
        ("precision", "PPV in the test split", reference.metrics.ppv),
        ("f1", "F1", reference.metrics.f1),
    )
    return [{"type": kind, "name": name, "value": round(value, 6)} for kind, name, value in known if value is not None]


def _body(report: Report, model: ModelFacts) -> Iterator[str]:
    phantom = report.data is not None and report.data.source == "phantom"
    yield from (f"# {model.model}: pneumonia on a chest X-ray", "")
    if phantom:
        yield from ("**PHANTOM DATA: every figure is about generated images, not about patients.**", "")
    yield from ("## Model Details", "", markdown(["", ""], measured_lines(report)))
    yield from ("## Uses", "", "### Direct Use", "", report.intended_use, "")
    yield from ("### Out-of-Scope Use", "", "Diagnosis, triage, screening, or any decision about a patient.", "")
    yield from ("## Bias, Risks, and Limitations", "", "The figures below do not show:", "")
    yield from (*(f"- {sentence}" for sentence in report.limits), "")
    if report.warnings:
        yield from ("Of the data was found:", "", *(f"- {line}" for line in report.warnings), "")
    yield from ("## How to Get Started with the Model", "", *_start(model), "")
    yield from ("## Training Details", "", _training(model), "")
    yield from ("## Evaluation", "", *_evaluation(report), "")
    yield from ("## Environmental Impact", "", "Not measured.")


def _start(model: ModelFacts) -> list[str]:
    normal, ill = model.labels
    return [
        "```bash",
        "cxr predict folder/ --json",
        "```",
        "",
        f"The graph takes float32 grey values 0..255 of {model.size} x {model.size} pixels, `[batch, 1, {model.size}, "
        f"{model.size}]`; scaling and standardisation are inside of it. It is {ill} if softmax(output / "
        f"{model.temperature:.6g})[1] >= {model.threshold:.6g}, else {normal}.",
    ]


def _training(model: ModelFacts) -> str:
    seen = "" if model.images_seen is None else f" {model.images_seen:,} images seen."
    checked = ", ".join(f"{name} {value}" for name, value in model.validation.items())
    return (
        f"Pretrained weights: {model.pretrained}.{seen} Temperature and threshold were set on validation images"
        f"{f' ({checked})' if checked else ''} and are frozen. No choice was made on test images."
    )


def _evaluation(report: Report) -> Iterator[str]:
    if report.reference is None:
        yield "The engines were not compared, so there is no figure."
        return
    yield from ("### Testing Data, Factors & Metrics", "", report.power.sentence if report.power else "", "")
    yield markdown(["", "AUC", "95 %", "accuracy", "95 %"], metric_lines(report))
    yield from ("At the frozen threshold:", "", markdown(["", "value", "95 %"], operating_lines(report)))
    kinds = ["kind", "images", "patients", "sensitivity", "95 %", "AUC", "95 %"]
    yield from ("By kind of pneumonia:", "", markdown(kinds, subgroup_lines(report)))
    yield from ("### Results", "", "Every precision against FP32 on the same images:", "")
    yield from (markdown_table(report.rows), *(f"- {line}" for line in reason_lines(report.rows)))
    if report.gate:
        yield from ("", report.gate)
