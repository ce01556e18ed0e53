"""The stage ``compare``: pairs every branch with the reference, judges it, writes ``comparison.json``."""

import csv
import json
from collections import Counter
from pathlib import Path
from typing import Any

from pydantic import JsonValue, TypeAdapter

from cxr_core.config import CompareConfig
from cxr_core.errors import DataError
from cxr_core.evaluation.assess import Judge, assessed, row, with_holm
from cxr_core.evaluation.branches import read_branches
from cxr_core.evaluation.cases import MOST_CASES, disagreements, worst
from cxr_core.evaluation.intervals import patient_bootstrap
from cxr_core.evaluation.power import power
from cxr_core.evaluation.reading import what
from cxr_core.evaluation.recommend import recommended_by_backend
from cxr_core.evaluation.rows import Comparison, TestCounts
from cxr_core.evaluation.scores import Scores, read_scores, require_finite
from cxr_core.evaluation.verdicts import gate_sentence
from cxr_core.evaluation.writing import write_json
from cxr_core.progress import Progress, silent

OPTIONAL_BUDGETS = ("sensitivity_margin", "calibration_loss", "latency_ms", "engine_mb")


def compare(
    *,
    branches: Path,
    reference_scores: Path,
    threshold: float,
    split: Path,
    shortcuts: Path,
    warnings: Path,
    out: Path,
    config: CompareConfig,
    progress: Progress = silent,
) -> dict[str, JsonValue]:
    """Compare all branches with the reference on the same test images.

    Args:
        branches: JSON list, see ``cxr_core.evaluation.branches``.
        reference_scores: scores of the FP32 reference on the whole test split.
        threshold: an image is called PNEUMONIA when its calibrated probability is at least this.
        split: ``split.csv``; the reference must have been scored on all of its test images.
        shortcuts: the shortcut audit, passed on. ``warnings``: a list of sentences, passed on.

    Returns:
        Facts: one verdict per branch, the recommendation, the test split's size.

    Raises:
        DataError: unreadable or unfit inputs. An engine's broken answers are a verdict, not an error.
    """
    listed = read_branches(branches)
    reference = read_scores(reference_scores)
    require_finite(reference)
    counts = _counts(reference, split)
    judge = Judge(
        reference=reference,
        threshold=threshold,
        config=config,
        bootstrap=patient_bootstrap(reference.label, reference.patient, config.bootstrap, config.seed),
    )
    found = []
    for done, branch in enumerate(listed):
        progress(done, len(listed), f"{branch.precision}@{branch.backend}")
        found.append(assessed(branch, judge))
    found = with_holm(found)
    rows, details = tuple(row(one, config) for one in found), tuple(one.detail for one in found)
    choices = recommended_by_backend(rows)
    answers = {f"{one.branch.precision}@{one.branch.backend}": one.scores for one in found if one.scores}
    disagreed = disagreements(reference, answers, threshold)
    comparison = Comparison(
        threshold=threshold,
        counts=counts,
        reference=judge.assess(reference),
        rows=rows,
        details=details,
        recommended=choices[0] if choices else None,
        recommended_by_backend=choices,
        gate=gate_sentence(config),
        power=power(reference, config),
        budgets={
            "accuracy_margin": config.accuracy_margin,
            "flips_share": config.flips_share,
            "probability_shift": config.probability_shift,
            "prevalence": config.prevalence,
            **{name: value for name in OPTIONAL_BUDGETS if (value := getattr(config, name)) is not None},
        },
        warnings=TypeAdapter(tuple[str, ...]).validate_python(_json(warnings)),
        shortcuts=_json(shortcuts),
        disagreeing=len(disagreed),
        disagreements=disagreed[:MOST_CASES],
        worst=worst(reference, answers, threshold)[:MOST_CASES],
    )
    write_json(out / "comparison.json", comparison)
    progress(len(listed), len(listed), "compared")
    return {
        "verdicts": {f"{r.precision}@{r.backend}": r.verdict.value if r.verdict else None for r in rows},
        "recommended": comparison.recommended.model_dump(mode="json") if comparison.recommended else None,
        "accuracy": comparison.reference.metrics.accuracy,
        "auc": comparison.reference.metrics.auc,
        "test_images": counts.images,
    }


def _json(path: Path) -> Any:
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise DataError(f"{path.name}: JSON expected, but {what(error)}") from error


def _counts(reference: Scores, split: Path) -> TestCounts:
    """Counts, after checking that the reference was scored on the whole test split and nothing else."""
    with split.open(newline="", encoding="utf-8") as file:
        of_split = {row["file"]: row["split"] for row in csv.DictReader(file)}
    expected = {name for name, part in of_split.items() if part == "test"}
    strange = expected ^ set(reference.files)
    if strange:
        raise DataError(
            f"{reference.source}: scores of all {len(expected)} test images expected, found "
            f"{len(reference)}; {len(strange)} on one side only, first {min(strange)}; "
            "mend: score the whole test split again"
        )
    positive = int(reference.label.sum())
    return TestCounts(
        images=len(reference),
        patients=len(reference.patients),
        normal=len(reference) - positive,
        pneumonia=positive,
        kinds=dict(sorted(Counter(map(str, reference.kind)).items())),
        splits=dict(sorted(Counter(of_split.values()).items())),
    )
