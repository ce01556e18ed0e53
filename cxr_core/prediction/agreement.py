"""How often PNEUMONIA was the truth where the model said about the same: the one interval that a prediction has.

One probability has no interval of its own: a network answers with a number, and training it anew would give another by
an amount that nobody has measured for this picture. What was measured is the test split. Of its images that the
reference scored in the same tenth, so many had pneumonia, and that share has an interval (Wilson, 95 %). It is about
images of that test split, with its share of the ill and images of one patient counted as independent.
"""

from typing import Any, NamedTuple, Self

import numpy as np
from pydantic import TypeAdapter, ValidationError

from cxr_core.graphs.metadata import GraphMetadata

MEANING = (
    "95 % interval (Wilson) of the share of PNEUMONIA among the run's test images that the model scored in the same "
    "tenth; it is no interval of this picture's own probability, and holds where as many are ill as in that test split"
)


class Share(NamedTuple):
    """The interval of a share, and of how many images it is."""

    low: float
    high: float
    images: int


class Agreement:
    """What is known by tenths of the probability. ``reason`` says why nothing is, and is empty otherwise."""

    def __init__(self, shares: dict[int, Share], reason: str = "") -> None:
        self._shares = shares
        self.reason = reason

    @classmethod
    def of_report(cls, report: dict[str, Any], about: GraphMetadata) -> Self:
        """From a run's ``report.json``; empty where there is none, or it is about other weights."""
        if not report:
            return cls({}, "left out: it is of the run's report, and an ONNX file alone has none")
        model, reference = report.get("model"), report.get("reference")
        weights = model.get("weights_digest") if isinstance(model, dict) else None
        if weights != about.weights_digest:
            return cls({}, "left out: the report is about other weights than the graph's")
        from cxr_core.evaluation.curves import CalibrationBin  # only now: an ONNX file alone is to be quick
        from cxr_core.evaluation.intervals import wilson

        try:
            bins = TypeAdapter(tuple[CalibrationBin, ...]).validate_python(
                reference.get("calibration") if isinstance(reference, dict) else None
            )
        except ValidationError:
            return cls({}, "left out: the report has no answers of the reference")
        return cls(
            {
                _tenth(one.predicted): Share(*wilson(round(one.observed * one.images), one.images), one.images)
                for one in bins
                if one.images > 0
            }
        )

    def share(self, probability: float) -> Share | None:
        """That of the tenth which a probability is in; None where no test image was."""
        return self._shares.get(_tenth(probability)) if self._shares else None


def _tenth(probability: float) -> int:
    from cxr_core.evaluation.metrics import bin_of

    return int(bin_of(np.asarray([probability]))[0])
