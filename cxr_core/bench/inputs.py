"""What is fed while timing: several different images, the same ones in every run."""

from collections.abc import Sequence

import numpy as np

from cxr_core.engines.contract import Images

# More than one, so that an engine that remembers its last answer is found out; few enough to stay in cache.
_BATCHES = 4


def batches(batch: int, height: int, width: int, seed: int) -> Sequence[Images]:
    """Float32 [batch, 1, height, width] with whole values 0..255; all images of all batches differ.

    Coarse random blobs rather than white noise: they drive a network through the range that pictures do.
    """
    random = np.random.default_rng(seed)
    coarse = random.integers(0, 256, (_BATCHES, batch, 1, -(-height // 8), -(-width // 8)), dtype=np.uint8)
    full = coarse.repeat(8, axis=3).repeat(8, axis=4)[..., :height, :width]
    noise = random.integers(0, 32, full.shape, dtype=np.uint8)
    return list(((full.astype(np.uint16) * 7 // 8) + noise).astype(np.float32))
