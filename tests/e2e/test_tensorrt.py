"""The whole flow with ``backend: tensorrt``, over the doubles of NVIDIA's libraries."""

import json
from collections.abc import Callable

import pytest

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


def test_a_gpu_that_is_too_old_is_named_in_the_row_and_a_failed_build_fails_its_branch_alone(
    copied: Callable[[], Place],
) -> None:
    place = copied()
    maxwell = children("name:M40", "capability:5.2")
    old = place.json(*SMOKE, "--precision", "int8", "--backend", "tensorrt", **maxwell)
    row = next(row for row in old["rows"] if row["backend"] == "tensorrt")
    assert row["verdict"] == "unsupported" and "this GPU has 5.2 (Maxwell)" in row["reason"]

    failed = place.json(
        *SMOKE,
        "--precision",
        "fp32",
        "--backend",
        "tensorrt",
        "--backend",
        "openvino",
        code=1,
        **children("name:A100", "capability:8.0", "build_none"),
    )
    rows = {row["backend"]: row for row in failed["rows"]}
    assert (
        "Could not find any implementation" in rows["tensorrt"]["reason"] and rows["openvino"]["accuracy"] is not None
    )
    log = next(place.store.joinpath("attempts").glob("*-engine-*/log.txt")).read_text()
    assert "[TensorRT ERROR] Error Code 10" in log
