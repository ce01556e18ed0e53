"""The CSV files of this room: same bytes for the same rows, and read back as what was written."""

from __future__ import annotations

import csv
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from cxr_core.errors import DataError

if TYPE_CHECKING:
    import pandas as pd

_NUMBERS = {"bytes": "int64", "width": "int64", "height": "int64", "row": "int64"}


def write_table(path: Path, columns: Sequence[str], rows: Iterable[Sequence[Any]]) -> None:
    """Write rows under a header, UTF-8, one line feed a line on every system."""
    with path.open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(columns)
        writer.writerows(rows)


def read_table(path: Path, columns: Sequence[str]) -> pd.DataFrame:
    """A table written by :func:`write_table`. Text stays text: a patient ``007`` or ``NA`` is no number and no gap.

    Raises:
        DataError: no such file, a column is missing, or a number is none.
    """
    import pandas as pd

    try:
        table = pd.read_csv(path, dtype=str, keep_default_na=False, encoding="utf-8")
    except (OSError, ValueError) as error:
        raise DataError(f"expected a table at {path}: {error}; run the stage that writes it again") from error
    missing = [name for name in columns if name not in table.columns]
    if missing:
        raise DataError(
            f"expected columns {', '.join(columns)} in {path}, missing {', '.join(missing)}; "
            "run the stage that writes it again"
        )
    try:
        return table.astype({name: kind for name, kind in _NUMBERS.items() if name in table.columns})
    except (ValueError, OverflowError) as error:
        raise DataError(f"expected whole numbers in {path}: {error}; run the stage that writes it again") from error
