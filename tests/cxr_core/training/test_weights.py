"""Weights that people bring: what fits is taken, what does not is refused by name."""

import hashlib
import os
import pickle
import subprocess
import sys
from pathlib import Path

import pytest
import timm
import torch
from safetensors.torch import save_file

from cxr_core.config import TrainConfig
from cxr_core.errors import ModelError
from cxr_core.training.adopt import adopt_weights
from cxr_core.training.checkpoint import load_checkpoint
from cxr_core.training.network import create_backbone
from cxr_core.training.weights import read_weights


def _small() -> torch.nn.Module:
    torch.manual_seed(7)
    return create_backbone("cxr_small", "none", 0.0)


def test_safetensors_and_pt_enter_alike(tensors: Path, tmp_path: Path) -> None:
    model = _small()
    save_file(model.state_dict(), tmp_path / "w.safetensors")
    torch.save({"state_dict": {f"module.{n}": v for n, v in model.state_dict().items()}}, tmp_path / "w.pt")
    digests = set()
    for name in ("w.safetensors", "w.pt"):
        out = tmp_path / f"out-{name}"
        out.mkdir()
        adopt_weights(weights=tmp_path / name, tensors=tensors, out=out, config=TrainConfig(threads=1))
        digests.add(load_checkpoint(out / "checkpoint")[1].weights_digest)
    assert len(digests) == 1


def test_weights_of_another_model_are_refused(tensors: Path, tmp_path: Path) -> None:
    save_file(timm.create_model("resnet10t", in_chans=1, num_classes=2).state_dict(), tmp_path / "w.safetensors")
    with pytest.raises(ModelError, match="name the model these weights are of"):
        adopt_weights(weights=tmp_path / "w.safetensors", tensors=tensors, out=tmp_path, config=TrainConfig(threads=1))


class _Payload:
    def __reduce__(self) -> tuple[object, tuple[str]]:
        return (Path.touch, (Path("/tmp/never"),))  # type: ignore[return-value]


@pytest.mark.parametrize("content", [b"", b"no weights at all", pickle.dumps({"a": 1}, 2), pickle.dumps(_Payload(), 2)])
def test_what_is_no_state_dict_is_refused_and_nothing_in_it_runs(tmp_path: Path, content: bytes) -> None:
    file = tmp_path / "w.pt"
    file.write_bytes(content)
    with pytest.raises(ModelError):
        read_weights(file)
    assert not Path("/tmp/never").exists()


def test_pretrained_files_are_named_by_digest(tmp_path: Path) -> None:
    rgb = timm.create_model("resnet10t", in_chans=3, num_classes=1000)
    file = tmp_path / "rgb.safetensors"
    save_file(rgb.state_dict(), file)
    digest = hashlib.sha256(file.read_bytes()).hexdigest()
    taken = create_backbone("resnet10t", f"{file}@sha256:{digest}", 0.0)
    stem = "conv1.0.weight"
    assert torch.equal(taken.state_dict()[stem], rgb.state_dict()[stem].sum(1, keepdim=True))
    with pytest.raises(ModelError, match="the profile names"):
        create_backbone("resnet10t", f"{file}@sha256:{'0' * 64}", 0.0)
    with pytest.raises(ModelError, match="FILE@sha256:DIGEST"):
        create_backbone("resnet10t", str(file), 0.0)


def test_the_hub_cannot_be_reached_offline() -> None:
    program = """
from cxr_core.errors import MachineError
from cxr_core.training.network import create_backbone
try:
    create_backbone("resnet10t", "hub", 0.0)
except MachineError as error:
    print(error)
"""
    environment = {**os.environ, "HF_HUB_OFFLINE": "1", "HF_HOME": "/nowhere"}
    done = subprocess.run([sys.executable, "-c", program], env=environment, capture_output=True, text=True, check=False)
    assert "name a local file as FILE@sha256:DIGEST" in done.stdout, done.stderr[-2000:]
