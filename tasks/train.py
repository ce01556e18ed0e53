"""train: a timm classifier from the frozen tensors, or weights that the user brings."""

import os
from collections.abc import Iterator
from pathlib import Path

from pydantic import JsonValue

from cxr_core.config import TrainConfig
from cxr_core.refs import Record, Ref
from cxr_core.training import rocm
from tasks.place import store_root
from tasks.stage import Arguments, Unkeyed, stage

_PACKAGES = ("torch", "timm", "numpy", "scipy", "scikit-learn", "safetensors")


def _machine(arguments: Arguments) -> dict[str, JsonValue]:
    """Sums are rounded in an order that thread count and GPU decide, so both are part of the key."""
    config: TrainConfig = arguments["config"]
    threads = config.threads or len(os.sched_getaffinity(0))
    return {"threads": threads, "gpus": list(_gpus()), **rocm.changed()}


def _gpus() -> Iterator[str]:
    """The cards as their drivers name them; torch would take seconds to say the same."""
    for file in sorted(Path("/proc/driver/nvidia/gpus").glob("*/information")):
        yield file.read_text(encoding="utf-8").splitlines()[0]
    for card in rocm.cards():
        yield f"{card.target}, {card.memory} bytes"


@stage(
    "train", core="cxr_core.training.loop:train", packages=_PACKAGES, machine=_machine, resumable=True, shown_every=1.0
)
def train(frozen: Record, config: TrainConfig, filter: str) -> Arguments:
    return {
        "tensors": frozen.output("tensors"),
        "config": config,
        "filter": filter,
        # What MIOpen finds for this card and keeps for later trainings; it names its files by card and version.
        "cache": Unkeyed(store_root() / "cache" / "miopen"),
    }


@stage("train", core="cxr_core.training.adopt:adopt_weights", packages=_PACKAGES, machine=_machine)
def adopt_weights(weights: Ref, frozen: Record, config: TrainConfig, filter: str) -> Arguments:
    return {
        "weights": weights,
        "tensors": frozen.output("tensors"),
        "config": config,
        "filter": filter,
    }
