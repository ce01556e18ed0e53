"""The checks that a split must pass: nothing that belongs together stands on two sides."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING

from cxr_core.data.duplicates import NearPair
from cxr_core.errors import DataError

if TYPE_CHECKING:
    import pandas as pd

_LISTED = 10  # cases named in an error message


def check_labels(table: pd.DataFrame) -> None:
    """Refuse the very same picture under two labels.

    Raises:
        DataError: with the files.
    """
    for _, rows in _with_several(table, "pixel_sha256", "label"):
        raise DataError(f"the very same picture has two labels: {_files(rows)}; remove the wrong one")


def check_separation(table: pd.DataFrame, near: Iterable[NearPair]) -> None:
    """Refuse a split that lets one patient or one picture stand on two sides.

    Raises:
        DataError: a patient or an identical or nearly identical picture in two splits, or a bare
            patient number in both train and val; the message lists the files.
    """
    for _, rows in _with_several(table, "pixel_sha256", "split"):
        raise DataError(f"the very same picture is in two splits: {_files(rows)}; remove it from one")
    for patient, rows in _with_several(table, "patient", "split"):
        raise DataError(
            f"patient {patient} is in two splits: {_files(rows)}; move all images of a patient into one "
            "split, or rename files that only happen to be named alike"
        )
    for number, rows in _with_several(table[table["split"] != "test"], "number", "split"):
        raise DataError(f"patient number {number} is in train and in val: {_files(rows)}; this split is not usable")
    _check_near(table, near)


def _check_near(table: pd.DataFrame, near: Iterable[NearPair]) -> None:
    splits, files = table["split"].to_numpy(), table["file"].to_numpy()
    crossing = [pair for pair in near if splits[pair.first] != splits[pair.second]]
    if crossing:
        lines = [
            f"  {files[pair.first]} and {files[pair.second]} (correlation {pair.correlation:.3f})"
            for pair in crossing[:_LISTED]
        ]
        raise DataError(
            f"{len(crossing)} pairs of nearly identical pictures stand in two splits; remove one of each, "
            "or raise split.near_duplicate_correlation if they are different radiographs:\n" + "\n".join(lines)
        )


def shared_numbers(table: pd.DataFrame) -> dict[str, int]:
    """Bare patient numbers that are in test and outside it, counted by series (``person``, ``IM``)."""
    inside = set(table["number"][table["split"] == "test"])
    shared = inside & set(table["number"][table["split"] != "test"])
    counts: dict[str, int] = {}
    for number in sorted(shared):
        series = number.rstrip("0123456789").rstrip("-") or "without a name"
        counts[series] = counts.get(series, 0) + 1
    return counts


def _with_several(table: pd.DataFrame, column: str, several: str) -> Sequence[tuple[str, pd.DataFrame]]:
    """Groups by ``column`` that hold more than one value of ``several``."""
    counts = table.groupby(column)[several].nunique()
    return [(str(value), table[table[column] == value]) for value in counts.index[counts > 1]]


def _files(rows: pd.DataFrame) -> str:
    named = [f"{file}" for file in rows["file"][:_LISTED]]
    return ", ".join(named) + (f" and {len(rows) - _LISTED} more" if len(rows) > _LISTED else "")
