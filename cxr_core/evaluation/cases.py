"""Single images: those on which the engines disagree, and those that the reference gets most wrong."""

from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

from cxr_core.evaluation.metrics import Rate, decisions
from cxr_core.evaluation.scores import Scores
from cxr_core.refs import Frozen

MOST_CASES = 12  # that a comparison keeps of each kind, to be looked at


class Case(Frozen):
    """One test image and what every engine says of it; probabilities are those of class 1.

    ``answers`` by ``PRECISION@BACKEND``; ``otherwise``: those of them whose decision is not the reference's.
    """

    file: str
    label: int
    kind: str
    reference: Rate
    answers: dict[str, Rate]
    otherwise: tuple[str, ...]


def disagreements(reference: Scores, engines: Mapping[str, Scores], threshold: float) -> tuple[Case, ...]:
    """All images on which an engine decides otherwise than the reference, the largest shift of probability first.

    Args:
        engines: finite scores of the same images by ``PRECISION@BACKEND``.
    """
    called = decisions(reference.probability, threshold)
    largest = np.full(len(reference), -1.0)  # stays so where all agree
    for scores in engines.values():
        flipped = decisions(scores.probability, threshold) != called
        shift = np.abs(scores.probability - reference.probability)
        largest = np.maximum(largest, np.where(flipped, shift, -1.0))
    order = np.argsort(-largest, kind="stable")
    return _cases(order[largest[order] >= 0], reference, engines, threshold)


def worst(reference: Scores, engines: Mapping[str, Scores], threshold: float) -> tuple[Case, ...]:
    """The reference's wrong decisions, those that it is surest of first."""
    wrong = decisions(reference.probability, threshold) != (reference.label == 1)
    order = np.argsort(-np.abs(reference.probability - reference.label), kind="stable")
    return _cases(order[wrong[order]], reference, engines, threshold)


def _cases(
    chosen: NDArray[np.int64], reference: Scores, engines: Mapping[str, Scores], threshold: float
) -> tuple[Case, ...]:
    called = decisions(reference.probability, threshold)
    return tuple(
        Case(
            file=reference.files[i],
            label=int(reference.label[i]),
            kind=str(reference.kind[i]),
            reference=float(reference.probability[i]),
            answers={name: float(scores.probability[i]) for name, scores in engines.items()},
            otherwise=tuple(
                name for name, scores in engines.items() if (scores.probability[i] >= threshold) != called[i]
            ),
        )
        for i in chosen
    )
