"""The resumable state of an unfinished training: one safetensors file with its digest in it, replaced atomically."""

import hashlib
import json
import logging
import os
import shutil
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from timm.utils import ModelEmaV3
from torch import Tensor

from cxr_core.training.network import Classifier

_FILE = "state.safetensors"
_log = logging.getLogger("cxr.training")


@dataclass
class Trainer:
    """Everything that changes while training, and so everything that a resume must restore."""

    model: Classifier
    ema: ModelEmaV3
    optimizer: torch.optim.Optimizer
    scaler: torch.amp.GradScaler
    amp: str
    micro_batch: int
    step: int = 0
    history: list[dict[str, float]] = field(default_factory=list)


def save(trainer: Trainer, work: Path) -> None:
    """Write the state so that a kill at any instant leaves the old one or the new one."""
    tensors = {f"model.{name}": value for name, value in trainer.model.state_dict().items()}
    tensors |= {f"ema.{name}": value for name, value in trainer.ema.module.state_dict().items()}
    for index, slots in trainer.optimizer.state_dict()["state"].items():
        tensors |= {f"optimizer.{index}.{slot}": value for slot, value in slots.items()}
    tensors = {name: value.detach().cpu().contiguous() for name, value in tensors.items()}
    about = json.dumps(
        {
            "step": trainer.step,
            "amp": trainer.amp,
            "micro_batch": trainer.micro_batch,
            "history": trainer.history,
            "scaler": trainer.scaler.state_dict(),
        }
    )
    temporary = work / f"{_FILE}.{os.getpid()}"
    save_file(tensors, temporary, {"about": about, "digest": _digest(tensors, about)})
    with temporary.open("rb") as handle:
        os.fsync(handle.fileno())
    temporary.replace(work / _FILE)


def restore(trainer: Trainer, work: Path) -> None:
    """Take up where the last saved state left off; without one, or where it is damaged, change nothing."""
    path = work / _FILE
    if not os.path.lexists(path):
        return
    try:
        about, tensors = _read(path)
    except (SafetensorError, OSError, ValueError, KeyError, TypeError) as error:
        _log.warning("%s is damaged (%s): it is removed, and training begins anew", path, error)
        path.unlink() if path.is_symlink() or not path.is_dir() else shutil.rmtree(path)
        return
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
    trainer.micro_batch = about["micro_batch"]


def _read(path: Path) -> tuple[dict[str, Any], dict[str, Tensor]]:
    if path.is_symlink() or not path.is_file():
        raise ValueError("no regular file")
    with safe_open(path, "pt") as file:
        found = file.metadata()
        tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 (no mapping)
    if _digest(tensors, found["about"]) != found["digest"]:
        raise ValueError("it does not have its digest")
    return json.loads(found["about"]), tensors


def _digest(tensors: dict[str, Tensor], about: str) -> str:
    found = hashlib.sha256(f"{about}\n".encode())
    for name, value in sorted(tensors.items()):
        found.update(f"{name} {value.dtype} {tuple(value.shape)}\n".encode())
        found.update(value.reshape(-1).view(torch.uint8).numpy().data)
    return found.hexdigest()


def _under(tensors: dict[str, Tensor], prefix: str) -> dict[str, Tensor]:
    return {name.removeprefix(prefix): value for name, value in tensors.items() if name.startswith(prefix)}
