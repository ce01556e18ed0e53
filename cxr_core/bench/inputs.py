"""What is fed while timing: several different images, the same ones in every run."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from cxr_core.engines.contract import Images
from cxr_core.engines.scoring import read_test_images
from cxr_core.errors import ModelError

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


@dataclass(frozen=True)
class Inputs:
    """``single``: batches of one image, ``batched``: of the configured size. ``files`` names the images of ``batched``
    in order where they are known ones, so that their answers can be held against those of the accuracy stage."""

    single: Sequence[Images]
    batched: Sequence[Images]
    files: tuple[str, ...] = ()


def made_up(batch: int, height: int, width: int, seed: int) -> Inputs:
    """Blobs, where there are no images."""
    return Inputs(batches(1, height, width, seed), batches(batch, height, width, seed))


def of_test_split(tensors: Path, batch: int, height: int, width: int) -> Inputs:
    """Images of the test split, evenly over it: an engine cannot tell being timed from being scored.

    Raises:
        DataError: no test images.
        ModelError: images of another size than the engine's.
    """
    images, index = read_test_images(tensors)
    if images.shape[1:] != (height, width):
        raise ModelError(
            f"the engine takes {height}x{width} pixels, {tensors.name}/images.npy has "
            f"{images.shape[1]}x{images.shape[2]}; use tensors and graph of one size"
        )
    chosen = [index[i] for i in np.linspace(0, len(index) - 1, _BATCHES * batch).round().astype(int)]
    pictures = images[[int(row["row"]) for row in chosen]].astype(np.float32)[:, None]
    batched = [pictures[i * batch : (i + 1) * batch] for i in range(_BATCHES)]
    return Inputs([one[:1].copy() for one in batched], batched, tuple(row["file"] for row in chosen))
