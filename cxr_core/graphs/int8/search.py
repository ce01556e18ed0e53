"""INT8 with an accuracy budget: leave the fewest nodes in float32, by estimated time, until the budget holds.

1. All calibrators quantise everything; the one that moves the held-back patients' answers least is taken.
2. Nodes are ranked by the noise each makes alone. Where the budget is broken, bisection finds the shortest beginning
   of that order, and of the order of noise for the time it costs to leave the node, with which the budget holds.
3. The cheaper of the two is trimmed: what can be quantised again without breaking the budget is.

Where no beginning holds, everything is quantised and the account says that the budget is broken: a graph with almost
nothing in INT8 is no INT8 graph.
"""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field

import onnx

from cxr_core.graphs.answers import Answering, Images, Logits, rounded, shift
from cxr_core.graphs.int8.calibrators import CALIBRATORS, Histogram, clips
from cxr_core.graphs.int8.cost import time_shares
from cxr_core.graphs.int8.found import Found, Sensitivity, Size, Trial
from cxr_core.graphs.int8.qdq import quantisable, quantised, relieved, rescaled
from cxr_core.graphs.int8.sensitivity import sqnr
from cxr_core.graphs.metadata import GraphMetadata
from cxr_core.progress import Progress

_BATCH = 8
_TRIMMED = 8  # nodes, the dearest first: each costs one more pass over the held-back patients


@dataclass(frozen=True)
class Budget:
    """What may change on the held-back patients: their images uint8 ``[n, 1, H, W]`` and float32 logits ``[n, 2]``.

    ``shift`` bounds the mean |delta p|, ``flips`` the share of changed decisions.
    """

    images: Images
    expected: Logits
    metadata: GraphMetadata
    shift: float
    flips: float

    def judge(self, graph: onnx.ModelProto) -> tuple[float | None, int, bool]:
        """Mean |delta p|, changed decisions, and whether both keep the budget; Q/DQ is computed as written."""
        answers = Answering(graph.SerializeToString(), "basic")(self.images, _BATCH)
        moved = shift(answers, self.expected, self.metadata)
        mean, flips = moved["mean_shift"], moved["flips"]
        assert isinstance(flips, int) and not isinstance(mean, str | bool | list | dict)
        held = mean is not None and mean <= self.shift and flips <= self.flips * len(self.images)
        return mean, flips, held


@dataclass
class _Trials:
    """Every graph that was tried, each once; ``written`` are those with everything quantised, by calibrator."""

    written: Mapping[str, onnx.ModelProto]
    shares: Mapping[str, float]
    budget: Budget
    progress: Progress
    planned: int
    done: dict[tuple[str, frozenset[str]], Trial] = field(default_factory=dict)

    def graph(self, method: str, left: Collection[str]) -> onnx.ModelProto:
        return relieved(self.written[method], left)

    def of(self, method: str, left: Collection[str]) -> Trial:
        key = method, frozenset(left)
        if key not in self.done:
            self.progress(len(self.done), self.planned, f"{method}, {len(left)} nodes left in fp32")
            mean, flips, held = self.budget.judge(self.graph(*key))
            share = rounded(sum(self.shares[name] for name in sorted(left)))
            self.done[key] = Trial(
                calibrator=method,
                left=len(left),
                time_share=share,
                shift=mean,
                flips=flips,
                held=held,
            )
        return self.done[key]


def search(
    model: onnx.ModelProto,
    kept: Collection[str],
    seen: Mapping[int, Mapping[str, Histogram]],
    sample: Images,
    budget: Budget,
    progress: Progress,
) -> tuple[onnx.ModelProto, Found]:
    """The Q/DQ graph that keeps ``budget`` with the least left in float32, and the account of how it was found.

    Args:
        model: the float32 graph, its nodes named.
        kept: names of nodes that stay in float32 by a rule, whatever the budget.
        seen: histograms of the activations, by the number of calibration images they are from. The most images
            calibrate; what fewer would have done is told.
        sample: images on which each node's noise is measured, from calibration too.
    """
    nodes = quantisable(model, kept)
    *fewer, most = sorted(seen)
    first = quantised(model, clips(seen[most], "minmax"), kept)
    written = {method: rescaled(first, clips(seen[most], method)) for method in CALIBRATORS}
    trials = _Trials(written, time_shares(model, nodes), budget, progress, _planned(nodes))
    compared = tuple(trials.of(method, ()) for method in CALIBRATORS)
    method = min(compared, key=lambda trial: (not trial.held, trial.shift is None, trial.shift or 0)).calibrator
    progress(len(trials.done), trials.planned, "measuring each node's noise")
    noise = sqnr(model, trials.graph(method, ()), sample)
    left = frozenset() if trials.of(method, ()).held else _fewest(trials, method, noise)
    chosen = trials.of(method, left)
    sizes = []
    for images in fewer:
        progress(len(trials.done), trials.planned, f"{method} by {images} images")
        mean, flips, held = budget.judge(relieved(rescaled(first, clips(seen[images], method)), left))
        sizes.append(Size(images=images, shift=mean, flips=flips, held=held))
    sizes.append(Size(images=most, shift=chosen.shift, flips=chosen.flips, held=chosen.held))
    tried = {trial for (tried_with, _), trial in trials.done.items() if tried_with == method}
    return trials.graph(method, left), Found(
        images=len(budget.images),
        budget_shift=budget.shift,
        budget_flips=budget.flips,
        held=chosen.held,
        calibrator=method,
        chosen=chosen,
        calibrators=compared,
        curve=tuple(sorted(tried, key=lambda trial: (trial.time_share, trial.left, trial.shift or 0, trial.flips))),
        sensitivity=_ranked(nodes, noise, trials.shares, left),
        sizes=tuple(sizes),
    )


def _planned(nodes: Collection[onnx.NodeProto]) -> int:
    """Trials at most: every calibrator, two bisections, the trimming."""
    return len(CALIBRATORS) + 2 * (1 + len(nodes).bit_length()) + _TRIMMED


def _fewest(trials: _Trials, method: str, noise: Mapping[str, float]) -> frozenset[str]:
    """What to leave; nothing where no beginning of either order keeps the budget."""
    names = list(noise)
    by_noise = sorted(names, key=lambda name: (noise[name], names.index(name)))
    # Noise relative to the signal: its power, not its decibels, adds up over nodes.
    by_noise_and_time = sorted(
        names, key=lambda name: (-(10 ** (-noise[name] / 10)) / max(trials.shares[name], 1e-9), names.index(name))
    )
    found = [left for order in (by_noise, by_noise_and_time) if (left := _shortest(trials, method, order))]
    if not found:
        return frozenset()
    return _trimmed(trials, method, min(found, key=lambda left: trials.of(method, left).time_share))


def _shortest(trials: _Trials, method: str, order: Sequence[str]) -> frozenset[str]:
    """The shortest beginning of ``order`` that keeps the budget, by bisection; empty where none does."""
    broken, holding = 0, len(order) - 1  # one at least is quantised
    if holding < 1 or not trials.of(method, order[:holding]).held:
        return frozenset()
    while holding - broken > 1:
        middle = (broken + holding) // 2
        if trials.of(method, order[:middle]).held:
            holding = middle
        else:
            broken = middle
    return frozenset(order[:holding])


def _trimmed(trials: _Trials, method: str, left: frozenset[str]) -> frozenset[str]:
    """Without those of the dearest nodes that can be quantised after all."""
    for name in sorted(left, key=lambda name: (-trials.shares[name], name))[:_TRIMMED]:
        if len(left) > 1 and trials.of(method, left - {name}).held:
            left -= {name}
    return left


def _ranked(
    nodes: Sequence[onnx.NodeProto], noise: Mapping[str, float], shares: Mapping[str, float], left: Collection[str]
) -> tuple[Sensitivity, ...]:
    table = [
        Sensitivity(
            node=node.name,
            op=node.op_type,
            sqnr_db=noise[node.name],
            time_share=rounded(shares[node.name]),
            left=node.name in left,
        )
        for node in nodes
        if node.name in noise
    ]
    return tuple(sorted(table, key=lambda one: one.sqnr_db))
