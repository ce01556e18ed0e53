"""Stage declarations: the mapping that the core is called with is the mapping that the key is made of."""

import inspect
from importlib import import_module
from pathlib import Path

import pytest

from cxr_core.config import SplitConfig
from cxr_core.refs import Record, Ref
from tasks.stage import KeyOnly, Stage, StageTask, Unkeyed, branch_of, refreshed

STAGES = ["ingest", "split", "tensors", "calibration", "train", "export", "parity", "variant", "engine", "benchmark",
          "accuracy", "compare", "occlusion", "robustness", "report"]  # fmt: skip


def _record(*names: str) -> Record:
    outputs = {n: Ref(form="blob", digest=f"sha256:{i:064x}", size=1, name=n) for i, n in enumerate(names, 1)}
    return Record(stage="x", key="0" * 64, parts={}, outputs=outputs, seconds=0)


def _tasks(module: str) -> list[StageTask]:
    return [value for value in vars(import_module(f"tasks.{module}")).values() if hasattr(value, "task_key")]


@pytest.mark.parametrize("name", STAGES)
def test_every_stage_is_a_task_of_its_name_with_our_cache(name: str) -> None:
    found = [task for task in _tasks(name) if task.name == name]
    assert found
    for task in found:
        assert task.persist_result
        assert task.result_serializer == "json"
        assert type(task.cache_policy).__name__ == "ContentKey"
        assert type(task.result_storage).__name__ == "RecordStorage"
        assert not task.cache_result_in_memory


@pytest.mark.parametrize("name", STAGES)
def test_every_core_function_exists_and_leaves_its_outputs_in_out(name: str) -> None:
    for task in _tasks(name):
        core = task.cache_policy.parts.__self__.core  # type: ignore[union-attr]
        module, _, attribute = core.partition(":")
        parameters = inspect.signature(getattr(import_module(module), attribute)).parameters
        assert "out" in parameters, core
        assert all(p.kind is p.KEYWORD_ONLY for p in parameters.values()), core


def _stage(arguments: object) -> Stage:
    return Stage("x", "cxr_core.data.split:split", lambda **_: arguments, ("numpy",), lambda a: (), lambda a: {},  # type: ignore[arg-type, return-value]
                 None, False, False)  # fmt: skip


def test_unkeyed_arguments_are_passed_and_not_keyed_and_key_only_ones_the_other_way_round() -> None:
    parts = _stage({"folder": Unkeyed(Path("/a")), "digest": KeyOnly("d"), "config": SplitConfig()}).parts({})
    assert parts["parameters"] == {"digest": "d", "config": SplitConfig().model_dump()}
    assert parts["inputs"] == {}
    assert "cxr_core/data/split.py" in parts["code"]  # type: ignore[operator]
    assert set(parts["environment"]) == {"numpy"}  # type: ignore[arg-type]


def test_references_are_inputs_by_digest() -> None:
    record = _record("manifest.csv")
    assert _stage({"manifest": record.output("manifest.csv")}).parts({})["inputs"] == {
        "manifest": record.output("manifest.csv").digest
    }


def test_an_output_that_a_stage_did_not_leave_is_named() -> None:
    with pytest.raises(KeyError, match=r"manifest\.csv"):
        _record("manifest.csv").output("manifets.csv")


def test_a_refreshed_task_is_a_copy() -> None:
    task = _tasks("engine")[0]
    again = refreshed(task, since=5.0)
    assert again.result_storage.since == 5.0  # type: ignore[union-attr]
    assert task.result_storage.since == 0.0  # type: ignore[union-attr]
    assert again.cache_policy is task.cache_policy


def test_branches_are_named_in_the_ui() -> None:
    assert branch_of({"precision": "int8", "backend": "openvino"}) == "int8@openvino"
    assert branch_of({"config": 1}) == ""
