"""Everything that can be wrong before a run starts is said before it starts, with the repair."""

from pathlib import Path
from typing import Any

import pytest

from cxr_core.errors import CxrError, StoreError, UsageError
from flows.cli import parse_overrides
from flows.inputs import settle
from tests.conftest import Place


@pytest.fixture(autouse=True)
def _own_store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CXR_STORE", str(tmp_path / "store"))
    monkeypatch.delenv("CXR_DATA", raising=False)


@pytest.mark.parametrize(
    ("parameters", "says"),
    [
        ({"data": "/nowhere/at/all"}, "/nowhere/at/all"),
        ({"precisions": ["int9"]}, "precisions"),
        ({"backends": ["openvion"]}, "openvino"),
        ({"profile": "smok"}, "smoke"),
        ({"overrides": {"train": {"imgaes": 3}}}, "did you mean 'images'"),
        ({"weights": "/no/w.safetensors"}, "no weights file"),
        ({"onnx": "/no/g.onnx"}, "no ONNX file"),
        ({"weights": __file__, "onnx": __file__}, "name one of them"),
        ({"refresh": ["int8@tensorrt"]}, "no branch int8@tensorrt"),
        ({"overrides": {"require": ["int9@openvino"]}}, "did you mean int8@openvino"),
    ],
)
def test_wrong_use_is_named_with_its_repair(parameters: dict[str, Any], says: str) -> None:
    with pytest.raises(UsageError) as caught:
        settle(**{"profile": "smoke", "data": "phantom", **parameters})
    assert says in str(caught.value)
    assert caught.value.exit_code == 2


def test_an_unused_data_variable_that_points_nowhere_is_an_error_not_a_silent_phantom(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("CXR_DATA", "/nowhere")
    with pytest.raises(UsageError, match="/nowhere"):
        settle(profile="quick")


def test_phantoms_are_the_same_every_time_and_generated_once() -> None:
    first = settle(profile="smoke", data="phantom")
    before = {p: p.stat().st_mtime_ns for p in first.folder.rglob("*")}
    assert settle(profile="smoke", data="phantom").folder == first.folder
    assert {p: p.stat().st_mtime_ns for p in first.folder.rglob("*")} == before


def test_a_newer_store_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    settle(profile="smoke", data="phantom")
    monkeypatch.setenv("CXR_STORE", str(tmp_path / "newer"))
    (tmp_path / "newer").mkdir()
    (tmp_path / "newer" / "FORMAT").write_text("999\n")
    with pytest.raises(StoreError, match="999"):
        settle(profile="smoke", data="phantom")


def test_a_profile_is_not_renamed_by_an_override(place: Place) -> None:
    refused = place.cxr("run", "--profile", "smoke", "--set", "name=mine", code=2)
    assert "copy the file" in refused.stderr


def test_overrides_are_read_as_yaml() -> None:
    assert parse_overrides(["train.images=20000", "precisions=[int8]", "train.amp=none", "a.b=x=y"]) == {
        "train": {"images": 20000, "amp": "none"},
        "precisions": ["int8"],
        "a": {"b": "x=y"},
    }
    with pytest.raises(CxrError, match="train is a value, not a section"):
        parse_overrides(["train=3", "train.images=4"])
    with pytest.raises(CxrError, match="FIELD=VALUE"):
        parse_overrides(["train.images"])
