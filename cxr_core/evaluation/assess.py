"""One branch's row of the table and what stands behind it."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from pydantic import JsonValue

from cxr_core.config import CompareConfig
from cxr_core.errors import DataError
from cxr_core.evaluation.audits import require_answers_of_accuracy_mode, require_one_engine
from cxr_core.evaluation.branches import Branch, read_speed
from cxr_core.evaluation.curves import calibration_bins, roc
from cxr_core.evaluation.differences import Difference, holm
from cxr_core.evaluation.intervals import PatientBootstrap, auc_interval, share_interval
from cxr_core.evaluation.metrics import decisions, metrics
from cxr_core.evaluation.paired import paired
from cxr_core.evaluation.recommend import as_asked
from cxr_core.evaluation.rows import Assessment, Detail, Latency, Row
from cxr_core.evaluation.scores import Scores, defect, read_scores, require_same_images
from cxr_core.evaluation.subgroups import subgroups
from cxr_core.evaluation.verdicts import Judgement, Verdict, judge, judge_reference, without_benchmark
from cxr_core.refs import Precision

REFERENCE = (Precision.FP32, "onnxruntime")
DIFFERENCES = ("accuracy_difference", "sensitivity_difference", "specificity_difference", "auc_difference")


@dataclass(frozen=True)
class Judge:
    """What every branch is held against. One set of bootstrap draws serves all, so that pairs share it."""

    reference: Scores
    threshold: float
    config: CompareConfig
    bootstrap: PatientBootstrap

    def assess(self, scores: Scores) -> Assessment:
        """All figures of one set of finite answers."""
        figures = metrics(scores.label, scores.probability, self.threshold, self.config.prevalence)
        ill = scores.label == 1
        right = decisions(scores.probability, self.threshold) == ill
        return Assessment(
            metrics=figures,
            accuracy_interval=share_interval(right, np.ones_like(ill), self.bootstrap),
            sensitivity_interval=share_interval(right, ill, self.bootstrap),
            specificity_interval=share_interval(right, ~ill, self.bootstrap),
            auc_interval=auc_interval(scores.label, scores.probability, self.bootstrap),
            roc=roc(scores.label, scores.probability),
            calibration=calibration_bins(scores.label, scores.probability),
            subgroups=subgroups(scores, self.threshold, self.config.bootstrap, self.config.seed),
        )


@dataclass(frozen=True)
class Assessed:
    """A branch, what stands behind its row, why its answers cannot be used, if so, and the answers, if not."""

    branch: Branch
    detail: Detail
    broken: str | None
    scores: Scores | None


def assessed(branch: Branch, judge: Judge) -> Assessed:
    """A branch's figures. One whose own files cannot be used becomes a failed branch, so that its siblings stand."""
    try:
        return Assessed(branch, *_read(branch, judge))
    except DataError as error:
        branch = branch.model_copy(update={"state": "failed", "reason": str(error), "benchmark": None, "scores": None})
        return Assessed(branch, *_read(branch, judge))


def row(found: Assessed, config: CompareConfig) -> Row:
    """The branch's row with its verdict."""
    return _row(found.branch, found.detail, _judgement(found.branch, found.detail, found.broken, config))


def with_holm(found: Sequence[Assessed]) -> list[Assessed]:
    """The same, with each figure's p values corrected over the engines (Holm). The reference's own is no question."""
    asked = [
        i
        for i, one in enumerate(found)
        if one.detail.paired and (one.branch.precision, one.branch.backend) != REFERENCE
    ]
    corrected: dict[int, dict[str, Difference]] = {i: {} for i in asked}
    for name in DIFFERENCES:
        tested = {i: tested for i in asked if (tested := getattr(found[i].detail.paired, name)) is not None}
        for (i, difference), p in zip(tested.items(), holm([one.p for one in tested.values()]), strict=True):
            corrected[i][name] = difference.model_copy(update={"p_holm": p})
    return [
        replace(one, detail=_with(one.detail, corrected[i])) if i in corrected else one for i, one in enumerate(found)
    ]


def _is_reference(branch: Branch) -> bool:
    return (branch.precision, branch.backend) == REFERENCE


def _with(detail: Detail, corrected: dict[str, Difference]) -> Detail:
    assert detail.paired
    return detail.model_copy(update={"paired": detail.paired.model_copy(update=corrected)})


def _read(branch: Branch, judge: Judge) -> tuple[Detail, str | None, Scores | None]:
    """What the branch left, and why its answers cannot be used, or the answers."""
    speed = read_speed(branch.benchmark) if branch.benchmark else None
    scores = read_scores(branch.scores) if branch.scores else None
    if branch.state == "done" and (speed is None or scores is None or branch.engine is None):
        raise DataError(
            f"{branch.precision}@{branch.backend} is said to be done, but its engine, benchmark or scores "
            "are missing; mend: run the branch again"
        )
    require_one_engine(branch)
    if scores:
        require_same_images(scores, judge.reference)
    broken = defect(scores) if scores else None
    usable = None if broken else scores
    if branch.benchmark and usable:
        require_answers_of_accuracy_mode(branch.benchmark, usable)
    facts = _facts(branch)
    detail = Detail(
        precision=branch.precision,
        backend=branch.backend,
        state=branch.state,
        speed=speed,
        fake=facts.get("fake") is True,
        support=_text(facts, "support"),
        note=_text(facts, "note") or "",
        paired=paired(usable, judge.reference, judge.threshold, judge.bootstrap, judge.config) if usable else None,
        assessment=judge.assess(usable) if usable else None,
    )
    return detail, broken, usable


def _judgement(branch: Branch, detail: Detail, broken: str | None, config: CompareConfig) -> Judgement | None:
    if branch.state == "unsupported":
        return Judgement(verdict=Verdict.UNSUPPORTED, reason=branch.reason)
    if broken:
        return Judgement(verdict=Verdict.FAIL, reason=f"{broken[0].upper()}{broken[1:]}.")
    if detail.paired is None:
        return None
    rule = judge_reference if _is_reference(branch) else judge
    judged = rule(detail.paired, config, detail.speed, branch.engine.bytes if branch.engine else None)
    return judged if detail.speed else without_benchmark(judged, branch.reason)


def _row(branch: Branch, detail: Detail, judgement: Judgement | None) -> Row:
    engine, facts = branch.engine, _facts(branch)
    figures: dict[str, object] = {}
    device = _text(facts, "device")
    if speed := detail.speed:
        device = device or speed.device
        figures |= {"images_per_second": speed.images_per_second, "ratio_to_reference": speed.ratio}
        figures["latency_ms"] = Latency(p50=speed.p50_ms, p90=speed.p90_ms, p99=speed.p99_ms, count=speed.latency_count)
    if assessment := detail.assessment:
        names = ("accuracy", "auc", "sensitivity", "specificity", "ppv", "f1", "ece")
        figures |= {name: getattr(assessment.metrics, name) for name in names}
        figures |= {"accuracy_interval": assessment.accuracy_interval, "auc_interval": assessment.auc_interval}
    if compared := detail.paired:
        figures |= {
            "agreement_with_fp32": compared.agreement,
            "flips": compared.flips,
            "mean_abs_dp": compared.mean_abs_dp.value,
            "mcnemar_p": compared.mcnemar_p,
            "delong_p": compared.delong.p if compared.delong else None,
            "ece_difference": compared.ece_difference,
            **{name: getattr(compared, name) for name in DIFFERENCES},
        }
    return Row.model_validate(
        {
            "precision": branch.precision,
            "backend": branch.backend,
            "device": f"FAKE {device or ''}".strip() if detail.fake else device,
            "effective_precision": _text(facts, "effective_precision"),
            "effective": facts.get("effective"),
            "engine_digest": engine.digest if engine else None,
            "engine_bytes": engine.bytes if engine else None,
            "verdict": judgement.verdict if judgement else None,
            "reason": _reason(branch, detail, judgement),
            **figures,
        }
    )


def _reason(branch: Branch, detail: Detail, judgement: Judgement | None) -> str:
    """The verdict's sentence, and what a reader must know before believing it."""
    effective = _text(_facts(branch), "effective_precision")
    parts = ["FAKE, a test double."] if detail.fake else []
    parts.append(judgement.reason if judgement else branch.reason)
    if effective and not as_asked(branch.precision, effective):
        parts.append(f"Asked for {branch.precision}, but it really runs {effective}.")
    return " ".join(part for part in parts if part)


def _facts(branch: Branch) -> dict[str, JsonValue]:
    return branch.engine.facts if branch.engine else {}


def _text(facts: dict[str, JsonValue], name: str) -> str | None:
    value = facts.get(name)
    return value if isinstance(value, str) and value else None
