"""The page's tables, as lists of texts."""

from collections.abc import Sequence

from pydantic import JsonValue

from cxr_core.evaluation.differences import Difference
from cxr_core.evaluation.intervals import Bounds, Interval
from cxr_core.evaluation.power import Power
from cxr_core.evaluation.rows import Comparison, Detail, Row
from cxr_core.report.cells import BLANK, number
from cxr_core.report.document import Report

Lines = list[list[str]]

DRIFT_COLUMNS = (
    "engine", "why", "accuracy", "flips", "mean |delta p|", "vs FP32, 95 %", "MB", "versions", "engine digest",
)  # fmt: skip
SHORTCUT_WORDS = (
    "Shortcut audit: what a classifier that cannot know pneumonia reaches on the same test split, from the files' "
    "geometry alone and from a ridge on 32 x 32 pixels. A model is worth only what it has above them."
)
PAIRED_COLUMNS = (
    "engine", "figure", "points", "90 % interval", "shown", "margin", "p", "p, Holm", "p, images",
)  # fmt: skip
PAIRED_WORDS = (
    "Points are those of the engine minus those of the FP32 reference on the same images. Each end of an interval is a "
    "one-sided 95 % bound: equivalent if both lie within the margin, not inferior if the lower one does; open shows "
    "neither, which is not the same as equal. p: sign-flip test over patients; Holm: corrected over the engines; "
    "images: McNemar's exact test (accuracy) and DeLong's (AUC), which take a patient's images for independent and "
    "decide nothing."
)
RESOLUTION_COLUMNS = (
    "figure", "images", "patients", "margin", "possible without a change", "smallest found", "by patients", "needed",
)  # fmt: skip
RESOLUTION_WORDS = (
    "Losses in points. Possible: even if no decision changes. Smallest found: with 80 % power, at 5 %, if nothing is "
    "gained; by patients: if the images of each change together. Needed: images on which an engine that loses nothing, "
    "and changes as many decisions as it may, is shown not to be inferior with 80 % power; as many patients, if the "
    "images of each change together."
)
_PAIRED = {"accuracy": "accuracy", "sensitivity": "sensitivity", "specificity": "specificity", "auc": "AUC"}
DETAIL_COLUMNS = (
    "engine", "runs in", "accuracy, 95 %", "sensitivity", "specificity", "PPV", "F1", "AUC, 95 %", "ECE", "Brier",
    "lost / gained", "mean delta p", "largest", "McNemar p", "engine digest",
)  # fmt: skip


def measured_lines(report: Report) -> Lines:
    """Name and value of what the figures stand on."""
    lines: Lines = [["profile", report.profile]]
    if report.data:
        lines.append(["data", ", ".join([report.data.source, *_counts(report.data.counts)])])
        lines.append(["data digest", report.data.digest or "unknown"])
    if test := report.test:
        lines.append(
            [
                "test split",
                f"{test.images} images of {test.patients} patients: {test.normal} normal, {test.pneumonia} pneumonia",
            ]
        )
        lines.append(["images per split", ", ".join(f"{name} {count}" for name, count in test.splits.items())])
    if report.looks_at_test is not None:
        lines.append(
            ["looks at test", f"{report.looks_at_test} (distinct checkpoints ever evaluated on this test split)"]
        )
    return lines + _model_lines(report) + _parity_lines(report)


def _counts(counts: dict[str, JsonValue]) -> list[str]:
    """``train 3816`` or, of a nested count, ``train 1122 NORMAL + 3330 PNEUMONIA``."""
    found = []
    for name, value in counts.items():
        if isinstance(value, dict):
            found.append(f"{name} {' + '.join(f'{count} {label}' for label, count in value.items())}")
        elif isinstance(value, int):
            found.append(f"{name} {value}")
    return found


def _model_lines(report: Report) -> Lines:
    if (model := report.model) is None:
        return []
    origin = {"none": "from scratch", "unknown": "of unknown training"}.get(model.pretrained)
    told = [f"{model.model} at {model.size} px", origin or f"pretrained weights: {model.pretrained}"]
    told += [f"{model.images_seen:,} images seen"] if model.images_seen else []
    told += ["mean of image and mirror image"] if model.flip_average else []
    return [
        ["model", ", ".join(told)],
        [
            "operating point",
            f"threshold {model.threshold:.4f} at temperature {model.temperature:.4f}, both set on validation",
        ],
    ]


def _parity_lines(report: Report) -> Lines:
    plain = {name: value for name, value in report.parity.items() if isinstance(value, str | int | float)}
    text = ", ".join(f"{name.replace('_', ' ')} {_plain(value)}" for name, value in plain.items())
    return [["parity of ONNX and PyTorch", text]] if text else []


def _plain(value: str | float) -> str:
    if isinstance(value, bool):
        return "yes" if value else "no"
    return f"{value:.3g}" if isinstance(value, float) else str(value)


def metric_lines(report: Report) -> Lines:
    """The model's row, and under it what shortcuts alone reach."""
    if (found := report.reference) is None:
        return []
    lines = [
        [
            "model (FP32 reference)",
            number(found.metrics.auc, 4),
            bounds(found.auc_interval, 4),
            percent(found.metrics.accuracy),
            bounds(found.accuracy_interval, percent=True),
        ]
    ]
    for name, figures in report.shortcuts.items():
        if isinstance(figures, dict):
            auc, accuracy = (_figure(figures.get(wanted)) for wanted in ("auc", "accuracy"))
            basis = f"shortcut: {figures.get('from', name)}"
            lines.append([basis, number(auc, 4), BLANK, percent(accuracy), BLANK])
    return lines


def _figure(value: JsonValue) -> float | None:
    return value if isinstance(value, int | float) else None


def operating_lines(report: Report) -> Lines:
    """Figures of the reference at the frozen threshold, each with its interval."""
    if (found := report.reference) is None:
        return []
    metrics = found.metrics
    return [
        ["accuracy", percent(metrics.accuracy), bounds(found.accuracy_interval, percent=True)],
        ["sensitivity", percent(metrics.sensitivity), bounds(found.sensitivity_interval, percent=True)],
        ["specificity", percent(metrics.specificity), bounds(found.specificity_interval, percent=True)],
        ["PPV in this test split", percent(metrics.ppv), BLANK],
        [f"PPV where {metrics.prevalence:.0%} are ill", percent(metrics.ppv_at_prevalence), BLANK],
        ["NPV in this test split", percent(metrics.npv), BLANK],
        ["F1", number(metrics.f1, 4), BLANK],
        ["calibration error (ECE, 10 bins)", number(metrics.ece, 4), BLANK],
        ["Brier score", number(metrics.brier, 4), BLANK],
    ]


def confusion_lines(report: Report) -> Lines:
    """The confusion matrix of the reference."""
    if report.reference is None:
        return []
    counts = report.reference.metrics.confusion
    return [
        ["is NORMAL", str(counts.true_negative), str(counts.false_positive)],
        ["is PNEUMONIA", str(counts.false_negative), str(counts.true_positive)],
    ]


def subgroup_lines(report: Report) -> Lines:
    """One line a kind of pneumonia."""
    groups = report.reference.subgroups if report.reference else ()
    return [
        [
            one.kind,
            str(one.images),
            str(one.patients),
            percent(one.sensitivity),
            bounds(one.sensitivity_interval, percent=True),
            number(one.auc, 4),
            bounds(one.auc_interval, 4),
        ]
        for one in groups
    ]


def detail_lines(comparison: Comparison | None) -> Lines:
    """One line an engine that answered."""
    if comparison is None:
        return []
    lines = []
    for row, detail in zip(comparison.rows, comparison.details, strict=True):
        shares = ", ".join(f"{name} {share:.0%}" for name, share in (row.effective or {}).items())
        digest = (row.engine_digest or "").removeprefix("sha256:")[:12]
        if detail.assessment and detail.paired:
            lines.append([f"{row.precision} {row.backend}", shares, *_figures(detail), digest])
    return lines


def _figures(detail: Detail) -> list[str]:
    assert detail.assessment and detail.paired
    metrics, paired = detail.assessment.metrics, detail.paired
    return [
        f"{percent(metrics.accuracy)} {bounds(detail.assessment.accuracy_interval, percent=True)}",
        percent(metrics.sensitivity),
        percent(metrics.specificity),
        percent(metrics.ppv),
        number(metrics.f1, 4),
        f"{number(metrics.auc, 4)} {bounds(detail.assessment.auc_interval, 4)}",
        number(metrics.ece, 4),
        number(metrics.brier, 4),
        f"{paired.lost} / {paired.gained}",
        f"{paired.mean_abs_dp.value:.2g}",
        f"{paired.max_abs_dp:.2g}",
        f"{paired.mcnemar_p:.3g}",
    ]


def paired_lines(rows: Sequence[Row]) -> Lines:
    """One line a figure of each engine that was compared: how it differs, and what that allows to be said."""
    lines = []
    for row in rows:
        for name, shown in _PAIRED.items():
            difference: Difference | None = getattr(row, f"{name}_difference")
            if difference is None or difference.p_holm is None:  # the reference's own engine is no question
                continue
            plain = {"accuracy": row.mcnemar_p, "auc": row.delong_p}.get(name)
            engine = f"{row.precision.value} {row.backend}" if name == "accuracy" else BLANK
            lines.append([engine, shown, *_difference(difference), _chance(difference.p_holm), _chance(plain)])
    return lines


def _difference(found: Difference) -> list[str]:
    margin = BLANK if found.margin is None else f"{100 * found.margin:.2f}"
    said = BLANK if found.finding is None else found.finding.value
    interval = f"[{100 * found.low:+.2f}, {100 * found.high:+.2f}]"
    return [f"{100 * found.value:+.2f}", interval, said, margin, _chance(found.p)]


def _chance(p: float | None) -> str:
    return "< 0.001" if p is not None and p < 0.001 else number(p, 3)


def resolution_lines(power: Power | None) -> Lines:
    """What the test split can show, figure by figure."""
    return [
        [
            one.figure,
            str(one.images),
            str(one.patients),
            f"{100 * one.margin:.2f}",
            f"{100 * one.smallest_bound:.2f}",
            _points(one.smallest_difference),
            _points(one.smallest_difference_patients),
            f"{one.needed:,}",
        ]
        for one in (power.by_figure if power else ())
    ]


def _points(share: float | None) -> str:
    return "none" if share is None else f"{100 * share:.2f}"


def drift_lines(report: Report) -> Lines:
    """Each engine that is another than in the last green run: before and after."""
    return [
        [
            f"{one.precision.value} {one.backend}",
            "; ".join(one.why),
            " -> ".join(percent(value) for value in one.accuracy),
            f"{one.flips} of {one.images}",
            number(one.mean_abs_dp, 5),
            " -> ".join(_ratio(value) for value in one.ratio_to_reference),
            " -> ".join(BLANK if size is None else f"{size / 1e6:.2f}" for size in one.engine_bytes),
            "; ".join(one.versions) or "the same",
            " -> ".join(BLANK if name is None else name.removeprefix("sha256:")[:12] for name in one.engine_digest),
        ]
        for one in report.drift
    ]


def _ratio(ratio: Interval | None) -> str:
    return BLANK if ratio is None else f"{ratio.value:.2f} [{ratio.low:.2f}, {ratio.high:.2f}]"


def percent(share: float | None) -> str:
    """A share as percent with two digits, or a blank."""
    return BLANK if share is None else f"{100 * share:.2f} %"


def bounds(interval: Bounds | None, digits: int = 1, *, percent: bool = False) -> str:
    """Both ends, or a blank."""
    if interval is None:
        return BLANK
    factor = 100 if percent else 1
    return f"[{factor * interval[0]:.{digits}f}, {factor * interval[1]:.{digits}f}]"
