"""Figures by kind of pneumonia. Each kind stands against all normal images; small groups are hidden."""

import numpy as np

from cxr_core.evaluation.intervals import Bounds, auc_interval, patient_bootstrap, share_interval
from cxr_core.evaluation.metrics import Rate, decisions, metrics
from cxr_core.evaluation.scores import Scores
from cxr_core.refs import Frozen

SMALLEST_GROUP = 20


class Subgroup(Frozen):
    """One kind. Below ``SMALLEST_GROUP`` images every figure is None and only the count stands.

    ``sensitivity``: share of this kind that is called. ``auc``: this kind against all normals.
    """

    kind: str
    images: int
    patients: int
    called: int | None
    sensitivity: Rate | None
    sensitivity_interval: Bounds | None
    auc: Rate | None
    auc_interval: Bounds | None


def subgroups(scores: Scores, threshold: float, replicates: int, seed: int) -> tuple[Subgroup, ...]:
    """One entry for each kind found among the images of class 1, sorted by name."""
    kinds = sorted({str(kind) for kind in scores.kind[scores.label == 1]})
    return tuple(_subgroup(scores, kind, threshold, replicates, seed) for kind in kinds)


def _subgroup(scores: Scores, kind: str, threshold: float, replicates: int, seed: int) -> Subgroup:
    of_kind = (scores.label == 1) & (scores.kind == kind)
    images, patients = int(of_kind.sum()), len(np.unique(scores.patient[of_kind]))
    if images < SMALLEST_GROUP:
        return Subgroup(
            kind=kind,
            images=images,
            patients=patients,
            called=None,
            sensitivity=None,
            sensitivity_interval=None,
            auc=None,
            auc_interval=None,
        )
    chosen = of_kind | (scores.label == 0)
    label, probability = scores.label[chosen], scores.probability[chosen]
    _, patient = np.unique(scores.patient[chosen], return_inverse=True)
    figures = metrics(label, probability, threshold, prevalence=0.5)
    called = decisions(probability, threshold)
    draws = patient_bootstrap(label, patient.astype(np.int64), replicates, seed)
    return Subgroup(
        kind=kind,
        images=images,
        patients=patients,
        called=int((called & (label == 1)).sum()),
        sensitivity=figures.sensitivity,
        sensitivity_interval=share_interval(called, label == 1, draws),
        auc=figures.auc,
        auc_interval=auc_interval(label, probability, draws),
    )
