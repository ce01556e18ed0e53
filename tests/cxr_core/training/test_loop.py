"""Training: it learns, it is repeatable, and a killed run resumes to the very same weights."""

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch

from cxr_core.config import TrainConfig
from cxr_core.errors import MachineError, ModelError
from cxr_core.training.checkpoint import load_checkpoint, read_checkpoint
from cxr_core.training.loop import train

CONFIG = TrainConfig(images=640, batch=16, amp="none", threads=1, checkpoint_images=160)


def _train(tensors: Path, folder: Path, config: TrainConfig = CONFIG) -> dict[str, object]:
    out, work = folder / "out", folder / "work"
    out.mkdir(parents=True)
    work.mkdir(exist_ok=True)
    return train(tensors=tensors, out=out, work=work, config=config)  # type: ignore[return-value]


def _weights(folder: Path) -> str:
    return read_checkpoint(folder / "out" / "checkpoint").weights_digest


@pytest.fixture(scope="module")
def unbroken(tensors: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("unbroken")
    _train(tensors, folder)
    return folder


def test_it_learns_and_leaves_a_checkpoint_that_loads(unbroken: Path) -> None:
    checkpoint = read_checkpoint(unbroken / "out" / "checkpoint")
    assert checkpoint.validation["auc"] > 0.9  # type: ignore[operator]
    assert 0 < checkpoint.threshold < 1
    assert checkpoint.images_seen == 640
    model, _ = load_checkpoint(unbroken / "out" / "checkpoint")
    assert model(torch.full((3, 1, 32, 32), 99.0)).shape == (3, 2)
    rows = (unbroken / "out" / "checkpoint" / "history.csv").read_text().splitlines()
    assert rows[0] == "step,images,loss,learning_rate"
    assert rows[-1].startswith("40,640,")


def test_the_same_seed_gives_the_same_weights_and_another_seed_others(
    tensors: Path, unbroken: Path, tmp_path: Path
) -> None:
    _train(tensors, tmp_path / "again")
    _train(tensors, tmp_path / "other", CONFIG.model_copy(update={"seed": 1}))
    assert _weights(tmp_path / "again") == _weights(unbroken)
    assert _weights(tmp_path / "other") != _weights(unbroken)


def test_a_killed_run_resumes_to_the_same_weights(tensors: Path, unbroken: Path, tmp_path: Path) -> None:
    (tmp_path / "out").mkdir()
    (tmp_path / "work").mkdir()
    program = f"""
from pathlib import Path
from cxr_core.config import TrainConfig
from cxr_core.training import loop, state
saved, count = state.save, 0
def save(trainer, work):
    global count
    saved(trainer, work)
    count += 1
    if count == 1:
        import os, signal
        os.kill(os.getpid(), signal.SIGKILL)
state.save = save
loop.train(tensors=Path({str(tensors)!r}), out=Path({str(tmp_path / "out")!r}), work=Path({str(tmp_path / "work")!r}),
           config=TrainConfig.model_validate_json({CONFIG.model_dump_json()!r}))
"""
    ended = subprocess.run([sys.executable, "-c", program], check=False)
    assert ended.returncode == -signal.SIGKILL
    assert not list((tmp_path / "out").iterdir())
    (tmp_path / "out").rmdir()
    facts = _train(tensors, tmp_path)
    assert facts["resumed_at_step"] == 20
    assert _weights(tmp_path) == _weights(unbroken)
    history = (tmp_path / "out" / "checkpoint" / "history.csv").read_text()
    assert history == (unbroken / "out" / "checkpoint" / "history.csv").read_text()


@pytest.mark.slow
@pytest.mark.parametrize("after", [0.5, 1.5, 3.0])
def test_a_kill_at_any_time_is_no_loss(tensors: Path, unbroken: Path, tmp_path: Path, after: float) -> None:
    (tmp_path / "out").mkdir()
    (tmp_path / "work").mkdir()
    request = {
        "function": "cxr_core.training.loop:train",
        "purpose": "train",
        "devices": [],
        "arguments": {
            "tensors": str(tensors),
            "out": str(tmp_path / "out"),
            "work": str(tmp_path / "work"),
            "config": json.loads(CONFIG.model_copy(update={"checkpoint_images": 16}).model_dump_json()),
        },
    }
    child = subprocess.Popen([sys.executable, "-m", "cxr_core.child"], stdin=subprocess.PIPE, stdout=subprocess.DEVNULL)
    assert child.stdin
    child.stdin.write(json.dumps(request).encode() + b"\n")
    child.stdin.flush()
    for _ in range(600):
        if (tmp_path / "work" / "state.safetensors").exists() or child.poll() is not None:
            break
        time.sleep(0.05)
    time.sleep(after / 3)
    os.kill(child.pid, signal.SIGKILL)
    child.wait()
    child.stdin.close()
    shutil.rmtree(tmp_path / "out")  # scratch, which the store never sees unless the stage ends well
    _train(tensors, tmp_path)
    assert _weights(tmp_path) == _weights(unbroken)


@pytest.mark.parametrize("model", ["tf_efficientnet_b0"])
def test_a_timm_model_trains_through_the_same_code(tensors: Path, tmp_path: Path, model: str) -> None:
    facts = _train(tensors, tmp_path, CONFIG.model_copy(update={"model": model, "images": 64}))
    assert facts["images_seen"] == 64


@pytest.mark.slow
def test_b4_trains_through_the_same_code(tensors: Path, tmp_path: Path) -> None:
    facts = _train(
        tensors, tmp_path, CONFIG.model_copy(update={"model": "tf_efficientnet_b4.ns_jft_in1k", "images": 64})
    )
    assert facts["parameters"] > 17_000_000  # type: ignore[operator]


def test_an_unknown_model_names_near_ones(tensors: Path, tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="tf_efficientnet_b0"):
        _train(tensors, tmp_path, CONFIG.model_copy(update={"model": "tf_efficientnet_b99"}))


@pytest.mark.skipif(torch.cuda.is_available(), reason="this machine has a GPU")
def test_a_gpu_that_is_not_there_is_refused(tensors: Path, tmp_path: Path) -> None:
    with pytest.raises(MachineError, match="sees no GPU"):
        _train(tensors, tmp_path, CONFIG.model_copy(update={"device": "cuda"}))
