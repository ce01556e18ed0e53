"""The resumable state of an unfinished training: one safetensors file, replaced atomically."""

import json
import os
from dataclasses import dataclass, field
from pathlib import Path

import torch
from safetensors import safe_open
from safetensors.torch import save_file
from timm.utils import ModelEmaV3
from torch import Tensor

from cxr_core.training.network import Classifier

_FILE = "state.safetensors"


@dataclass
class Trainer:
    """Everything that changes while training, and so everything that a resume must restore."""

    model: Classifier
    ema: ModelEmaV3
    optimizer: torch.optim.Optimizer
    scaler: torch.amp.GradScaler
    amp: str
    step: int = 0
    history: list[dict[str, float]] = field(default_factory=list)


def save(trainer: Trainer, work: Path) -> None:
    """Write the state so that a kill at any instant leaves the old one or the new one."""
    tensors = {f"model.{name}": value for name, value in trainer.model.state_dict().items()}
    tensors |= {f"ema.{name}": value for name, value in trainer.ema.module.state_dict().items()}
    for index, slots in trainer.optimizer.state_dict()["state"].items():
        tensors |= {f"optimizer.{index}.{slot}": value for slot, value in slots.items()}
    about = {
        "step": trainer.step,
        "amp": trainer.amp,
        "history": trainer.history,
        "scaler": trainer.scaler.state_dict(),
    }
    temporary = work / f"{_FILE}.{os.getpid()}"
    save_file({n: v.detach().cpu().contiguous() for n, v in tensors.items()}, temporary, {"about": json.dumps(about)})
    with temporary.open("rb") as handle:
        os.fsync(handle.fileno())
    temporary.replace(work / _FILE)


def restore(trainer: Trainer, work: Path) -> None:
    """Take up where the last saved state left off; without one, change nothing."""
    path = work / _FILE
    if not path.exists():
        return
    with safe_open(path, "pt") as file:
        about = json.loads(file.metadata()["about"])
        tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 (no mapping)
    trainer.model.load_state_dict(_under(tensors, "model."))
    trainer.ema.module.load_state_dict(_under(tensors, "ema."))
    slots: dict[int, dict[str, Tensor]] = {}
    for name, value in _under(tensors, "optimizer.").items():
        index, slot = name.split(".", 1)
        slots.setdefault(int(index), {})[slot] = value
    groups = trainer.optimizer.state_dict()["param_groups"]
    trainer.optimizer.load_state_dict({"state": slots, "param_groups": groups})
    if about["scaler"]:
        trainer.scaler.load_state_dict(about["scaler"])
    trainer.step, trainer.amp, trainer.history = about["step"], about["amp"], about["history"]


def _under(tensors: dict[str, Tensor], prefix: str) -> dict[str, Tensor]:
    return {name.removeprefix(prefix): value for name, value in tensors.items() if name.startswith(prefix)}
