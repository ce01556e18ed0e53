"""Content keys: every field counts, order does not, and what cannot change a result does not."""

import importlib
import inspect
import pkgutil
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from prefect import Task

import tasks
from cxr_core.config import CompareConfig, EngineConfig, TrainConfig
from cxr_core.refs import Precision, Ref
from cxr_core.training import rocm
from tasks import train
from tasks.key import key_of, keyed
from tests.amd import topology

plain = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**53), 2**53)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=6), inner, max_size=4),
    max_leaves=12,
)


@given(st.dictionaries(st.text(max_size=6), plain, min_size=1, max_size=6), st.randoms())
def test_the_order_of_fields_does_not_count(parts: dict[str, object], random: object) -> None:
    names = list(parts)
    random.shuffle(names)  # type: ignore[attr-defined]
    assert key_of({name: parts[name] for name in names}) == key_of(parts)  # type: ignore[arg-type, misc]


@given(st.dictionaries(st.text(max_size=6), st.integers(), min_size=1, max_size=6), st.data())
def test_any_changed_field_changes_the_key(parts: dict[str, int], data: st.DataObject) -> None:
    name = data.draw(st.sampled_from(sorted(parts)))
    assert key_of({**parts, name: parts[name] + 1}) != key_of(parts)
    assert key_of({n: v for n, v in parts.items() if n != name}) != key_of(parts)


@given(st.sampled_from(sorted(TrainConfig.model_fields)))
def test_every_field_of_a_config_counts_but_the_listed_few(name: str) -> None:
    seen = keyed(TrainConfig())
    assert isinstance(seen, dict)
    assert (name in seen) == (name != "checkpoint_images")


def test_a_time_limit_changes_no_key() -> None:
    assert keyed(EngineConfig(time_limit_seconds=1)) == keyed(EngineConfig(time_limit_seconds=2))
    assert keyed(EngineConfig(threads=1)) != keyed(EngineConfig(threads=2))


def test_an_amd_card_and_what_is_set_for_it_change_the_key_of_training(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    arguments = {"config": TrainConfig(threads=1)}
    monkeypatch.setenv("HSA_OVERRIDE_GFX_VERSION", "10.3.0")
    monkeypatch.setattr(rocm, "KFD", tmp_path)
    assert "HSA_OVERRIDE_GFX_VERSION" not in train._machine(arguments)
    topology(tmp_path, 0, 100301)
    found = train._machine(arguments)
    assert found["gpus"] == ["gfx1031, 17179869184 bytes"] and found["HSA_OVERRIDE_GFX_VERSION"] == "10.3.0"


def test_a_reference_counts_by_its_digest_alone() -> None:
    one = Ref(form="blob", digest="sha256:" + "a" * 64, size=3, name="x", facts={"n": 1})
    assert keyed(one) == keyed(one.model_copy(update={"name": "y", "facts": {}})) == one.digest


def test_what_has_no_canonical_form_is_refused() -> None:
    with pytest.raises(TypeError, match="cannot enter a content key"):
        keyed(object())
    with pytest.raises(ValueError, match="not JSON compliant"):
        key_of({"x": float("nan")})
    assert keyed((Precision.INT8, None)) == ["int8", None]


def test_a_changed_budget_redoes_the_comparison_and_nothing_before_it() -> None:
    stages = [name for _, name, _ in pkgutil.iter_modules(tasks.__path__)]
    modules = [importlib.import_module(f"tasks.{name}") for name in stages]
    taking = {
        name
        for module in modules
        for name, task in vars(module).items()
        if isinstance(task, Task) and CompareConfig in inspect.get_annotations(task.fn, eval_str=True).values()
    }
    assert taking == {"compare"}
    for name, value in {
        "accuracy_margin": 0.02,
        "latency_ms": 5.0,
        "engine_mb": 2.0,
        "sensitivity_margin": 0.02,
    }.items():
        assert keyed(CompareConfig()) != keyed(CompareConfig.model_validate({name: value}))
