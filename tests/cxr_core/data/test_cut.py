import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cxr_core.data.cut import cut, groups_of
from cxr_core.data.duplicates import NearPair
from cxr_core.data.separation import check_separation
from cxr_core.errors import DataError

KINDS = {"normal": "NORMAL", "bacteria": "PNEUMONIA", "virus": "PNEUMONIA"}


def _table(rows: list[tuple[str, int, int]]) -> pd.DataFrame:
    """Rows of (kind, number, picture)."""
    return pd.DataFrame(
        {
            "file": [f"{i:04d}.png" for i in range(len(rows))],
            "label": [KINDS[kind] for kind, _, _ in rows],
            "kind": [kind for kind, _, _ in rows],
            "patient": [f"{kind}-person{number}" for kind, number, _ in rows],
            "number": [f"person{number}" for _, number, _ in rows],
            "pixel_sha256": [f"{KINDS[kind]}{picture}" for kind, _, picture in rows],
        }
    )


@st.composite
def _sets(draw: st.DrawFn) -> tuple[pd.DataFrame, list[NearPair]]:
    """Sets with shared numbers, repeated pictures and near pairs, and at least 12 lone patients of each kind."""
    kind = st.sampled_from(sorted(KINDS))
    rows = draw(st.lists(st.tuples(kind, st.integers(0, 40), st.integers(0, 60)), max_size=80))
    lone = [(name, 1000 + 100 * k + n, 1000 + 100 * k + n) for k, name in enumerate(sorted(KINDS)) for n in range(12)]
    rows = draw(st.permutations(rows + lone))
    index = st.integers(0, len(rows) - 1)
    pairs = draw(st.lists(st.tuples(index, index).filter(lambda p: p[0] != p[1]), max_size=4))
    return _table(rows), [NearPair(min(p), max(p), 0.99) for p in pairs]


@settings(max_examples=60)
@given(_sets(), st.integers(0, 2**31 - 1), st.sampled_from([0.1, 0.143, 0.15, 0.25, 0.4]))
def test_a_cut_never_separates_what_belongs_together(
    case: tuple[pd.DataFrame, list[NearPair]], seed: int, share: float
) -> None:
    table, near = case
    groups = groups_of(table, near)
    inside = cut(table, groups, share, seed, "val")
    table["split"] = np.where(inside, "val", "train")
    check_separation(table, near)
    for label in ("NORMAL", "PNEUMONIA"):
        assert set(table["split"][table["label"] == label]) == {"train", "val"}
    assert np.array_equal(inside, cut(table, groups, share, seed, "val"))


@settings(max_examples=20)
@given(st.integers(0, 2**31 - 1), st.sampled_from([0.1, 0.143, 0.15, 0.25, 0.3, 0.45]), st.integers(20, 60))
def test_a_cut_has_its_share_of_each_kind(seed: int, share: float, patients: int) -> None:
    table = _table([(kind, 100 * k + n, 100 * k + n) for k, kind in enumerate(KINDS) for n in range(patients)])
    inside = cut(table, groups_of(table, []), share, seed, "val")
    for kind in KINDS:
        taken = int(inside[(table["kind"] == kind).to_numpy()].sum())
        assert abs(taken - share * patients) <= 1.5 + 0.025 * patients


def test_another_seed_cuts_otherwise() -> None:
    table = _table([(kind, 100 * k + n, 100 * k + n) for k, kind in enumerate(KINDS) for n in range(30)])
    groups = groups_of(table, [])
    assert not np.array_equal(cut(table, groups, 0.143, 0, "val"), cut(table, groups, 0.143, 1, "val"))


def test_groups_hang_together_through_a_third() -> None:
    table = _table([("virus", 1, 1), ("virus", 1, 2), ("virus", 2, 2), ("virus", 3, 3), ("bacteria", 4, 4)])
    groups = groups_of(table, [NearPair(2, 3, 0.99)])
    assert len(set(groups[:4])) == 1 and groups[4] != groups[0]


def test_a_kind_of_one_patient_is_no_obstacle() -> None:
    table = _table(
        [("normal", n, n) for n in range(8)]
        + [("bacteria", 100 + n, 100 + n) for n in range(8)]
        + [("virus", 200, 200)]
    )
    inside = cut(table, groups_of(table, []), 0.25, 0, "val")
    assert 0 < inside.sum() < len(table)


def test_too_few_patients_are_refused() -> None:
    table = _table([("normal", 1, 1), ("normal", 1, 2), *(("virus", 10 + n, 10 + n) for n in range(9))])
    with pytest.raises(DataError, match="1 of NORMAL"):
        cut(table, groups_of(table, []), 0.143, 0, "val")
