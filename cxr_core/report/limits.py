"""What the report does not show, in sentences made of its own findings."""

from collections.abc import Iterator

from cxr_core.evaluation.differences import Finding
from cxr_core.evaluation.power import Power
from cxr_core.evaluation.recommend import as_asked
from cxr_core.evaluation.rows import Assessment, Row
from cxr_core.evaluation.subgroups import SMALLEST_GROUP
from cxr_core.evaluation.verdicts import Verdict
from cxr_core.refs import Precision
from cxr_core.report.document import DataFacts, Report

_FIGURES = ("accuracy", "sensitivity", "specificity", "auc")


def limits(report: Report) -> tuple[str, ...]:
    """The sentences, gravest first. Each begins with what is not shown."""
    found = [*_of_data(report.data), *_of_shortcuts(report), *_of_looks(report.looks_at_test)]
    found += [*_of_size(report.power), *_of_kinds(report.reference)]
    return (*found, *_of_engines(report.rows), *_of_speed(report.rows), *_of_fastest(report), *_of_model(report))


def _of_data(data: DataFacts | None) -> Iterator[str]:
    if data is None:
        yield "Anything about a data set: none was taken in."
    elif data.source == "phantom":
        yield "Anything about patients: the images are drawn phantoms."
    elif data.source == "published":
        yield (
            "Other patients: all radiographs are of children of 1 to 5 years from one hospital. Nothing is known of "
            "adults, other hospitals, other machines, other views or other diseases."
        )
    else:
        yield "Other patients: all images come from one collection, and nothing is known of any other."


def _of_shortcuts(report: Report) -> Iterator[str]:
    known = {
        str(figures.get("from", name)): float(auc)
        for name, figures in report.shortcuts.items()
        if isinstance(figures, dict) and isinstance(auc := figures.get("auc"), int | float)
    }
    if not known or report.reference is None:
        return
    name, best = max(known.items(), key=lambda one: one[1])
    own = report.reference.metrics.auc
    if best > own:
        yield (
            f"That the model sees pneumonia: {name} alone, which cannot, reaches an AUC of {best:.3f} on the same "
            f"images, and the model {own:.3f}."
        )
    else:
        yield (
            f"That the model sees pneumonia alone: {name}, which cannot, reaches an AUC of {best:.3f} on the same "
            f"images. Up to that, the model's {own:.3f} may be nothing but how the pictures were made."
        )


def _of_looks(looks: int | None) -> Iterator[str]:
    if looks is not None and looks > 1:
        yield (
            f"A first look at the test split: {looks} models have been scored on it. Whoever picks among them by "
            "these figures makes them too good, by an amount that cannot be told from here."
        )


def _of_size(power: Power | None) -> Iterator[str]:
    figures = power.by_figure if power else ()
    blind = [one for one in figures if one.smallest_bound > one.margin]
    for one in blind:
        yield (
            f"That {one.figure} keeps within its margin of {100 * one.margin:.2f} points: {one.images} images leave a "
            f"loss of {100 * one.smallest_bound:.2f} possible even where no decision changes."
        )
    for one in figures[:1]:
        if one.smallest_difference is not None:
            yield (
                f"Small losses: a true loss of {one.figure} below {100 * one.smallest_difference:.2f} points is "
                "overlooked more often than once in five times."
            )


def _of_kinds(reference: Assessment | None) -> Iterator[str]:
    groups = reference.subgroups if reference else ()
    few = [f"{one.kind} ({one.images})" for one in groups if one.images < SMALLEST_GROUP]
    if few:
        yield f"How well each kind is found: fewer than {SMALLEST_GROUP} images of {_listed(few)}."


def _of_engines(rows: tuple[Row, ...]) -> Iterator[str]:
    yield from _of_open_findings(rows)
    other = [
        f"{_name(row)} (ran {row.effective_precision})"
        for row in rows
        if row.effective_precision and not as_asked(row.precision, row.effective_precision)
    ]
    if other:
        yield f"How the precision asked for behaves in {_listed(other)}: it did not run there."
    absent = [_name(row) for row in rows if row.accuracy is None]
    if absent:
        yield f"Anything about {_listed(absent)}: there are no figures."


def _of_open_findings(rows: tuple[Row, ...]) -> Iterator[str]:
    """One sentence a set of figures, with all engines that share it."""
    engines: dict[str, list[str]] = {}
    for row in rows:
        found = {name: getattr(row, f"{name}_difference") for name in _FIGURES}
        # The reference's own engine has no corrected p: it is no question.
        left = [name for name, one in found.items() if one and one.finding is Finding.OPEN and one.p_holm is not None]
        if left:
            engines.setdefault(_listed(left).replace("auc", "AUC"), []).append(_name(row))
    for figures, names in engines.items():
        yield f"That {figures} of {_listed(names)} equal FP32's, or differ: neither could be shown."


def _of_speed(rows: tuple[Row, ...]) -> Iterator[str]:
    devices = sorted({row.device for row in rows if row.device and not row.fake and row.images_per_second})
    if devices:
        yield f"Speed anywhere else: it was measured on {_listed(devices)} alone, in one session a branch."
    bare = [_name(row) for row in rows if row.latency_ms and row.latency_ms.p99 is None]
    if bare:
        yield f"The slowest hundredth of queries of {_listed(bare)}: too few were timed."
    slower = [_name(row) for row in rows if row.precision is not Precision.FP32 and _no_faster(row)]
    if slower:
        yield f"That {_listed(slower)} {'is' if len(slower) == 1 else 'are'} faster than FP32: the interval reaches 1."


def _of_fastest(report: Report) -> Iterator[str]:
    """Each backend's recommended precision against what passed there too: they took no turns with each other."""
    for choice in report.recommended_by_backend:
        ratios = {
            row.precision: row.ratio_to_reference
            for row in report.rows
            if row.backend == choice.backend and row.verdict is Verdict.PASS and row.ratio_to_reference
        }
        best = ratios.pop(choice.precision, None)
        if best is None or best.low <= 1:  # not taken for its speed
            continue
        near = [f"{precision.value} {choice.backend}" for precision, ratio in ratios.items() if ratio.high > best.low]
        if near:
            yield (
                f"That {choice.precision.value} {choice.backend} is faster than {_listed(near)}: the intervals of "
                "their ratios to FP32 overlap, and cxr bench --ab measures two engines in turns."
            )


def _no_faster(row: Row) -> bool:
    return row.ratio_to_reference is not None and row.ratio_to_reference.low <= 1 <= row.ratio_to_reference.high


def _of_model(report: Report) -> Iterator[str]:
    if report.model is None:
        return
    yield (
        "How another training would have come out: this is one model. Intervals tell how figures vary with the "
        "patients drawn, not with the weights."
    )
    tried = report.robustness
    yield (
        "How it does on images that differ in exposure, compression, rotation or noise: none was tried."
        if tried is None
        else "How it does on images that differ otherwise: they were made worse in four ways after they had been made "
        f"small, on {tried.images} images of the validation split, on which threshold and temperature were set."
    )
    yield "Whether it looks where a radiologist would: nobody has compared."


def _name(row: Row) -> str:
    return f"{row.precision.value} {row.backend}"


def _listed(names: list[str]) -> str:
    return ", ".join(names[:-1]) + (" and " if len(names) > 1 else "") + names[-1]
