"""The plots. Each returns None when the run did not come far enough to draw it."""

import csv
import math
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from cxr_core.evaluation.curves import RocCurve
from cxr_core.evaluation.intervals import wilson
from cxr_core.evaluation.paired import SHIFT_SHARES
from cxr_core.evaluation.rows import Comparison, Detail
from cxr_core.evaluation.trials import CLEAN, Robustness
from cxr_core.report.drawing import COLOURS, DASHES, FAINT, INK, MARKERS, hint, new_figure

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure


class Plot(NamedTuple):
    """A figure with its title on the page, and what a reader should see in it."""

    title: str
    caption: str
    draw: Callable[[Comparison], "Figure | None"]


def _backends(details: Sequence[Detail]) -> list[str]:
    return list(dict.fromkeys(detail.backend for detail in details))


def _look(detail: Detail, backends: Sequence[str]) -> dict[str, Any]:
    return {"color": COLOURS[detail.precision], "linestyle": DASHES[backends.index(detail.backend) % len(DASHES)]}


def _name(detail: Detail) -> str:
    return f"{detail.precision} {detail.backend}{' FAKE' if detail.fake else ''}"


def accuracy_speed(comparison: Comparison) -> "Figure | None":
    """Ratio to the backend's own FP32 engine against the paired accuracy difference, both with intervals."""
    backends = _backends(comparison.details)
    placed = [
        (detail, detail.speed.ratio, detail.paired.accuracy_difference)
        for detail in comparison.details
        if detail.speed and detail.speed.ratio and detail.paired
    ]
    if not placed:
        return None
    figure, axes = new_figure()
    for detail, ratio, difference in placed:
        axes.errorbar(
            ratio.value,
            100 * difference.value,
            xerr=[[max(0.0, ratio.value - ratio.low)], [max(0.0, ratio.high - ratio.value)]],
            yerr=[[100 * (difference.value - difference.low)], [100 * (difference.high - difference.value)]],
            marker=MARKERS[backends.index(detail.backend) % len(MARKERS)],
            color=COLOURS[detail.precision],
            markersize=7,
            capsize=3,
            linestyle="none",
            label=_name(detail),
        )
        hint(
            axes,
            ratio.value,
            100 * difference.value,
            f"{_name(detail)}: {ratio.value:.2f} times FP32 [{ratio.low:.2f}, {ratio.high:.2f}], accuracy "
            f"{100 * difference.value:+.2f} points [{100 * difference.low:+.2f}, {100 * difference.high:+.2f}]",
        )
    margin = -100 * comparison.budgets["accuracy_margin"]
    axes.axhline(margin, color=INK, linewidth=1, linestyle=DASHES[1], label=f"margin {margin:.2f} points")
    axes.axhline(0, color=FAINT, linewidth=1)
    axes.axvline(1, color=FAINT, linewidth=1)
    axes.set_xlabel("throughput, times the FP32 engine of the same backend")
    axes.set_ylabel("accuracy, points from the reference")
    axes.legend(loc="upper center", bbox_to_anchor=(0.5, -0.16), ncols=2)
    return figure


def roc(comparison: Comparison) -> "Figure | None":
    """ROC of every engine over that of the reference, with the frozen operating point."""
    figure, axes = new_figure(5.4)
    backends = _backends(comparison.details)
    axes.plot([0, 1], [0, 1], color=FAINT, linewidth=1)
    reference = comparison.reference
    curve = reference.roc
    axes.plot(
        curve.false_positive_rate, curve.true_positive_rate, color=INK, linewidth=3.2, alpha=0.25, label="reference"
    )
    for detail in comparison.details:
        if assessment := detail.assessment:
            label = f"{_name(detail)}, AUC {assessment.metrics.auc:.4f}"
            points = assessment.roc
            axes.plot(
                points.false_positive_rate,
                points.true_positive_rate,
                linewidth=1.4,
                label=label,
                **_look(detail, backends),
            )
            _hint_roc(axes, _name(detail), points)
    _hint_roc(axes, "reference", curve)
    metrics = reference.metrics
    if metrics.specificity is not None and metrics.sensitivity is not None:
        point = f"operating point, threshold {comparison.threshold:.3f}"
        axes.plot(
            1 - metrics.specificity, metrics.sensitivity, "o", color=INK, markersize=8, fillstyle="none", label=point
        )
        hint(
            axes,
            1 - metrics.specificity,
            metrics.sensitivity,
            f"{point}: sensitivity {metrics.sensitivity:.1%}, specificity {metrics.specificity:.1%}",
        )
    axes.set(xlim=(-0.01, 1), ylim=(0, 1.01))
    axes.set_xlabel("1 - specificity (normals called pneumonia)")
    axes.set_ylabel("sensitivity")
    axes.legend(loc="lower right")
    return figure


def _hint_roc(axes: "Axes", name: str, curve: RocCurve) -> None:
    """Some twenty points of a curve answer."""
    points = list(zip(curve.false_positive_rate, curve.true_positive_rate, strict=True))
    for x, y in points[:: max(1, len(points) // 20)]:
        hint(axes, x, y, f"{name}: sensitivity {y:.1%}, {x:.1%} of normals called pneumonia")


def calibration(comparison: Comparison) -> "Figure | None":
    """Observed share of pneumonia by predicted probability, Wilson 95 %, with the counts below."""
    bins = comparison.reference.calibration
    figure, (axes, counts) = new_figure(5.2, rows=2, ratios=(4, 1), sharex=True)
    axes.plot([0, 1], [0, 1], color=FAINT, linewidth=1, label="perfectly calibrated")
    bounds = [wilson(round(one.observed * one.images), one.images) for one in bins]
    below = [max(0.0, one.observed - low) for one, (low, _) in zip(bins, bounds, strict=True)]
    above = [max(0.0, high - one.observed) for one, (_, high) in zip(bins, bounds, strict=True)]
    predicted, colour = [one.predicted for one in bins], next(iter(COLOURS.values()))
    label = f"reference, calibration error {comparison.reference.metrics.ece:.3f}"
    axes.errorbar(
        predicted, [one.observed for one in bins], yerr=[below, above], marker="o", color=colour, capsize=3, label=label
    )
    for one, (low, high) in zip(bins, bounds, strict=True):
        text = (
            f"predicted {one.predicted:.1%}, observed {one.observed:.1%} [{low:.1%}, {high:.1%}], {one.images} images"
        )
        hint(axes, one.predicted, one.observed, text)
        hint(counts, one.predicted, one.images, text)
    axes.axvline(comparison.threshold, color=INK, linewidth=1, linestyle=DASHES[2], label="threshold")
    axes.set(xlim=(0, 1), ylim=(-0.02, 1.02))
    axes.set_ylabel("observed share of pneumonia")
    axes.legend(loc="lower right")
    counts.bar(predicted, [one.images for one in bins], width=0.06, color=colour)
    counts.set_xlabel("predicted probability of pneumonia")
    counts.set_ylabel("images")
    return figure


def shift(comparison: Comparison) -> "Figure | None":
    """How far each engine's probabilities lie from the reference's: a bar an engine, by quantiles of the images."""
    from matplotlib.ticker import FixedLocator

    shown = [(detail, detail.paired) for detail in comparison.details if detail.paired and detail.paired.shift]
    if not shown:
        return None
    figure, axes = new_figure(1.3 + 0.42 * len(shown))
    for place, (detail, paired) in enumerate(reversed(shown)):
        of = dict(zip(SHIFT_SHARES, paired.shift, strict=True))
        colour = COLOURS[detail.precision]
        for low, high, width, alpha in ((0.0, 1.0, 1.2, 1.0), (0.01, 0.99, 4, 0.45), (0.05, 0.95, 9, 0.55)):
            axes.plot([of[low], of[high]], [place, place], color=colour, linewidth=width, alpha=alpha)
        axes.plot(of[0.5], place, "|", color=INK, markersize=13, markeredgewidth=2)
        for value, words in (
            (of[0.0], f"largest fall {of[0.0]:+.2g}"),
            (of[0.05], f"5 % of the images fall by more, {of[0.05]:+.2g}"),
            (
                of[0.5],
                f"median {of[0.5]:+.2g}, mean size {paired.mean_abs_dp.value:.2g}, {paired.flips} decisions change",
            ),
            (of[0.95], f"5 % of the images rise by more, {of[0.95]:+.2g}"),
            (of[1.0], f"largest rise {of[1.0]:+.2g}"),
        ):
            hint(axes, value, place, f"{_name(detail)}: {words}")
    axes.axvline(0, color=FAINT, linewidth=1)
    # Up to a labelled power of ten on both sides: beyond the last label nobody reads a logarithm by eye.
    furthest = max(abs(end) for _, paired in shown for end in (paired.shift[0], paired.shift[-1]))
    decade = math.ceil(math.log10(max(furthest, 1e-3)))
    powers = [10.0**power for power in range(decade, -4, -1 if decade < 0 else -2)]  # as many as there is room for
    axes.set_xscale("symlog", linthresh=1e-4, linscale=0.5)
    axes.xaxis.set_major_locator(FixedLocator([*(-power for power in powers), 0, *powers[::-1]]))
    axes.set_xlim(-powers[0], powers[0])
    axes.xaxis.set_major_formatter("{x:g}")
    axes.set_yticks(range(len(shown)), [_name(detail) for detail, _ in reversed(shown)])
    axes.set_ylim(-0.6, len(shown) - 0.4)
    axes.grid(axis="y", visible=False)
    axes.set_xlabel("change of the probability of pneumonia")
    return figure


def latency(comparison: Comparison) -> "Figure | None":
    """Cumulative distribution of single-query times, one curve an engine."""
    from matplotlib.ticker import LogLocator, NullLocator

    timed = [(detail, detail.speed) for detail in comparison.details if detail.speed and detail.speed.latency_curve_ms]
    if not timed:
        return None
    figure, axes = new_figure()
    backends = _backends(comparison.details)
    for detail, speed in timed:
        label = f"{_name(detail)}, {speed.latency_count} queries"
        axes.plot(speed.latency_curve_ms, range(101), linewidth=1.6, label=label, **_look(detail, backends))
        for share in range(0, 101, 5):
            time = speed.latency_curve_ms[share]
            hint(axes, time, share, f"{_name(detail)}: {share} % of {speed.latency_count} queries within {time:.3g} ms")
    axes.set_xscale("log")
    axes.xaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
    axes.xaxis.set_major_formatter("{x:g}")
    axes.xaxis.set_minor_locator(NullLocator())
    axes.set_xlabel("one image, milliseconds")
    axes.set_ylabel("% of queries done by then")
    axes.legend(loc="upper center", bbox_to_anchor=(0.5, -0.16), ncols=2)
    return figure


def training(history: Path) -> "Figure | None":
    """Loss and learning rate over images seen; the thick line is a running mean."""
    import numpy as np

    with history.open(newline="", encoding="utf-8") as file:
        steps = [(int(row["images"]), float(row["loss"]), float(row["learning_rate"])) for row in csv.DictReader(file)]
    if len(steps) < 2:
        return None
    images, loss, rate = (np.asarray(column) for column in zip(*steps, strict=True))
    width = max(1, len(loss) // 25)
    figure, (upper, lower) = new_figure(4.6, rows=2, ratios=(3, 1), sharex=True)
    upper.plot(images, loss, color=FAINT, linewidth=0.8)
    smooth = np.convolve(loss, np.ones(width) / width, mode="valid")
    upper.plot(images[width - 1 :], smooth, color=next(iter(COLOURS.values())), linewidth=2)
    for at in range(0, len(smooth), max(1, len(smooth) // 40)):
        seen = images[width - 1 + at]
        hint(
            upper,
            seen,
            smooth[at],
            f"after {seen:,} images: loss {smooth[at]:.3f}, learning rate {rate[width - 1 + at]:.2g}",
        )
    upper.set_ylabel("training loss")
    lower.plot(images, rate, color=INK, linewidth=1.2)
    lower.set_ylabel("learning rate")
    lower.set_xlabel("images seen")
    return figure


def robustness(found: Robustness) -> "Figure":
    """Accuracy of each precision by level of each change, from the images as they are to the harshest."""
    kinds = list(dict.fromkeys(trial.kind for trial in found.trials if trial.kind != CLEAN))
    precisions = list(dict.fromkeys(trial.precision for trial in found.trials))
    figure, panels = new_figure(5.6, rows=2, columns=2, sharey=True)
    for axes, kind in zip(panels.flat, kinds, strict=True):
        for place, precision in enumerate(precisions):
            steps = [one for one in found.trials if one.precision is precision and one.kind in (CLEAN, kind)]
            shares = [100 * one.accuracy for one in steps]
            dashes = DASHES[place % len(DASHES)]
            axes.plot(shares, color=COLOURS[precision], linestyle=dashes, marker="o", markersize=3, label=precision)
            for at, one in enumerate(steps):
                low, high = one.accuracy_interval
                how = "as they are" if one.kind == CLEAN else f"{one.kind} {one.level:g}"
                text = f"accuracy {one.accuracy:.1%} [{low:.1%}, {high:.1%}], {one.agreement:.1%} decided as FP32"
                hint(axes, at, shares[at], f"{precision}, {how}: {text}")
        axes.set_xticks(range(len(steps)), ["as is", *(f"{one.level:g}" for one in steps[1:])])
        axes.set_xlabel(kind)
    for axes in panels[:, 0]:
        axes.set_ylabel("accuracy, %")
    figure.legend(*panels.flat[0].get_legend_handles_labels(), loc="outside lower center", ncols=len(precisions))
    return figure


PLOTS = {
    "accuracy_speed": Plot(
        "Accuracy and speed",
        "Right is faster, up is better. Bars: 95 % for speed (rounds), 90 % for accuracy (patients), so that the "
        "lower end is a one-sided 95 % bound. Above the dashed line the loss is within the margin.",
        accuracy_speed,
    ),
    "roc": Plot(
        "ROC on the test split", "All engines on the same images. Curves that cover each other answer alike.", roc
    ),
    "calibration": Plot(
        "Calibration of the reference",
        "Can a probability be read as a share? Bars: Wilson, 95 %, which takes a patient's images for independent.",
        calibration,
    ),
    "shift": Plot(
        "Confidence shift",
        "From the reference, over all test images: thick bar 90 %, thin bar 98 %, line the largest, tick the median. "
        "The axis is linear within 0.0001 of 0 and logarithmic outside.",
        shift,
    ),
    "latency": Plot(
        "Latency of one image",
        "Different backends were timed in different sessions: compare curves of one backend.",
        latency,
    ),
}
"""File name to plot of a comparison, in the order of the page."""

ROBUSTNESS_WORDS = (
    "Validation images as the network gets them, made worse step by step; nothing was chosen by this. Threshold and "
    "temperature were set on (other changes of) these images: read how the curves fall and part, not how high they are."
)
