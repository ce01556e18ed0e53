"""Calibrators: the magnitude above which an activation is clipped, from one look at the activations.

Quantisation is symmetric, so magnitudes are all that counts. The sources of the rules:

- ``minmax``: the largest magnitude seen.
- ``percentile``: of all magnitudes 99.99 % lie below; Wu et al. 2020 (arXiv:2004.09602), section 3.
- ``entropy``: least Kullback-Leibler divergence of the quantised histogram from the true one; Migacz,
  "8-bit inference with TensorRT", GTC 2017.
- ``mse``: least mean squared error of rounding and clipping together; Wu et al. 2020.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import onnx
from scipy.special import rel_entr

from cxr_core.graphs.answers import Answering, Images
from cxr_core.graphs.files import INPUT
from cxr_core.graphs.int8.rules import LEVELS
from cxr_core.graphs.ranges import largest_values
from cxr_core.progress import Progress, silent

BINS = 2048
_PERCENTILE = 0.9999
# TensorRT's calibrator tries each bin from the 128th on; every 16th finds the same within a percent of the range.
_TRIED = range(128, BINS + 1, 16)
_BATCH = 4  # every activation is held at once


@dataclass(frozen=True)
class Histogram:
    """How often each magnitude was seen: ``counts`` int64 ``[2048]`` over 0..``largest``."""

    counts: np.ndarray[Any, np.dtype[np.int64]]
    largest: float

    @property
    def centres(self) -> np.ndarray[Any, np.dtype[np.float64]]:
        """The magnitude in the middle of each bin."""
        return np.asarray((np.arange(BINS) + 0.5) * (self.largest / BINS), np.float64)

    def edge(self, bins: int) -> float:
        """The magnitude at the end of the first ``bins`` bins."""
        return self.largest * bins / BINS


def histograms(
    model: onnx.ModelProto, tensors: Sequence[str], images: Images, progress: Progress = silent
) -> dict[str, Histogram]:
    """A histogram of each float32 tensor over ``images`` uint8 ``[n, 1, H, W]``."""
    return thinned_histograms(model, tensors, images, 0, progress)[len(images)]


def thinned_histograms(
    model: onnx.ModelProto, tensors: Sequence[str], images: Images, halvings: int, progress: Progress = silent
) -> dict[int, dict[str, Histogram]]:
    """The same of all images, of every second, every fourth and so on, ``halvings`` times, by the number of images.

    Each image is passed twice, however many histograms it counts in: the bins need the largest magnitude first.
    """
    steps = [2**power for power in range(halvings, -1, -1)]
    # What each step adds to the one before, so that every image is among these once.
    added = [images[:: steps[0]], *(images[step :: 2 * step] for step in steps[1:])]
    largest: list[dict[str, float]] = []
    for new in added:
        here = largest_values(model, list(tensors), new)
        largest.append({name: max([here[name], *(before[name] for before in largest[-1:])]) for name in tensors})
    counts = [{name: np.zeros(BINS, np.int64) for name in tensors} for _ in steps]
    session = Answering(_tapped(model, tensors).SerializeToString()).session
    done = 0
    for first, new in enumerate(added):
        for start in range(0, len(new), _BATCH):
            progress(done + start, len(images), "calibrating")
            found = session.run(list(tensors), {INPUT: new[start : start + _BATCH].astype(np.float32)})
            for name, values in zip(tensors, found, strict=True):
                binned = {edge: _counted(values, edge) for edge in {one[name] for one in largest[first:]}}
                for place in range(first, len(steps)):
                    counts[place][name] += binned[largest[place][name]]
        done += len(new)
    return {
        len(images[::step]): {name: Histogram(counts[place][name], largest[place][name]) for name in tensors}
        for place, step in enumerate(steps)
    }


def min_max(histogram: Histogram) -> float:
    """The largest magnitude."""
    return histogram.largest


def percentile(histogram: Histogram) -> float:
    """The end of the bin below which 99.99 % of the magnitudes lie."""
    below = np.cumsum(histogram.counts)
    return histogram.edge(1 + int(np.searchsorted(below, _PERCENTILE * below[-1])))


def entropy(histogram: Histogram) -> float:
    """The clip whose quantised histogram diverges least from the true one."""
    counts = histogram.counts.astype(np.float64)
    # Zeros stay zero whatever the scale is; after a ReLU they would outweigh everything else.
    counts[0] = counts[1]
    return histogram.edge(min(_TRIED, key=lambda bins: _divergence(counts, bins)))


def mse(histogram: Histogram) -> float:
    """The clip with the least squared error over all magnitudes."""
    return histogram.edge(min(_TRIED, key=lambda bins: _squared_error(histogram, histogram.edge(bins))))


CALIBRATORS: dict[str, Callable[[Histogram], float]] = {
    "minmax": min_max,
    "percentile": percentile,
    "entropy": entropy,
    "mse": mse,
}


def clips(seen: Mapping[str, Histogram], method: str) -> dict[str, float]:
    """The clip of each tensor by one of :data:`CALIBRATORS`; 0 for a tensor that is always 0."""
    return {name: CALIBRATORS[method](one) if one.largest else 0.0 for name, one in seen.items()}


def _tapped(model: onnx.ModelProto, tensors: Sequence[str]) -> onnx.ModelProto:
    """The graph with ``tensors`` as its outputs."""
    tapped = onnx.ModelProto()
    tapped.CopyFrom(model)
    del tapped.graph.output[:]
    tapped.graph.output.extend(
        onnx.helper.make_tensor_value_info(name, onnx.TensorProto.FLOAT, None) for name in tensors
    )
    return tapped


def _counted(values: np.ndarray[Any, np.dtype[np.float32]], largest: float) -> np.ndarray[Any, np.dtype[np.int64]]:
    bins = (np.abs(values.ravel()) * np.float32(BINS / largest if largest else 0)).astype(np.int32)
    return np.bincount(np.minimum(bins, BINS - 1), minlength=BINS)


def _divergence(counts: np.ndarray[Any, np.dtype[np.float64]], bins: int) -> float:
    """Kullback-Leibler divergence, in nats, of the first ``bins`` bins merged into 128 from the clipped truth."""
    kept, level = counts[:bins], np.arange(bins) * (LEVELS + 1) // bins
    truth = kept.copy()
    truth[-1] += counts[bins:].sum()
    if not kept.sum():
        return float("inf")
    filled = np.bincount(level, kept > 0)
    merged = np.where(kept > 0, (np.bincount(level, kept) / np.maximum(filled, 1))[level], 0)
    return float(rel_entr(truth / truth.sum(), merged / merged.sum()).sum())


def _squared_error(histogram: Histogram, clip: float) -> float:
    step = clip / LEVELS
    quantised = np.minimum(np.round(histogram.centres / step), LEVELS) * step
    return float(histogram.counts @ (histogram.centres - quantised) ** 2)
