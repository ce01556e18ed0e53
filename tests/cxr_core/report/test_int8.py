"""The section on the search for INT8: what was left in FP32 and why, in words and in the ranked table."""

from pathlib import Path
from typing import Any

import pytest

from cxr_core.graphs.int8.found import Found, Sensitivity, Size, Trial
from cxr_core.report.document import Failure, Report, RunHeader
from cxr_core.report.int8 import answer, section
from cxr_core.report.report import report


def trial(calibrator: Any, shift: float, left: int = 0, time_share: float = 0.0) -> Trial:
    return Trial(
        calibrator=calibrator, left=left, time_share=time_share, shift=shift, flips=2 - left, held=shift <= 0.005
    )


def searched(**changes: Any) -> Found:
    ranked = [
        Sensitivity(node=f"<conv {n}>", op="Conv", sqnr_db=9.0 + n, time_share=0.05, left=n < 2) for n in range(20)
    ]
    found = Found(
        images=128,
        budget_shift=0.005,
        budget_flips=0.01,
        held=True,
        calibrator="mse",
        chosen=trial("mse", 0.0031, 2, 0.1),
        calibrators=(trial("minmax", 0.03), trial("mse", 0.02)),
        curve=(trial("mse", 0.02), trial("mse", 0.0031, 2, 0.1)),
        sensitivity=tuple(ranked),
        sizes=(Size(images=16, shift=0.0123, flips=3, held=False), Size(images=32, shift=0.0031, flips=0, held=True)),
    )
    return found.model_copy(update=changes)


def test_page_and_document_tell_what_was_left_and_why(tmp_path: Path) -> None:
    broken = (Failure(stage="engine", message="no room"),)
    report(out=tmp_path, run=RunHeader(profile="quick"), failures=broken, int8=searched())
    assert Report.model_validate_json((tmp_path / "report.json").read_bytes()).int8 == searched()
    html = (tmp_path / "report.html").read_text(encoding="utf-8")
    assert "INT8 within its budget" in html and '<a href="#int8">' in html
    assert "2 of 20 nodes stay in FP32 (10.0% of the time)" in html
    assert "The 15 most sensitive nodes of 20" in html
    assert "&lt;conv 0&gt;" in html and "<conv" not in html  # names are text
    assert "conv 15" not in html
    row = next(line for line in html.split("<tr") if ">16<" in line and "0.01230" in line)
    assert "broken" in row and "The chosen graph by fewer images" in html
    report(out=tmp_path, run=RunHeader(profile="quick"), failures=broken, int8=searched(note="On 8 images only."))
    assert "On 8 images only." in (tmp_path / "report.html").read_text(encoding="utf-8")
    report(out=tmp_path, run=RunHeader(profile="quick"), failures=broken)
    assert "INT8 within" not in (tmp_path / "report.html").read_text(encoding="utf-8")


def test_an_older_report_without_a_search_stays_readable(tmp_path: Path) -> None:
    report(out=tmp_path, run=RunHeader(profile="quick"))
    old = Report.model_validate_json((tmp_path / "report.json").read_bytes()).model_dump(mode="json")
    del old["int8"]
    assert Report.model_validate(old).int8 is None


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"chosen": trial("mse", 0.001), "sensitivity": ()}, "no node has to stay in FP32"),
        ({"held": False, "chosen": trial("mse", 0.02)}, "cannot be held by leaving nodes in FP32; everything is"),
        ({}, "at most 0.005, flips at most 1 of 128"),
    ],
)
def test_the_answer_says_how_it_ended(changes: dict[str, Any], words: str) -> None:
    assert words in answer(searched(**changes))


def test_where_nothing_has_to_be_left_the_nodes_are_ranked_all_the_same(tmp_path: Path) -> None:
    whole = trial("mse", 0.001)
    ranked = tuple(one.model_copy(update={"left": False}) for one in searched().sensitivity)
    broken = (Failure(stage="engine", message="no room"),)
    found = searched(sensitivity=ranked, chosen=whole, curve=(whole,))
    report(out=tmp_path, run=RunHeader(profile="quick"), failures=broken, int8=found)
    html = (tmp_path / "report.html").read_text(encoding="utf-8")
    assert "no node has to stay in FP32" in html
    assert "The 15 most sensitive nodes of 20" in html and "Accuracy against time" not in html


def test_an_older_search_that_ranked_nothing_stays_readable() -> None:
    shown = section(searched(sensitivity=(), chosen=trial("mse", 0.001), curve=(trial("mse", 0.001),)))
    assert shown and shown["curve"] == [] and shown["sensitivity"] == []
    assert [line[0] for line in shown["calibrators"]] == ["minmax", "mse"]  # type: ignore[attr-defined]
