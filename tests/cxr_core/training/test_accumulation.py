"""Micro-batches: the same gradients as the whole batch, a stated rule for BatchNorm, and the loop with them."""

from pathlib import Path

import pytest
import torch
from pydantic import ValidationError
from torch import Tensor, nn

from cxr_core.config import TrainConfig
from cxr_core.errors import MachineError
from cxr_core.training import loop, machine
from cxr_core.training.accumulation import accumulate, largest, sizes, slow_running_statistics
from cxr_core.training.checkpoint import read_checkpoint
from cxr_core.training.loop import train

CONFIG = TrainConfig(images=640, batch=16, amp="none", threads=1, drop_rate=0.0)


def _run(tensors: Path, folder: Path, **changes: object) -> dict[str, object]:
    (folder / "out").mkdir(parents=True)
    (folder / "work").mkdir()
    config = TrainConfig.model_validate({**CONFIG.model_dump(), **changes})
    return train(tensors=tensors, out=folder / "out", work=folder / "work", config=config, cache=folder / "cache")  # type: ignore[return-value]


def _losses(folder: Path) -> list[float]:
    rows = (folder / "out" / "checkpoint" / "history.csv").read_text().splitlines()[1:]
    return [float(row.split(",")[2]) for row in rows]


def test_sizes_are_even_divisors_and_the_largest_that_fits_is_taken() -> None:
    assert sizes(32) == [32, 16, 8, 4, 2]
    assert sizes(12) == [12, 6, 4, 2]
    assert largest(32, lambda size: size <= 9) == 8
    assert largest(32, lambda size: False) == 2
    with pytest.raises(ValidationError, match="must divide batch = 32; found 10"):
        TrainConfig(micro_batch=10)


@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float64, 1e-13), (torch.float32, 1e-5)])
@pytest.mark.parametrize("parts", [2, 4, 8])
def test_gradients_are_those_of_the_whole_batch(dtype: torch.dtype, tolerance: float, parts: int) -> None:
    """Both sum the same terms in another order, so they differ by rounding: some tens of units of it (1.1e-16, 6e-8),
    here relative to the whole gradient's norm. A wrong scale or a lost image would be tenths."""
    torch.manual_seed(0)
    model = nn.Sequential(
        nn.Conv2d(1, 8, 3), nn.GroupNorm(2, 8), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(8, 2)
    ).to(dtype)
    pixels, wanted = torch.randn(16, 1, 12, 12, dtype=dtype), torch.tensor([0] * 8 + [1] * 8)
    criterion = nn.CrossEntropyLoss(label_smoothing=0.05)
    scaler = torch.amp.GradScaler("cpu", enabled=False)

    def gradient(parts: int) -> tuple[Tensor, Tensor]:
        model.zero_grad()
        loss = accumulate(lambda some, labels: criterion(model(some), labels), pixels, wanted, parts, scaler)
        return loss, torch.cat([p.grad.flatten() for p in model.parameters() if p.grad is not None])

    (loss, whole), (same_loss, cut) = gradient(1), gradient(parts)
    assert torch.linalg.vector_norm(cut - whole) <= tolerance * torch.linalg.vector_norm(whole)
    assert abs(loss - same_loss) <= tolerance * abs(loss)


def test_gradients_for_fp16_are_scaled_part_by_part() -> None:
    """By a power of two, which float32 loses nothing by."""
    pixels, wanted = torch.arange(8.0)[:, None], torch.zeros(8)
    weight = torch.ones(1, requires_grad=True)
    scaler = torch.amp.GradScaler("cpu", init_scale=1024.0)
    loss = accumulate(lambda some, labels: (some * weight).mean(), pixels, wanted, 4, scaler)
    assert (float(loss), weight.grad) == (3.5, torch.tensor([3.5 * 1024]))


def test_each_part_has_half_of_both_classes() -> None:
    seen = []

    def loss_of(pixels: Tensor, wanted: Tensor) -> Tensor:
        seen.append(wanted.tolist())
        return pixels.sum().requires_grad_()

    accumulate(
        loss_of, torch.ones(12, 1), torch.tensor([0] * 6 + [1] * 6), 3, torch.amp.GradScaler("cpu", enabled=False)
    )
    assert seen == [[0, 0, 1, 1]] * 3


def test_batch_norm_forgets_as_much_in_a_step_as_with_the_whole_batch() -> None:
    """Every part with the same mean and variance: then the running statistics must be the whole batch's exactly,
    but for the correction n / (n - 1) of the variance, whose n is smaller; rounding is of float32."""
    torch.manual_seed(0)
    part = torch.randn(8, 3, 4, 4) * 2 + 5
    whole, cut = nn.BatchNorm2d(3), nn.Sequential(nn.BatchNorm2d(3))
    whole(part.repeat(4, 1, 1, 1))
    slow_running_statistics(cut, 4)
    for _ in range(4):
        cut(part)
    running = cut[0]
    assert torch.allclose(running.running_mean, whole.running_mean, rtol=1e-5)
    variance = part.var((0, 2, 3), correction=0)
    forgotten = {n: 0.9 + 0.1 * variance * n / (n - 1) for n in (4 * 8 * 16, 8 * 16)}
    assert torch.allclose(whole.running_var, forgotten[512], rtol=1e-5)
    assert torch.allclose(running.running_var, forgotten[128], rtol=1e-5)


def test_training_without_batch_norm_goes_the_same_way(tensors: Path, tmp_path: Path) -> None:
    """Weights drift apart: Adam divides by the gradient's size, so that rounding decides where there is next to no
    gradient. What is promised is the gradient above; here, that the loop uses it: over six steps losses agree to a
    thousandth, while a loop that left the division out would multiply them by four."""
    model = "convnext_zepto_rms"
    whole = _run(tensors, tmp_path / "whole", model=model, images=96)
    cut = _run(tensors, tmp_path / "cut", model=model, images=96, micro_batch=4)
    assert (whole["micro_batch"], cut["micro_batch"]) == (16, 4)
    assert _losses(tmp_path / "cut") == pytest.approx(_losses(tmp_path / "whole"), rel=1e-3)


def test_training_with_batch_norm_learns_in_micro_batches_and_says_what_ran(tensors: Path, tmp_path: Path) -> None:
    facts = _run(tensors, tmp_path, images=320, micro_batch=4)
    assert facts["micro_batch"] == 4
    assert facts["auc"] > 0.9  # type: ignore[operator]
    assert facts["deterministic"] is True
    convolutions = facts["convolutions"]
    assert isinstance(convolutions, dict)
    assert set(convolutions) == {"float32 channels_last"}


def test_bf16_that_was_asked_for_is_read_back(tensors: Path, tmp_path: Path) -> None:
    facts = _run(tensors, tmp_path, images=16, amp="bf16")
    assert set(facts["convolutions"]) == {"bfloat16 channels_last"}  # type: ignore[call-overload]


def test_memory_that_runs_out_later_says_what_to_set(
    tensors: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def out_of_memory(*arguments: object) -> Tensor:
        raise torch.OutOfMemoryError("HIP out of memory")

    monkeypatch.setattr(loop, "accumulate", out_of_memory)
    with pytest.raises(MachineError, match=r"not suffice for 4 images at once .*; set train.micro_batch to less"):
        _run(tensors, tmp_path, micro_batch=4)


def test_the_loop_on_an_amd_card_but_for_the_card(
    tensors: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The device query is doubled, the arithmetic is the CPU's: layout and record are those of the card."""
    for name in ("MIOPEN_FIND_MODE", "MIOPEN_USER_DB_PATH", "MIOPEN_CUSTOM_CACHE_DIR"):
        monkeypatch.setenv(name, "")  # so that they are put back
        monkeypatch.delenv(name)
    for name in ("PYTORCH_MIOPEN_SUGGEST_NHWC", "PYTORCH_MIOPEN_SUGGEST_NHWC_BATCHNORM"):
        monkeypatch.setenv(name, "0")
    monkeypatch.setattr(machine, "target", lambda device: "gfx1030")
    facts = _run(tensors, tmp_path / "one", images=32)
    _run(tensors, tmp_path / "two", images=32)
    assert set(facts["convolutions"]) == {"float32 contiguous"}  # type: ignore[call-overload]
    assert (facts["architecture"], facts["family"]) == ("gfx1030", "RDNA2")
    assert (tmp_path / "one" / "cache" / "database").is_dir()
    digests = {read_checkpoint(tmp_path / name / "out" / "checkpoint").weights_digest for name in ("one", "two")}
    assert len(digests) == 1
