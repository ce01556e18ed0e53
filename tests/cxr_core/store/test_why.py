import os
from collections.abc import Callable
from typing import Any

import pytest

from cxr_core.errors import UsageError
from cxr_core.store import Store

Persist = Callable[..., tuple[str, bytes]]
A, B = "sha256:" + "a" * 64, "sha256:" + "b" * 64


@pytest.fixture
def add(store: Store, persisted: Persist) -> Callable[..., str]:
    clock = iter(range(1000, 2000))

    def write(stage: str, **parts: Any) -> str:
        key, content = persisted(stage, {}, **parts)
        store.write_action(key, content)
        now = next(clock)
        os.utime(store.root / "actions" / key, (now, now))
        return key

    return write


def test_the_phrases(store: Store, add: Callable[..., str]) -> None:
    add(
        "export",
        code={"cxr_core/graphs/export.py": A, "cxr_core/graphs/old.py": A, "same.py": A},
        inputs={"tensors": A, "weights": B},
        parameters={"batch": 8, "opset": 18, "gone": None},
        environment={"torch": "2.14.0"},
    )
    add(
        "export",
        code={"cxr_core/graphs/export.py": B, "cxr_core/graphs/new.py": A, "same.py": A},
        inputs={"tensors": B, "weights": B},
        parameters={"batch": 16, "opset": 18, "deep": {"list": [1, 2]}},
        environment={"torch": "2.14.1"},
    )
    assert list(map(str, store.why("export"))) == [
        "environment.torch 2.14.0 -> 2.14.1",
        "inputs.tensors sha256:aaaaaaaa.. -> sha256:bbbbbbbb..",
        "parameters.batch 8 -> 16",
        "parameters.deep.list absent -> [1, 2]",
        "parameters.gone None -> absent",
        "code: cxr_core/graphs/export.py",
        "code: cxr_core/graphs/new.py (new)",
        "code: cxr_core/graphs/old.py (gone)",
    ]


def test_the_nearest_earlier_record_is_compared(store: Store, add: Callable[..., str]) -> None:
    near = add("train", parameters={"batch": 8, "seed": 0})
    add("train", parameters={"batch": 64, "seed": 7})
    newest = add("train", parameters={"batch": 16, "seed": 0})
    add("export", parameters={"batch": 1})
    assert list(map(str, store.why("train"))) == ["parameters.batch 8 -> 16"]
    found = store.explain(store.record(newest))
    assert found.nearest is not None and found.nearest.key == near


def test_a_true_is_not_a_one(store: Store, add: Callable[..., str]) -> None:
    add("train", parameters={"flip": 1})
    add("train", parameters={"flip": True})
    assert list(map(str, store.why("train"))) == ["parameters.flip 1 -> True"]


def test_a_branch_is_compared_with_its_like(store: Store, add: Callable[..., str]) -> None:
    for threads in (1, 2):
        for precision in ("int8", "fp16"):
            for backend in ("openvino", "onnxruntime"):
                engine = {"threads": threads} if precision == "int8" else {"threads": threads * 10}
                add("engine", parameters={"precision": precision, "branch": {"backend": backend}, "engine": engine})
    found = store.why("engine", precision="int8", backend="openvino")
    assert list(map(str, found)) == ["parameters.engine.threads 1 -> 2"]
    assert {row.precision for row in store.ls()} == {"int8", "fp16"}
    assert {row.backend for row in store.ls()} == {"openvino", "onnxruntime"}


def test_an_older_record_is_compared_with_those_before_it(store: Store, add: Callable[..., str]) -> None:
    add("train", parameters={"batch": 1})
    middle = add("train", parameters={"batch": 2})
    add("train", parameters={"batch": 3})
    assert list(map(str, store.why("train", record=store.record(middle)))) == ["parameters.batch 1 -> 2"]


def test_a_key_without_record_is_explained(store: Store, add: Callable[..., str]) -> None:
    add("train", parameters={"batch": 1})
    nearest = add("train", parameters={"batch": 2})
    found = store.explain({"stage": "train", "parameters": {"batch": 2, "seed": 1}})
    assert found.nearest is not None and found.nearest.key == nearest
    assert list(map(str, found.differences)) == ["parameters.seed absent -> 1"]
    assert store.explain({"stage": "report"}).nearest is None
    with pytest.raises(UsageError, match="stage"):
        store.explain({"parameters": {}})


def test_nothing_to_compare(store: Store, add: Callable[..., str]) -> None:
    with pytest.raises(UsageError, match=r"no record of train.*stages there: none"):
        store.why("train")
    add("train", parameters={"precision": "int8"})
    assert store.why("train") == []
    with pytest.raises(UsageError, match=r"no record of train fp16 .*stages there: train"):
        store.why("train", precision="fp16")
