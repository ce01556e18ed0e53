"""Which branch ``cxr promote`` takes where none is named."""

from typing import Any

import pytest

from cxr_core.errors import RefusedError
from cxr_core.refs import Precision, Record, Ref
from flows.promoting import _branch, _page_to_give_away, _print, _recommended, promote
from tasks.place import current_store


def _row(precision: str, backend: str, verdict: str, ratio: float, **changes: Any) -> dict[str, Any]:
    interval = {"value": ratio, "low": ratio - 0.05, "high": ratio + 0.05}
    known = {"precision": precision, "backend": backend, "verdict": verdict, "ratio_to_reference": interval}
    return {**known, "device": "a CPU", "effective_precision": precision, "reason": "why", **changes}


ROWS = [
    _row("fp32", "openvino", "pass", 1.0),
    _row("bf16", "openvino", "pass", 1.5),
    _row("fp16", "openvino", "inconclusive", 1.9),
    _row("int8", "openvino", "fail", 3.0),
    _row("fp32", "onnxruntime", "pass", 1.0),
]


def _chosen(rows: list[dict[str, Any]], backend: str | None = None) -> str:
    row = _recommended({"run_id": "a", "rows": rows}, backend)[0]
    return f"{row['precision']}@{row['backend']}"


def test_it_is_the_fastest_that_passed() -> None:
    assert _chosen(ROWS) == "bf16@openvino"
    assert _chosen(ROWS, "onnxruntime") == "fp32@onnxruntime"
    assert _chosen([*ROWS, _row("int8", "fake", "pass", 9.0, device="FAKE device")]) == "bf16@openvino"


def test_those_of_other_backends_are_named_with_what_tells_which_is_faster(capsys: pytest.CaptureFixture[str]) -> None:
    def branches(backend: str | None) -> list[str]:
        return [_branch(row) for row in _recommended({"run_id": "a", "rows": ROWS}, backend)]

    assert branches(None) == ["bf16@openvino", "fp32@onnxruntime"]
    assert branches("onnxruntime") == ["fp32@onnxruntime"]
    told = {
        "release": "releases/x", "digest": "sha256:0", "bytes": 1, "branch": "bf16@openvino", "forced": False,
        "new": True, "of_other_backends": branches(None)[1:],
    }  # fmt: skip
    _print(told, ROWS[1])
    assert "cxr bench --ab bf16@openvino fp32@onnxruntime" in capsys.readouterr().out
    _print({**told, "of_other_backends": []}, ROWS[1])
    assert "--ab" not in capsys.readouterr().out


@pytest.mark.parametrize(
    ("rows", "backend", "words"),
    [
        (
            ROWS[2:4],
            None,
            "nothing passed, so .* it has fp16@openvino: inconclusive, int8@openvino: fail",
        ),
        (ROWS, "tensorrt", "nothing passed on tensorrt"),
        ([], None, "no decision table"),
    ],
)
def test_where_nothing_passed_it_says_so(rows: list[dict[str, Any]], backend: str | None, words: str) -> None:
    with pytest.raises(RefusedError, match=words):
        _chosen(rows, backend)


@pytest.mark.parametrize(
    ("left", "taken"),
    [
        (("report.html", "report-without-pictures.html"), "report-without-pictures.html"),
        (("report.html",), "report.html"),
    ],
)
def test_a_release_takes_the_page_without_radiographs_where_there_is_one(left: tuple[str, ...], taken: str) -> None:
    refs = {name: Ref(form="blob", digest=f"sha256:{i:064x}", size=1, name=name) for i, name in enumerate(left)}
    assert _page_to_give_away(Record(stage="report", key="0" * 64, parts={}, outputs=refs, seconds=0)).name == taken


def test_the_command_asks_for_it(tmp_path: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CXR_STORE", str(tmp_path / "store"))
    current_store().write_run("r1", {"run_id": "r1", "started": "2026-01-01T00:00:00Z", "rows": ROWS[2:]})
    with pytest.raises(RefusedError, match="fp32@onnxruntime has no engine: pass"):  # found, and nothing behind it
        promote("r1", None, None, "x", False, True)
    with pytest.raises(RefusedError, match="int8@openvino"):
        promote("r1", Precision.INT8, None, "x", False, True)
