"""Profiles: every shipped one loads, overrides reach their field, and mistakes are named."""

from pathlib import Path
from typing import Any

import pytest

from cxr_core.config import Profile, load_profile
from cxr_core.errors import UsageError

PROFILES = Path(__file__).resolve().parents[2] / "deployments" / "profiles"


@pytest.mark.parametrize("name", ["smoke", "quick", "full", "paper"])
def test_shipped_profiles_load_and_are_named_after_their_file(name: str) -> None:
    profile = load_profile(PROFILES / f"{name}.yaml")
    assert profile.name == name


def test_there_is_no_profile_that_no_test_loads() -> None:
    assert {path.stem for path in PROFILES.glob("*.yaml")} == {"smoke", "quick", "full", "paper"}


def test_an_override_reaches_its_field_and_leaves_the_rest() -> None:
    plain = load_profile(PROFILES / "quick.yaml")
    changed = load_profile(PROFILES / "quick.yaml", {"train": {"images": 640}, "precisions": ["int8"]})
    assert changed.train.images == 640
    assert changed.precisions == ("int8",)
    assert changed.model_copy(update={"train": plain.train, "precisions": plain.precisions}) == plain


def _nested(field: str, value: object) -> Any:
    section, _, inner = field.partition(".")
    return {section: _nested(inner, value)} if inner else {section: value}


@pytest.mark.parametrize(
    ("field", "value", "says"),
    [
        ("train.imgaes", 1, "did you mean 'images'"),
        ("benhmark", {}, "did you mean 'benchmark'"),
        ("train.zzzzqqq", 1, "known here: model"),
        ("train.images", -3, "train.images"),
        ("train.images", "many", "train.images"),
        ("precisions", ["int9"], "precisions"),
        ("precisions", [], "at least one"),
        ("precisions", ["int8", "int8"], "each once"),
        ("name.inner", 1, "name: Input should be a valid string"),
        ("placement.trian", "rocm", "did you mean 'train'"),
        ("placement.train", "a/b", "placement.train"),
        ("placement.engines", "", "placement.engines"),
        # Budgets out of range, each named; what is no number is none.
        *(
            (f"compare.{budget}", value, f"compare.{budget}")
            for budget, values in {
                "accuracy_margin": (0, -0.01, 0.5, 1, float("nan")),
                "sensitivity_margin": (0, -0.01, 0.5, float("nan")),
                "flips_share": (-0.01, 1.01, float("nan")),
                "probability_shift": (-1, 2, float("nan")),
                "calibration_loss": (-0.1, 1.5, float("nan")),
                "latency_ms": (0, -1, float("inf"), float("nan")),
                "engine_mb": (0, -1, float("inf"), float("nan")),
            }.items()
            for value in values
        ),
        ("variant.int8_method", "guess", "variant.int8_method"),
        ("variant.int8_shift", 1.5, "variant.int8_shift"),
        ("variant.int8_flips", float("nan"), "variant.int8_flips"),
        ("calibration.held_back", 15, "calibration.held_back"),
    ],
)
def test_a_mistake_is_named_with_its_place(field: str, value: object, says: str) -> None:
    with pytest.raises(UsageError) as caught:
        load_profile(PROFILES / "smoke.yaml", _nested(field, value))
    assert says in str(caught.value)


@pytest.mark.parametrize(
    ("text", "says"),
    [("a: [", "not YAML"), ("a: 2020-13-45", "not YAML"), ("- 1", "must be a mapping"), ("{}", "name")],
)
def test_a_file_that_is_no_profile(tmp_path: Path, text: str, says: str) -> None:
    file = tmp_path / "p.yaml"
    file.write_text(text)
    with pytest.raises(UsageError, match=says):
        load_profile(file)


def test_a_missing_profile_names_those_that_are_there() -> None:
    with pytest.raises(UsageError, match="smoke"):
        load_profile(PROFILES / "smok.yaml")


def test_profiles_are_frozen() -> None:
    with pytest.raises(ValueError, match="frozen"):
        Profile(name="x").train.images = 3  # type: ignore[misc]


def test_the_default_gate_is_the_documented_one() -> None:
    gate = load_profile(PROFILES / "quick.yaml").compare
    assert (gate.accuracy_margin, gate.flips_share, gate.probability_shift) == (0.01, 0.01, 0.01)
    assert (gate.sensitivity_margin, gate.calibration_loss, gate.latency_ms, gate.engine_mb) == (None,) * 4
