"""Are the answers given while being timed the answers given before, and are they computed each time?"""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from cxr_core.bench.clock import MACHINE, Clock
from cxr_core.bench.loop import Turn
from cxr_core.engines.contract import Images, Logits, Runner
from cxr_core.errors import BranchError

# The same engine on the same batch: only the order of additions among threads may differ.
_RTOL, _ATOL = 1e-3, 1e-3
# The same image alone and in a batch: other kernels may run, in bf16 with three decimal digits.
_PROBABILITY = 0.05
# An image seen before may be answered this much quicker than a new one: its memory is warm, and clocks are noisy.
_QUICKER = 1.5
_TRIES = 24
# So unlikely it is that other load alone makes known images so much quicker so much more often than new ones.
_BY_CHANCE = 1e-4


def require_valid(*complaints: str) -> None:
    """An invalid measurement is no result: nothing is kept of it.

    Raises:
        BranchError: one of the complaints says something; the message says all that they say.
    """
    if said := "; ".join(filter(None, complaints)):
        raise BranchError(f"not a valid measurement: {said}")


def answers_before(runner: Runner, inputs: Sequence[Images]) -> list[Logits]:
    """Untimed answers, one per input."""
    return [runner(images).copy() for images in inputs]


def complaint(turn: Turn, inputs: Sequence[Images], expected: Sequence[Logits]) -> str:
    """A sentence for the first thing wrong with a turn; empty where all is well."""
    if backwards := _backwards(turn):
        return backwards
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


def _backwards(turn: Turn) -> str:
    """Within a query, or from one start or stop to the next; those of several streams overlap."""
    moments = (turn.stops - turn.starts, np.diff(turn.starts), np.diff(turn.stops))
    if not (worst := min((int(steps.min()) for steps in moments if steps.size), default=0)) < 0:
        return ""
    return (
        f"the clock went back by {-worst / 1e6:.3g} ms while queries were timed: measure again; if it stays so, give "
        "the machine another clock source (/sys/devices/system/clocksource)"
    )


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


def memory_complaint(runner: Runner, known: Sequence[Images], clock: Clock = MACHINE) -> str:
    """A sentence where images that were answered before are answered much quicker than new ones; empty where not.

    Each known image, or batch, is followed by a new one of the same pixels, shifted. The quickest of either is
    compared, which other load hardly touches; where it holds up a whole try, more tries are added to it before a
    complaint. Where it leaves hardly any query alone, one lucky query decides that, so one of the known must also be
    the quicker of its pairs more often than by chance. (After MLPerf's TEST04, caching of results.)
    """
    ratio = 0.0
    times = np.empty((_TRIES, len(known), 2), np.int64)  # the known image's before the new one's
    for attempt in range(_TRIES):
        for number, old in enumerate(known):
            new = np.roll(old, 1 + attempt * len(known) + number)
            times[attempt, number] = [_nanoseconds(runner, images, clock) for images in (old, new)]
        quickest = times[: attempt + 1].min(axis=(0, 1))
        ratio = quickest[1] / quickest[0]
        if ratio <= _QUICKER:
            return ""
    if not _rather_quicker(times[..., 0], times[..., 1]):
        return ""
    return f"images seen before are answered {ratio:.1f} times as fast as new ones, so answers are remembered"


def _nanoseconds(runner: Runner, images: Images, clock: Clock) -> int:
    images.sum()  # so that they are not cold
    start = clock.now()
    runner(images)
    return clock.now() - start


def _rather_quicker(old: NDArray[np.int64], new: NDArray[np.int64]) -> bool:
    """Is one of the known rather much quicker than its new ones, than the other way round? Times: [tries, known].

    A sign test of each by itself, Bonferroni over them: where one image alone is remembered, other load among the
    pairs of the rest must not hide it.
    """
    from scipy.special import bdtrc

    quicker, slower = (new > _QUICKER * old).sum(axis=0), (old > _QUICKER * new).sum(axis=0)
    by_chance = bdtrc(quicker - 1.0, quicker + slower, 0.5)
    return float(by_chance.min()) * len(by_chance) < _BY_CHANCE


def _probability(logits: Logits) -> NDArray[np.float64]:
    from scipy.special import expit

    with np.errstate(invalid="ignore"):
        difference = logits[:, 1].astype(np.float64) - logits[:, 0]
    chances: NDArray[np.float64] = expit(difference)
    return chances
