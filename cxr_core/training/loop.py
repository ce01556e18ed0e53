"""The training program, top to bottom.

The budget is counted in images, every random choice is a function of (seed, step), and the
schedule is counted in steps: so a run that is killed and resumed ends with the weights of an
unbroken one. The last EMA weights are the result; nothing is chosen along the way.
"""

import copy
import math
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import torch
from pydantic import JsonValue
from timm.optim import create_optimizer_v2
from timm.scheduler import CosineLRScheduler
from timm.utils import ModelEmaV3
from torch import Tensor, nn

from cxr_core.config import TrainConfig
from cxr_core.data.tensors import open_tensors
from cxr_core.errors import MachineError
from cxr_core.progress import Progress, silent
from cxr_core.training import machine, state
from cxr_core.training.accumulation import accumulate, slow_running_statistics
from cxr_core.training.augmentation import Augmentation
from cxr_core.training.batches import BalancedBatches
from cxr_core.training.checkpoint import Checkpoint, save_checkpoint
from cxr_core.training.network import LABELS, Classifier, create_backbone, parameters_in, standardise
from cxr_core.training.operating_point import choose_operating_point
from cxr_core.training.state import Trainer

_EMA_WARMUP = 10.0  # decay(step) = step / (step + 10) until it reaches the configured decay
_REPORT_EVERY = 20  # steps


def train(
    *,
    tensors: Path,
    out: Path,
    work: Path,
    config: TrainConfig,
    filter: str = "bilinear",
    cache: Path | None = None,
    progress: Progress = silent,
) -> dict[str, JsonValue]:
    """Train on the train split; leave ``checkpoint/`` (weights, checkpoint.json, history.csv).

    Args:
        tensors: folder of frozen tensors.
        work: folder that survives a kill; holds the resumable state.
        filter: how the tensors were resized, carried along for prediction.
        cache: folder for what a GPU's libraries find and keep from training to training.

    Raises:
        ModelError: unknown model or weights that do not fit.
        MachineError: a GPU was asked for and there is none, or its memory does not suffice.
    """
    threads = machine.set_threads(config.threads)
    device = machine.resolve_device(config.device)
    limit = machine.prepare(device, config.memory_mebibytes, cache)
    torch.manual_seed(config.seed)
    data = open_tensors(tensors)
    rows = data.select("train")
    images = torch.from_numpy(np.ascontiguousarray(data.images[rows]))[:, None]
    labels = data.labels[rows]
    steps = math.ceil(config.images / config.batch)

    trainer = _start(config, device, images.shape[-1], limit)
    state.restore(trainer, work)
    slow_running_statistics(trainer.model, config.batch // trainer.micro_batch)
    ran = machine.observe(trainer.model.backbone)
    resumed_at = trainer.step
    began = time.monotonic()
    try:
        _run(trainer, config, device, images, labels, steps, work, progress)
    except torch.OutOfMemoryError as error:
        raise MachineError(
            f"the GPU's memory does not suffice for {trainer.micro_batch} images at once ({error}); "
            f"set train.micro_batch to less, or end what else runs on the GPU"
        ) from error
    seconds = time.monotonic() - began

    result = trainer.ema.module.eval()
    point = choose_operating_point(result, data, config, device)
    checkpoint = Checkpoint(
        model=config.model,
        size=images.shape[-1],
        filter=filter,
        labels=LABELS,
        temperature=point.temperature,
        threshold=point.threshold,
        flip_average=config.flip_average,
        pretrained=config.pretrained,
        images_seen=steps * config.batch,
        trained=True,
        validation=point.validation,
    )
    save_checkpoint(out / "checkpoint", result, checkpoint, trainer.history)
    return {
        "parameters": parameters_in(result),
        "images_seen": steps * config.batch,
        "amp": trainer.amp,
        "micro_batch": trainer.micro_batch,
        "convolutions": dict(ran),
        "threads": threads,
        "images_per_second": round((steps - resumed_at) * config.batch / max(seconds, 1e-9), 1),
        "resumed_at_step": resumed_at,
        **machine.describe(device, cache),
        **point.validation,
        "threshold": point.threshold,
        "temperature": point.temperature,
    }


def _start(config: TrainConfig, device: torch.device, size: int, limit: int) -> Trainer:
    backbone = create_backbone(config.model, config.pretrained, config.drop_rate)
    model = Classifier(backbone, config.flip_average).to(device)
    layout = machine.memory_format(device, model)
    model.to(memory_format=layout)
    rehearsed = _rehearsal(model, size, device, layout)
    amp, micro_batch = machine.settle(device, config.amp, config.batch, config.micro_batch, limit, rehearsed)
    optimizer = create_optimizer_v2(model, opt="adamw", lr=config.learning_rate, weight_decay=config.weight_decay)
    ema = ModelEmaV3(model, decay=config.ema_decay, use_warmup=True, warmup_gamma=_EMA_WARMUP, warmup_power=1.0)
    scaler = torch.amp.GradScaler(device.type, enabled=amp == "fp16")
    return Trainer(model, ema, optimizer, scaler, amp, micro_batch)


def _rehearsal(model: Classifier, size: int, device: torch.device, layout: torch.memory_format) -> machine.Step:
    """Steps on a copy of the weights, for measuring only."""
    scratch = copy.deepcopy(model).train()

    def step(mode: str, count: int) -> None:
        images = torch.zeros(count, 1, size, size, device=device).contiguous(memory_format=layout)
        with machine.autocast(device, mode):
            loss = scratch.backbone(images).float().square().mean()
        loss.backward()

    return step


def _run(
    trainer: Trainer,
    config: TrainConfig,
    device: torch.device,
    images: Tensor,
    labels: np.ndarray,
    steps: int,
    work: Path,
    progress: Progress,
) -> None:
    batches = BalancedBatches(labels, config.batch, config.seed)
    augment = Augmentation(config.seed, config.border_probability) if config.augmentation == "strong" else None
    schedule = CosineLRScheduler(
        trainer.optimizer,
        t_initial=steps,
        warmup_t=int(steps * config.warmup_share),
        warmup_lr_init=0.0,
        lr_min=0.0,
        t_in_epochs=False,
    )
    criterion = nn.CrossEntropyLoss(label_smoothing=config.label_smoothing)
    scaler = trainer.scaler
    parts = config.batch // trainer.micro_batch
    layout = machine.memory_format(device, trainer.model)
    targets = torch.from_numpy(labels.astype(np.int64))
    # On the grid of the history, so that a resumed run averages its losses over the same steps.
    save_every = math.ceil(config.checkpoint_images / config.batch / _REPORT_EVERY) * _REPORT_EVERY

    def prepare(step: int) -> tuple[Tensor, Tensor]:
        rows = torch.from_numpy(batches(step))
        chosen = images[rows].to(device)
        pixels = augment(chosen, step) if augment else standardise(chosen.float() / 255.0)
        return pixels.contiguous(memory_format=layout), targets[rows].to(device)

    def loss_of(pixels: Tensor, wanted: Tensor) -> Tensor:
        with machine.autocast(device, trainer.amp):
            loss: Tensor = criterion(trainer.model.backbone(pixels).float(), wanted)
            return loss

    trainer.model.train()
    losses: list[Tensor] = []
    # One thread prepares the next batch while this one trains: augmentation alone uses one core well, not two.
    with ThreadPoolExecutor(1, initializer=torch.set_num_threads, initargs=(1,)) as ahead:
        following = ahead.submit(prepare, trainer.step)
        began, first = time.monotonic(), trainer.step
        while trainer.step < steps:
            pixels, wanted = following.result()
            following = ahead.submit(prepare, trainer.step + 1)
            schedule.step_update(trainer.step)
            torch.manual_seed(config.seed * 1_000_003 + trainer.step)  # dropout too is a function of (seed, step)
            trainer.optimizer.zero_grad()
            losses.append(accumulate(loss_of, pixels, wanted, parts, scaler))
            scaler.unscale_(trainer.optimizer)
            nn.utils.clip_grad_norm_(trainer.model.parameters(), config.clip_norm)
            scaler.step(trainer.optimizer)
            scaler.update()
            trainer.step += 1
            trainer.ema.update(trainer.model, step=trainer.step)
            if trainer.step % _REPORT_EVERY == 0 or trainer.step == steps:
                _note(trainer, losses, config.batch)
                pace = (trainer.step - first) * config.batch / (time.monotonic() - began)
                progress(
                    trainer.step * config.batch,
                    steps * config.batch,
                    f"loss {trainer.history[-1]['loss']:.3f}, {pace:.0f} images/s",
                )
            if trainer.step % save_every == 0:
                state.save(trainer, work)


def _note(trainer: Trainer, losses: list[Tensor], batch: int) -> None:
    mean = float(torch.stack(losses).mean())
    rate = trainer.optimizer.param_groups[0]["lr"]
    trainer.history.append(
        {
            "step": trainer.step,
            "images": trainer.step * batch,
            "loss": round(mean, 6),
            "learning_rate": float(f"{rate:.6g}"),
        }
    )
    losses.clear()
