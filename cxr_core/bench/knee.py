"""Where a rate stops rising worth its price."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import ArrayLike, NDArray

_SENSITIVITY = 1.0  # Kneedle's S; 1 is its authors' choice
RESAMPLES = 2000


def knee(batches: Sequence[int], rates: ArrayLike) -> int | None:
    """The batch at the knee of the rate, None where the curve has none.

    Kneedle (V. Satopää et al., "Finding a Kneedle in a Haystack", 2011), offline and without smoothing, on the curve
    up to its highest point: both axes are scaled to 0..1, and the knee is where the curve is farthest above its
    chord. It counts if the curve then comes nearer to the chord by more than S mean steps of the batch axis; as it
    ends on the chord, the distance must exceed S / (points - 1). Fewer than three points up to the highest have none.
    """
    curve: NDArray[np.float64] = np.asarray(rates, dtype=np.float64)
    last = int(curve.argmax())
    if last < 2:
        return None
    x, y = np.asarray(batches[: last + 1], dtype=np.float64), curve[: last + 1]
    above = (y - y[0]) / (y[-1] - y[0]) - (x - x[0]) / (x[-1] - x[0])
    farthest = int(above.argmax())
    return batches[farthest] if above[farthest] > _SENSITIVITY / last else None


def agreement(batches: Sequence[int], rates: NDArray[np.float64], seed: int) -> float:
    """The share of bootstrap resamples of the rounds that have the knee of all rounds; ``rates`` [rounds, batches]."""
    logs, count = np.log(rates), len(rates)
    wanted = knee(batches, np.exp(logs.mean(axis=0)))
    picks = np.random.default_rng(seed).integers(0, count, (RESAMPLES, count))
    return float(np.mean([knee(batches, np.exp(logs[pick].mean(axis=0))) == wanted for pick in picks]))
