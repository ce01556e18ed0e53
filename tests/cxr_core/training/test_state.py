"""A damaged state is never taken up: training begins anew, and says so."""

import logging
import os
import random
import sys
from pathlib import Path

import pytest
import torch
from timm.utils import ModelEmaV3

from cxr_core.training.state import Trainer, restore, save

FILE = "state.safetensors"


def trainer(steps: int) -> Trainer:
    torch.manual_seed(0)
    model = torch.nn.Linear(4, 2)
    optimizer = torch.optim.AdamW(model.parameters())
    made = Trainer(model, ModelEmaV3(model), optimizer, torch.amp.GradScaler("cpu", enabled=False), "off", 4)  # type: ignore[arg-type]
    for _ in range(steps):
        model(torch.ones(1, 4)).sum().backward()
        optimizer.step()
        made.step += 1
        made.history.append({"loss": 0.5})
    return made


def state(made: Trainer) -> str:
    slots = [sorted(slot.items()) for _, slot in sorted(made.optimizer.state_dict()["state"].items())]
    return repr((made.step, made.amp, made.micro_batch, made.history, made.model.state_dict(), slots))


def test_a_state_comes_back(tmp_path: Path) -> None:
    save(trainer(3), tmp_path)
    fresh = trainer(0)
    restore(fresh, tmp_path)
    assert state(fresh) == state(trainer(3))
    assert [path.name for path in tmp_path.iterdir()] == [FILE]


def test_any_damage_is_found(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    save(trainer(3), tmp_path)
    path, seed = tmp_path / FILE, int(os.environ.get("CXR_CORRUPTION_SEED") or random.SystemRandom().randrange(2**31))
    good, chosen = path.read_bytes(), random.Random(seed)
    bits = chosen.sample(range(8 * len(good)), 150)
    cuts = [0, 1, 7, 8, len(good) - 1, *chosen.sample(range(len(good)), 20)]
    spoilt = [bytes(byte ^ (at // 8 == i) << at % 8 for i, byte in enumerate(good)) for at in bits]
    for data in [*spoilt, *(good[:length] for length in cuts), good + b"x"]:
        path.write_bytes(data)
        fresh = trainer(0)
        restore(fresh, tmp_path)
        if path.exists():  # such as a blank in the header: what is read is what was written
            assert state(fresh) == state(trainer(3))
        else:
            assert state(fresh) == state(trainer(0))
            assert "training begins anew" in caplog.text
        caplog.clear()
    sys.stdout.write(f"CXR_CORRUPTION_SEED={seed}: {len(bits)} bits, {len(cuts)} cuts of a state\n")


@pytest.mark.parametrize("what", ["folder", "pipe", "symlink"])
def test_something_else_in_its_place(tmp_path: Path, what: str, caplog: pytest.LogCaptureFixture) -> None:
    mine, path = tmp_path / "mine", tmp_path / FILE
    mine.write_text("mine")
    {"folder": path.mkdir, "pipe": lambda: os.mkfifo(path), "symlink": lambda: path.symlink_to(mine)}[what]()  # type: ignore[operator]
    with caplog.at_level(logging.WARNING):
        fresh = trainer(0)
        restore(fresh, tmp_path)
    assert "no regular file" in caplog.text and state(fresh) == state(trainer(0))
    save(trainer(1), tmp_path)
    assert mine.read_text() == "mine"
