"""compare: pairing with the reference scores, intervals and a verdict for each branch."""

from typing import Literal

from cxr_core.config import CompareConfig
from cxr_core.refs import Frozen, Precision, Record
from tasks.stage import Arguments, AsJson, stage


class BranchOutcome(Frozen):
    """What became of one branch: the records it has, and the reason where it has not all."""

    precision: Precision
    backend: str
    state: Literal["done", "failed", "unsupported"]
    reason: str = ""
    built: Record | None = None
    measured: Record | None = None
    scored: Record | None = None


@stage("compare", core="cxr_core.evaluation.compare:compare", packages=("numpy", "scipy", "scikit-learn", "pandas"))
def compare(
    branches: list[BranchOutcome], reference: Record, exported: Record, splitted: Record, config: CompareConfig
) -> Arguments:
    return {
        "branches": AsJson([_branch(outcome) for outcome in branches]),
        "reference_scores": reference.output("scores.csv"),
        "threshold": exported.facts["threshold"],
        "split": splitted.output("split.csv"),
        "shortcuts": splitted.output("shortcuts.json"),
        "warnings": splitted.output("warnings.json"),
        "config": config,
    }


def _branch(outcome: BranchOutcome) -> Arguments:
    built, measured, scored = outcome.built, outcome.measured, outcome.scored
    return {
        "precision": outcome.precision,
        "backend": outcome.backend,
        "state": outcome.state,
        "reason": outcome.reason,
        "engine": {"digest": built.output("engine").digest, "bytes": built.output("engine").size, "facts": built.facts}
        if built
        else None,
        "benchmark": measured.output("benchmark.json") if measured else None,
        "scores": scored.output("scores.csv") if scored else None,
        "benchmark_engine": measured.facts["engine_digest"] if measured else None,
        "scores_engine": scored.facts["engine_digest"] if scored else None,
    }
