"""The four stage functions as a run calls them: in a child process, with JSON arguments."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from cxr_core.child import run_child
from cxr_core.errors import DataError


@pytest.fixture
def call(tmp_path: Path) -> Callable[..., dict[str, Any]]:
    def run(stage: str, **arguments: Any) -> dict[str, Any]:
        out = tmp_path / stage
        out.mkdir(exist_ok=True)
        arguments = {k: str(v) if isinstance(v, Path) else v for k, v in arguments.items()} | {"out": str(out)}
        done = run_child(f"cxr_core.data.{stage}:{stage}", arguments, purpose=stage, log=tmp_path / "log", devices=())
        return dict(done.facts)

    return run


def test_every_stage_takes_json_and_leaves_its_artifacts(
    published: Path, tmp_path: Path, call: Callable[..., dict[str, Any]]
) -> None:
    facts = [call("ingest", folder=published, config={})]
    manifest, thumbs = tmp_path / "ingest/manifest.csv", tmp_path / "ingest/thumbs.npy"
    facts.append(call("split", manifest=manifest, thumbs=thumbs, config={"seed": 3}))
    facts.append(
        call(
            "tensors",
            folder=published,
            manifest=manifest,
            split=tmp_path / "split/split.csv",
            config={"size": 32},
            data={},
        )
    )
    facts.append(call("calibration", tensors=tmp_path / "tensors/tensors", config={"images": 16}))
    left = {
        stage: sorted(p.name for p in (tmp_path / stage).iterdir())
        for stage in ("ingest", "split", "tensors", "calibration")
    }
    assert left == {
        "ingest": ["manifest.csv", "quarantine.csv", "thumbs.npy"],
        "split": ["shortcuts.json", "split.csv", "warnings.json"],
        "tensors": ["tensors"],
        "calibration": ["calibration.csv", "calibration.npy", "held_back.csv", "held_back.npy"],
    }
    assert str(tmp_path) not in json.dumps(facts)


def test_an_error_keeps_its_class_and_message(tmp_path: Path, call: Callable[..., dict[str, Any]]) -> None:
    with pytest.raises(DataError, match="expected a folder of radiographs"):
        call("ingest", folder=tmp_path / "none", config={})
