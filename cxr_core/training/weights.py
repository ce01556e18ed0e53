"""Weights from files that other people made: safetensors, or ``.pt`` read without unpickling code."""

import hashlib
import pickle
from pathlib import Path

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor, nn

from cxr_core.errors import ModelError

_TORCH = (".pt", ".pth", ".bin")


def read_weights(path: Path) -> dict[str, Tensor]:
    """A state dict from a ``.safetensors`` or ``.pt``/``.pth`` file.

    Raises:
        ModelError: no such file, another format, or a file that holds more than tensors.
    """
    if not path.is_file():
        raise ModelError(f"no weights file at {path}; expected a .safetensors or .pt file")
    try:
        state = torch.load(path, "cpu", weights_only=True) if path.suffix in _TORCH else load_file(path)
    except (SafetensorError, pickle.UnpicklingError, RuntimeError, EOFError, ValueError) as error:
        raise ModelError(
            f"{path} cannot be read as weights ({error}); "
            "save the state dict alone, best with safetensors.torch.save_file(model.state_dict(), ...)"
        ) from error
    for wrapper in ("state_dict_ema", "state_dict", "model"):
        if isinstance(state, dict) and isinstance(state.get(wrapper), dict):
            state = state[wrapper]
    if not isinstance(state, dict) or not all(isinstance(v, Tensor) for v in state.values()):
        raise ModelError(f"{path} holds no state dict (a mapping of names to tensors)")
    return {name.removeprefix("module.").removeprefix("backbone."): value for name, value in state.items()}


def fit_weights(backbone: nn.Module, state: dict[str, Tensor], source: str, *, skip_head: bool = False) -> None:
    """Load ``state`` into ``backbone``; RGB stems are summed to one channel.

    With ``skip_head`` tensors of another shape (a head for other classes) are left as initialised.

    Raises:
        ModelError: names or shapes that do not fit, with the first few of each kind.
    """
    own = backbone.state_dict()
    adapted = {name: _one_channel(value, own.get(name)) for name, value in state.items()}
    if skip_head:
        head = {n for n, v in adapted.items() if n in own and own[n].shape != v.shape}
        adapted = {n: v for n, v in adapted.items() if n in own and n not in head}
        if not adapted:
            raise ModelError(f"{source} shares no tensor with this model; are these weights of another model?")
        backbone.load_state_dict(adapted, strict=False)
        return
    missing = sorted(own.keys() - adapted.keys())
    surplus = sorted(adapted.keys() - own.keys())
    shapes = [
        f"{n} {tuple(adapted[n].shape)} not {tuple(v.shape)}"
        for n, v in own.items()
        if n in adapted and adapted[n].shape != v.shape
    ]
    if missing or surplus or shapes:
        found = "; ".join(
            f"{what}: {', '.join(names[:3])}{' …' if len(names) > 3 else ''}"
            for what, names in (("missing", missing), ("not known", surplus), ("shape", shapes))
            if names
        )
        raise ModelError(
            f"{source} does not fit the model ({found}); name the model these weights are of: --model NAME"
        )
    backbone.load_state_dict(adapted)


def load_pretrained(backbone: nn.Module, pretrained: str) -> None:
    """Start from a local file named ``FILE@sha256:DIGEST``; the head may differ.

    Raises:
        ModelError: not of that form, another digest, or weights that do not fit.
    """
    file, found, expected = pretrained.rpartition("@sha256:")
    if not found:
        raise ModelError(f"pretrained: {pretrained!r} is not none, hub or FILE@sha256:DIGEST")
    path = Path(file)
    if not path.is_file():
        raise ModelError(f"no pretrained weights at {path}")
    actual = hashlib.sha256(path.read_bytes()).hexdigest()
    if actual != expected:
        raise ModelError(f"{path} has sha256 {actual}, the profile names {expected}; name the file you mean")
    fit_weights(backbone, read_weights(path), str(path), skip_head=True)


def _one_channel(value: Tensor, own: Tensor | None) -> Tensor:
    if own is None or value.ndim != 4 or own.ndim != 4 or value.shape[1] != 3 or own.shape[1] != 1:
        return value
    return value.sum(1, keepdim=True)
