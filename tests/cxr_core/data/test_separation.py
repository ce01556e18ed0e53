import pandas as pd
import pytest

from cxr_core.data.duplicates import NearPair
from cxr_core.data.separation import check_labels, check_separation, shared_numbers
from cxr_core.errors import DataError


def _table(*rows: tuple[str, str, str, str]) -> pd.DataFrame:
    """Rows of (patient, number, picture, split)."""
    table = pd.DataFrame(rows, columns=["patient", "number", "pixel_sha256", "split"])
    table["file"] = [f"{i}.png" for i in range(len(table))]
    table["label"] = "NORMAL"
    return table


def test_a_clean_split_passes() -> None:
    check_separation(
        _table(("a", "1", "x", "train"), ("b", "2", "y", "val"), ("c", "1", "z", "test")), [NearPair(0, 0, 1.0)]
    )


@pytest.mark.parametrize(
    ("rows", "word"),
    [
        ([("a", "1", "x", "train"), ("b", "2", "x", "test")], "the very same picture is in two splits: 0.png, 1.png"),
        ([("a", "1", "x", "train"), ("a", "1", "y", "test")], "patient a is in two splits"),
        ([("a", "1", "x", "val"), ("a", "1", "y", "test")], "patient a is in two splits"),
        ([("a", "1", "x", "train"), ("b", "1", "y", "val")], "patient number 1 is in train and in val"),
    ],
)
def test_each_leak_is_refused_with_its_files(rows: list[tuple[str, str, str, str]], word: str) -> None:
    with pytest.raises(DataError, match=word):
        check_separation(_table(*rows), [])


def test_a_near_pair_across_splits_is_refused_and_within_one_is_not() -> None:
    table = _table(("a", "1", "x", "train"), ("b", "2", "y", "train"), ("c", "3", "z", "test"))
    check_separation(table, [NearPair(0, 1, 0.99)])
    with pytest.raises(DataError, match=r"1\.png and 2\.png \(correlation 0\.991\)"):
        check_separation(table, [NearPair(1, 2, 0.991)])


def test_one_picture_under_two_labels_is_refused() -> None:
    table = _table(("a", "1", "x", ""), ("b", "2", "x", ""))
    check_labels(table)
    table.loc[1, "label"] = "PNEUMONIA"
    with pytest.raises(DataError, match=r"two labels: 0\.png, 1\.png"):
        check_labels(table)


def test_shared_numbers_are_counted_by_series() -> None:
    table = _table(
        ("a", "person1", "x", "train"),
        ("b", "person1", "y", "test"),
        ("c", "IM-0002", "z", "val"),
        ("d", "IM-0002", "w", "test"),
        ("e", "person3", "v", "test"),
    )
    assert shared_numbers(table) == {"person": 1, "IM": 1}
