from dataclasses import fields
from pathlib import Path

import pytest

from cxr_core.data.columns import MANIFEST
from cxr_core.data.ingest import Row
from cxr_core.data.tables import read_table, write_table
from cxr_core.errors import DataError


def test_text_comes_back_as_it_was_written(tmp_path: Path) -> None:
    rows = [("007", "NA", "", 3), ('a,"b"', "line\nbreak", "ä", 4)]
    write_table(tmp_path / "t.csv", ("patient", "kind", "split", "bytes"), rows)
    read = read_table(tmp_path / "t.csv", ("patient", "bytes"))
    assert [tuple(row) for row in read.itertuples(index=False)] == rows
    assert read["bytes"].dtype == "int64"


def test_a_missing_file_or_column_is_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="expected a table"):
        read_table(tmp_path / "t.csv", ("file",))
    write_table(tmp_path / "t.csv", ("name",), [("x",)])
    with pytest.raises(DataError, match="missing file"):
        read_table(tmp_path / "t.csv", ("file", "name"))


def test_the_manifest_has_the_columns_it_says() -> None:
    assert tuple(field.name for field in fields(Row)) == MANIFEST
