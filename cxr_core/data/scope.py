"""Does a picture look like a frontal chest radiograph at all? A coarse look, taken before a model is asked.

A classifier of chests answers whatever it is shown, and often surely. So a picture in colour is put out of scope, and
one that is not shaped like a chest: squeezed to 16x16 grey pixels, with mean 0 and standard deviation 1, it is held
against a Gaussian with few directions of its own and one variance for all others (probabilistic PCA, Tipping and
Bishop 1999, JRSS B 61). What is measured is the squared Mahalanobis distance a pixel. It must be within a limit, and
smaller than that of the same picture turned, or with black and white exchanged.

``scope.npz`` beside this module holds that Gaussian and the limit; ``python -m benchmarks.scope --fit`` makes both from
training radiographs alone (Kermany et al. 2018, CC BY 4.0; ``data/README.md``). How often it errs:
``docs/results/scope.json``. It tells chests from other things, and says nothing about whether a chest is of the kind
that a model has learned.
"""

from collections.abc import Callable
from functools import cache
from importlib.resources import as_file, files
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from PIL.Image import Image

from cxr_core.data.decode import Decoded, resize

SIDE = 16
"""Pixels a side of what is looked at."""

MOST_COLOUR = 0.04
"""Of ``Decoded.colour``. Radiographs saved as colour pictures have none; a tint of the film has less."""

FROM_THE_SIDE = frozenset({"LL", "RL", "LLO", "RLO", "LAT", "LATERAL"})
"""View positions that are lateral or oblique, in DICOM's terms and in what is written instead of them."""

Floats = NDArray[np.float64]

_CHANGES: tuple[tuple[str, Callable[[Floats], Floats]], ...] = (
    ("black and white are exchanged: invert it", lambda square: -square),
    ("it is turned to its left: turn it back", lambda square: np.rot90(square, -1)),
    ("it is turned to its right: turn it back", np.rot90),
    ("it is upside down: turn it", lambda square: np.rot90(square, 2)),
)
"""What may have been done to a radiograph, and how it is undone."""


class Shape(NamedTuple):
    """``mean`` [p] and orthonormal ``directions`` [k, p] of p pixels, their ``variances`` [k], and ``rest``, the
    variance of all others. ``limit``: the largest distance that is in scope."""

    mean: Floats
    directions: Floats
    variances: Floats
    rest: Floats
    limit: Floats

    def distances(self, pictures: Floats) -> Floats:
        """Squared Mahalanobis distance a pixel, [n], of standardised pictures [n, p]."""
        off = pictures - self.mean
        along = off @ self.directions.T
        across = (off**2).sum(axis=1) - (along**2).sum(axis=1)
        return np.asarray(((along**2 / self.variances).sum(axis=1) + across / self.rest) / self.mean.size)


def fitted(pictures: Floats, directions: int) -> Shape:
    """The Gaussian of greatest likelihood for standardised pictures [n, p], with no limit yet."""
    mean = pictures.mean(axis=0)
    _, singular, rows = np.linalg.svd(pictures - mean, full_matrices=False)
    variances = singular**2 / len(pictures)
    rest = variances[directions:].sum() / (mean.size - directions)
    return Shape(mean, rows[:directions], variances[:directions], np.asarray(rest), np.asarray(np.inf))


def standardised(image: Image) -> Floats | None:
    """The pixels [SIDE * SIDE] with mean 0 and standard deviation 1. None where all are alike."""
    pixels = resize(image, size=SIDE, filter="box").astype(np.float64).ravel()
    spread = pixels.std()
    return np.asarray((pixels - pixels.mean()) / spread) if spread > 0 else None


def why_out_of_scope(picture: Decoded) -> str:
    """What is wrong with a picture, and how to mend it where that is known. Empty where it is in scope."""
    if picture.colour > MOST_COLOUR:
        return f"a picture in colour ({picture.colour:.2f} of 1, at most {MOST_COLOUR} are taken): no radiograph"
    if picture.view in FROM_THE_SIDE:
        return f"its DICOM header says that it is taken from the side (ViewPosition {picture.view}): no frontal view"
    pixels = standardised(picture.image)
    if pixels is None:
        return "one grey level all over: nothing is shown"
    square, shape = pixels.reshape(SIDE, SIDE), the_shape()
    undone = [square, *(undo(square) for _, undo in _CHANGES)]
    distances, limit = shape.distances(np.stack([one.ravel() for one in undone])), float(shape.limit)
    found = f"distance {distances[0]:.2f}, at most {limit:.2f} is taken"
    best = int(distances.argmin())
    if best and distances[best] <= limit:
        return f"not shaped like a frontal chest radiograph as it is ({found}); it seems that {_CHANGES[best - 1][0]}"
    return f"not shaped like a frontal chest radiograph ({found})" if distances[0] > limit else ""


@cache
def the_shape() -> Shape:
    """The one that comes with this package."""
    with as_file(files("cxr_core.data") / "scope.npz") as path, np.load(path, allow_pickle=False) as kept:
        return Shape(*(kept[name].astype(np.float64) for name in Shape._fields))
