"""Are the answers given while being timed the answers given before?"""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from cxr_core.bench.loop import Turn
from cxr_core.engines.contract import Images, Logits, Runner

# The same engine on the same batch: only the order of additions among threads may differ.
_RTOL, _ATOL = 1e-3, 1e-3
# The same image alone and in a batch: other kernels may run, in bf16 with three decimal digits.
_PROBABILITY = 0.05


def answers_before(runner: Runner, inputs: Sequence[Images]) -> list[Logits]:
    """Untimed answers, one per input."""
    return [runner(images).copy() for images in inputs]


def complaint(turn: Turn, inputs: Sequence[Images], expected: Sequence[Logits]) -> str:
    """A sentence for the first thing wrong with a turn; empty where all is well."""
    for number, (answer, bound) in enumerate(zip(turn.answers, turn.bound, strict=True)):
        given, wanted = inputs[number % len(inputs)], expected[number % len(inputs)]
        if bound != len(given) or answer.shape != wanted.shape:
            return f"query {number} was given {len(given)} images, {bound} were bound and {len(answer)} answered"
        if not np.isfinite(answer).all():
            return f"query {number} answered with values that are not finite"
        if not np.allclose(answer, wanted, rtol=_RTOL, atol=_ATOL):
            worst = float(np.abs(answer - wanted).max())
            return (
                f"query {number} answered otherwise while timed than before (largest difference {worst:.3g} in logits)"
            )
    return ""


def batch_complaint(runner: Runner, batch: Images, answers: Logits) -> str:
    """A sentence where images alone are answered otherwise than within their batch; empty where not.

    Answers that are not finite cannot be compared; ``complaint`` names those.
    """
    chosen = sorted({0, len(batch) // 2, len(batch) - 1})
    alone = np.concatenate([runner(batch[i : i + 1]) for i in chosen])
    shift = float(np.abs(_probability(alone) - _probability(answers[chosen])).max())
    if not shift > _PROBABILITY:  # so that NaN passes here
        return ""
    return f"images are answered otherwise in a batch of {len(batch)} than alone (probability moves by {shift:.3g})"


def _probability(logits: Logits) -> NDArray[np.float64]:
    from scipy.special import expit

    with np.errstate(invalid="ignore"):
        difference = logits[:, 1].astype(np.float64) - logits[:, 0]
    chances: NDArray[np.float64] = expit(difference)
    return chances
