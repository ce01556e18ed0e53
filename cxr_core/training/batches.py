"""Which images make up step *t*: a pure function of (seed, t), so that a resumed run sees what it would have seen."""

import numpy as np


class BalancedBatches:
    """Half of each batch from each class, each class running through its own shuffled queue.

    Args:
        labels: 0 or 1 for each training image.
        batch: images a batch, even.
        seed: of the shuffles.
    """

    def __init__(self, labels: np.ndarray, batch: int, seed: int) -> None:
        self._rows = [np.flatnonzero(labels == label) for label in (0, 1)]
        self._half = batch // 2
        self._seed = seed

    def __call__(self, step: int) -> np.ndarray:
        """Row numbers of the images of that step, int64 ``[batch]``."""
        return np.concatenate([self._take(label, step) for label in (0, 1)])

    def _take(self, label: int, step: int) -> np.ndarray:
        rows = self._rows[label]
        positions = np.arange(step * self._half, (step + 1) * self._half)
        epochs = positions // len(rows)
        taken = np.empty(self._half, np.int64)
        for epoch in np.unique(epochs):
            order = np.random.default_rng([self._seed, 2, label, epoch]).permutation(rows)
            here = epochs == epoch
            taken[here] = order[positions[here] % len(rows)]
        return taken
