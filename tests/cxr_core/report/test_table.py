import io

import pytest
from rich.console import Console

from cxr_core.evaluation.rows import Row
from cxr_core.report.cells import COLUMNS, cells
from cxr_core.report.table import decision_table, markdown_table, reason_lines, table_rows

ROW = {
    "precision": "int8", "backend": "onnxruntime", "device": "A CPU", "effective_precision": "int8+fp32",
    "effective": {"int8": 0.84, "fp32": 0.16}, "engine_digest": "sha256:" + "0" * 64, "engine_bytes": 70_200_000,
    "images_per_second": 36973.1, "ratio_to_reference": {"value": 1.234, "low": 1.201, "high": 1.27},
    "latency_ms": {"p50": 12.345, "p90": 14.0, "p99": None, "count": 100}, "accuracy": 0.9062,
    "accuracy_interval": [0.88, 0.93], "auc": 0.9765, "auc_interval": [0.96, 0.98], "flips": 5,
    "accuracy_difference": {"value": -0.0019, "low": -0.0098, "high": 0.005}, "verdict": "inconclusive",
    "reason": "A loss of 1.20 points\ncannot be ruled out.",
}  # fmt: skip
ROWS = [ROW, {"precision": "tf32", "backend": "openvino", "verdict": "unsupported", "reason": "No TF32."},
        {"precision": "fp16", "backend": "openvino", "reason": "Killed."}]  # fmt: skip


def _printed(rows, width, **options):
    console = Console(width=width, file=io.StringIO(), color_system=None)
    console.print(decision_table(rows, width=width, **options))
    return console.file.getvalue()


@pytest.mark.parametrize("width", [80, 90, 100, 120, 140, 160])
def test_the_table_fits_its_width_with_nothing_cut(width):
    text = _printed(ROWS, width)
    assert "\u2026" not in text
    assert max(map(len, text.splitlines())) <= width
    for expected in ("int8", "onnxruntime", "inconclusive", "1.23 [1.20, 1.27]", "90.62", "unsupported", "error"):
        assert expected in text


def test_a_wide_terminal_shows_every_column():
    text = _printed(ROWS, 170)
    assert all(heading in text for heading in COLUMNS.values())
    assert "84 % int8" in text
    assert "70.2" in text


def test_what_the_count_does_not_carry_is_blank_not_zero():
    found = cells(Row.model_validate(ROW))
    assert (found["p90"], found["p99"]) == ("14.00", "")
    unsupported = cells(Row.model_validate(ROWS[1]))
    assert {text for name, text in unsupported.items() if name not in ("precision", "backend", "verdict")} == {""}


def test_an_accuracy_of_zero_is_printed():
    assert cells(Row.model_validate({**ROW, "accuracy": 0.0}))["accuracy"].startswith("0.00")


def test_phantoms_and_doubles_say_so():
    assert "PHANTOM" in _printed(ROWS, 100, phantom=True)
    assert "PHANTOM" not in _printed(ROWS, 100)
    assert "onnxruntime FAKE" in _printed([{**ROW, "device": "FAKE A CPU"}], 110)


def test_reasons_are_one_line_each():
    assert reason_lines(ROWS) == [
        "int8 onnxruntime: inconclusive. A loss of 1.20 points", "tf32 openvino: unsupported. No TF32.",
        "fp16 openvino: error. Killed."]  # fmt: skip


def test_rows_and_their_json_give_the_same_table():
    rows = [Row.model_validate(row) for row in ROWS]
    assert table_rows(rows) == table_rows(ROWS)
    assert table_rows(rows)[0]["reason"] == ROW["reason"]


def test_markdown_has_a_cell_for_each_column_whatever_a_name_holds():
    lines = markdown_table([{**ROW, "backend": "a|b"}]).splitlines()
    assert len({line.replace("\\|", "").count("|") for line in lines}) == 1
    assert "a\\|b" in lines[2]
