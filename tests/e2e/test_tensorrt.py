"""The whole flow with ``backend: tensorrt``, over the doubles of NVIDIA's libraries."""

import json
import re
from collections.abc import Callable

import pytest

from cxr_core.engines.tensorrt.timing import cache_file
from tests.conftest import SMOKE, Place
from tests.nvidia import children

pytestmark = pytest.mark.slow

PRECISIONS = ("fp32", "tf32", "fp16", "bf16", "int8")
CHOSEN = [word for precision in PRECISIONS for word in ("--precision", precision)]


def test_every_precision_is_built_measured_scored_and_kept_apart_from_other_devices(
    copied: Callable[[], Place],
) -> None:
    place = copied()
    run = place.json(*SMOKE, *CHOSEN, "--backend", "tensorrt", **children())
    assert run["state"] == "completed"
    rows = {row["precision"]: row for row in run["rows"] if row["backend"] == "tensorrt"}
    assert set(rows) == set(PRECISIONS)
    for precision, row in rows.items():
        assert row["device"] == "FAKE H100" and row["images_per_second"] > 0 and row["accuracy"] is not None
        assert precision in row["effective_precision"]
    abouts = [json.loads(file.read_text()) for file in (place.store / "cache" / "tensorrt").glob("*.json")]
    assert [about["device"] for about in abouts] == ["FAKE H100"]
    locks = {file.name for file in (place.folder / "locks").iterdir()}
    assert "GPU-46414b45-2d47-5055-2d55-5549442d3136.lock" in locks

    # The same store on a machine with another GPU: nothing built for the first is taken for it.
    moved = place.json(*SMOKE, "--precision", "fp32", "--backend", "tensorrt", **children("name:L4", "capability:8.9"))
    redone = {s["name"] for s in moved["stages"] if not s["cached"] and s["backend"] == "tensorrt"}
    assert redone == {"engine", "benchmark", "accuracy"}
    assert {row["device"] for row in moved["rows"] if row["backend"] == "tensorrt"} == {"FAKE L4"}


def test_a_gpu_that_is_too_old_is_named_in_the_row(copied: Callable[[], Place]) -> None:
    maxwell = children("name:M40", "capability:5.2")
    old = copied().json(*SMOKE, "--precision", "int8", "--backend", "tensorrt", **maxwell)
    row = next(row for row in old["rows"] if row["backend"] == "tensorrt")
    assert row["verdict"] == "unsupported" and "this GPU has 5.2 (Maxwell)" in row["reason"]


def test_each_fault_fails_its_branch_alone_and_says_why(copied: Callable[[], Place]) -> None:
    """A timing cache of another GPU fails nothing: the first build begins it anew."""
    place, caches = copied(), {"version": "11.4.0.106", "device": "FAKE H100", "capability": "9.0"}
    cache = cache_file(place.store / "cache" / "tensorrt", {**caches, "driver": "580.95.05"})
    cache.parent.mkdir(parents=True)
    cache.write_text(json.dumps({"of": {**caches, "device": "FAKE L4"}, "tactics": {}}))
    faults = children("no_room:tf32", "parser:fp16", "context_none:bf16", "refuse:int8")
    failed = place.json(*SMOKE, *CHOSEN, "--backend", "tensorrt", code=1, **faults)
    rows = {row["precision"]: row for row in failed["rows"] if row["backend"] == "tensorrt"}
    assert rows["fp32"]["accuracy"] is not None and rows["fp32"]["images_per_second"] > 0
    for precision, says in {
        "tf32": "makes no plan of .*OutOfMemory .*Raise engine.workspace_mebibytes",
        "fp16": r"cannot parse .* for fp16: node 3 \(Slice\): told to refuse it",
        "bf16": "makes no execution context for bf16 plan .*the GPU has no room left",
        "int8": "refuses int8 plan .*not compatible with this device; build it here",
    }.items():
        assert re.search(says, rows[precision]["reason"]), rows[precision]["reason"]
        assert rows[precision]["accuracy"] is None
    logs = [file.read_text() for file in place.store.joinpath("attempts").glob("*-engine-*/log.txt")]
    assert any("[TensorRT ERROR] node 3 (Slice): told to refuse it" in log for log in logs)
    assert json.loads(cache.read_text())["of"]["device"] == "FAKE H100"
