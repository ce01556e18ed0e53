"""report: report.json, report.html and the plots, also after a branch or the whole run has failed."""

from pydantic import JsonValue

from cxr_core.refs import Frozen, Precision, Record
from cxr_core.report.document import Failure, RunHeader
from tasks.stage import Arguments, AsJson, stage


class BranchChange(Frozen):
    """A branch whose engine is another than in the last green run: that run's row, both runs' records, and why."""

    precision: Precision
    backend: str
    row_before: dict[str, JsonValue]
    threshold_before: float
    scored_before: Record
    built_before: Record
    scored: Record
    built: Record
    why: tuple[str, ...]


@stage(
    "report",
    core="cxr_core.report.report:report",
    packages=("matplotlib", "jinja2", "numpy", "scipy", "scikit-learn", "pandas", "pillow", "pyyaml"),
)
def report(
    header: RunHeader,
    failures: list[Failure],
    compared: Record | None = None,
    trained: Record | None = None,
    gated: Record | None = None,
    changes: list[BranchChange] | None = None,
    frozen: Record | None = None,
    occluded: Record | None = None,
    tried: Record | None = None,
    lowered: Record | None = None,
) -> Arguments:
    return {
        "run": header,
        "comparison": compared.output("comparison.json") if compared else None,
        "checkpoint": trained.output("checkpoint") if trained else None,
        "parity": gated.output("parity.json") if gated else None,
        "failures": failures,
        "tensors": frozen.output("tensors") if frozen and compared else None,
        "occlusion": occluded.output("occlusion.json") if occluded else None,
        "robustness": tried.output("robustness.json") if tried else None,
        "changes": AsJson([_change(change) for change in changes]) if changes else None,
        "int8": lowered.facts.get("search") if lowered else None,
    }


def _change(change: BranchChange) -> Arguments:
    return {
        "precision": change.precision,
        "backend": change.backend,
        "before": change.row_before,
        "threshold_before": change.threshold_before,
        "scores_before": change.scored_before.output("scores.csv"),
        "scores_after": change.scored.output("scores.csv"),
        "versions_before": change.built_before.parts["environment"],
        "versions_after": change.built.parts["environment"],
        "why": list(change.why),
    }
