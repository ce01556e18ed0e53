"""Drift: what a rebuilt engine does otherwise than the one of the last green run, image by image."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from pydantic import JsonValue, TypeAdapter, ValidationError

from cxr_core.errors import DataError
from cxr_core.evaluation.intervals import Interval
from cxr_core.evaluation.reading import what
from cxr_core.evaluation.rows import Row
from cxr_core.evaluation.scores import read_scores
from cxr_core.refs import Frozen, Precision


class Change(Frozen):
    """A branch whose engine is another than in the last green run.

    ``before`` is its row there; ``threshold_before`` and ``scores_before`` are that run's too. ``why``: what changed
    in the keys of the stages that led to the engine. ``versions_*``: libraries, driver and device of each build.
    """

    precision: Precision
    backend: str
    before: Row
    threshold_before: float
    scores_before: Path
    scores_after: Path
    versions_before: dict[str, JsonValue]
    versions_after: dict[str, JsonValue]
    why: tuple[str, ...]


class Drift(Frozen):
    """One line of the drift section. ``flips`` and ``mean_abs_dp`` are over ``images`` that both runs scored."""

    precision: Precision
    backend: str
    why: tuple[str, ...]
    images: int
    flips: int
    mean_abs_dp: float | None
    accuracy: tuple[float | None, float | None]
    ratio_to_reference: tuple[Interval | None, Interval | None]
    engine_bytes: tuple[int | None, int | None]
    engine_digest: tuple[str | None, str | None]
    versions: tuple[str, ...]


def read_changes(path: Path | None) -> tuple[Change, ...]:
    """The changes in a JSON list.

    Raises:
        DataError: it is none.
    """
    if path is None:
        return ()
    try:
        return TypeAdapter(tuple[Change, ...]).validate_json(path.read_bytes())
    except (OSError, ValidationError) as error:
        raise DataError(f"{path.name}: a list of changes expected, but {what(error)}; mend: run again") from error


def drifts(changes: Sequence[Change], rows: Sequence[Row], threshold: float) -> tuple[Drift, ...]:
    """Pair each changed branch with its former answers.

    Args:
        rows: the present decision table; a branch that it has no row for is left out.
        threshold: the present one; the former answers are judged at their own.

    Raises:
        DataError: scores that cannot be read.
    """
    now = {(row.precision, row.backend): row for row in rows}
    return tuple(
        _drift(change, now[change.precision, change.backend], threshold)
        for change in changes
        if (change.precision, change.backend) in now
    )


def _drift(change: Change, after: Row, threshold: float) -> Drift:
    old, new = read_scores(change.scores_before), read_scores(change.scores_after)
    _, first, second = np.intersect1d(np.asarray(old.files), np.asarray(new.files), return_indices=True)
    before, now = old.probability[first], new.probability[second]
    # A probability that is no number says neither class, so it differs from either.
    flips = np.where(
        np.isfinite(before) & np.isfinite(now), (before >= change.threshold_before) != (now >= threshold), 1
    )
    shifts = np.abs(before - now)
    finite = shifts[np.isfinite(shifts)]
    was = change.before
    return Drift(
        precision=change.precision,
        backend=change.backend,
        why=change.why,
        images=len(first),
        flips=int(flips.sum()),
        mean_abs_dp=round(float(finite.mean()), 9) if finite.size else None,
        accuracy=(was.accuracy, after.accuracy),
        ratio_to_reference=(was.ratio_to_reference, after.ratio_to_reference),
        engine_bytes=(was.engine_bytes, after.engine_bytes),
        engine_digest=(was.engine_digest, after.engine_digest),
        versions=_changed(change.versions_before, change.versions_after),
    )


def _changed(before: dict[str, JsonValue], after: dict[str, JsonValue]) -> tuple[str, ...]:
    return tuple(
        f"{name} {before.get(name, 'none')} -> {after.get(name, 'none')}"
        for name in sorted(before.keys() | after.keys())
        if before.get(name) != after.get(name)
    )
