"""Cutting a share of the patients away from the rest: stratified, seeded, and never through a patient."""

from __future__ import annotations

from collections.abc import Iterable
from fractions import Fraction
from typing import TYPE_CHECKING

import numpy as np

from cxr_core.data.duplicates import NearPair
from cxr_core.errors import DataError

if TYPE_CHECKING:
    import pandas as pd

_MOST_FOLDS = 20


def groups_of(table: pd.DataFrame, near: Iterable[NearPair]) -> np.ndarray:
    """What must stay together, as a group number for each row.

    Rows belong together if they share the bare patient number or the very same pixels, or are near
    duplicates; so does what hangs together through a third.
    """
    from scipy.sparse import coo_array
    from scipy.sparse.csgraph import connected_components

    edges = [(pair.first, pair.second) for pair in near]
    for column in ("number", "pixel_sha256"):
        codes = table[column].factorize()[0]
        first = np.full(codes.max() + 1, -1)
        first[codes[::-1]] = np.arange(len(codes))[::-1]
        edges.extend(zip(range(len(codes)), first[codes].tolist(), strict=True))
    ends = np.asarray(edges)
    graph = coo_array((np.ones(len(ends)), (ends[:, 0], ends[:, 1])), shape=(len(table), len(table)))
    return np.asarray(connected_components(graph, directed=False)[1])


def cut(table: pd.DataFrame, groups: np.ndarray, share: float, seed: int, name: str) -> np.ndarray:
    """Which rows go into the cut, bool ``[rows]``: whole groups, about ``share`` of each class and kind.

    The rows are dealt into folds by scikit-learn's StratifiedGroupKFold, as many as make the share a
    sum of whole folds (1/7 is one of seven, 0.15 three of twenty).

    Raises:
        DataError: a class has too few patients to stand on both sides.
    """
    from sklearn.model_selection import StratifiedGroupKFold

    strata = _strata(table, groups)
    smallest = min(len(np.unique(groups[strata == one])) for one in np.unique(strata))
    if smallest < 2:
        raise DataError(
            f"cannot cut {name}: expected at least 2 patients of each class, found {_patients(table)}; "
            "add images of more patients"
        )
    # Folds with fewer than four of a kind come out uneven, so fewer folds are used where patients are few.
    most = min(_MOST_FOLDS, max(smallest // 4, min(smallest, round(1 / share))))
    part = Fraction(share).limit_denominator(most) or Fraction(1, most)
    dealt = StratifiedGroupKFold(part.denominator, shuffle=True, random_state=seed).split(strata, strata, groups)
    folds = [rows for _, rows in dealt]
    for start in range(len(folds)):  # few patients can leave a fold without a class; then the next ones are taken
        inside = np.zeros(len(table), bool)
        inside[np.concatenate([folds[(start + i) % len(folds)] for i in range(part.numerator)])] = True
        if _both_sides(table, inside):
            return inside
    raise DataError(
        f"cannot cut {name} so that each class is on both sides; found {_patients(table)}; "
        "add images of more patients or change the share"
    )


def _strata(table: pd.DataFrame, groups: np.ndarray) -> np.ndarray:
    """The kind, or the class alone where some kind has too few patients to be on both sides."""
    kinds = (table["label"] + "/" + table["kind"]).to_numpy(str)
    if all(len(np.unique(groups[kinds == kind])) >= 2 for kind in np.unique(kinds)):
        return kinds
    return table["label"].to_numpy(str)


def _both_sides(table: pd.DataFrame, inside: np.ndarray) -> bool:
    labels = set(table["label"])
    return all(set(table["label"][side]) == labels for side in (inside, ~inside))


def _patients(table: pd.DataFrame) -> str:
    counts = table.groupby("label")["patient"].nunique()
    return ", ".join(f"{count} of {label}" for label, count in counts.items())
