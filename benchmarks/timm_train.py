"""Training from scratch beside timm's own ``train.py``: the same files, network and image size, as many CPU seconds.

``TIMM_TRAIN`` is the path of ``train.py`` in timm's repository (its package has none). ``CXR_DATA`` is a folder of
radiographs, else the profile's phantoms are taken; ``CXR_BENCH_PROFILE`` names the profile (``quick``). A round is a
seed. timm's side gets our optimiser's settings, its own loader, augmentation (RandAugment and erasing, as in its
recipes for small networks) and averaged weights, and the epochs that fit our CPU seconds, rounded up. Its answers are
read with its own preprocessing at 0.5, ours at our operating point. Both are scored on the test split, by which nothing
is chosen.
"""

import math
import os
import resource
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.pairs import Paired
from benchmarks.prepared import Prepared, prepared, profile_asked

_WARMED = 1  # epochs
# Of timm's recipes, less mstd0.5: with it magnitudes reach 10, where posterize keeps 0 bits, which Pillow refuses.
_RANDAUGMENT = "rand-m9-inc1"


def measure(rounds: int) -> list[Paired]:
    """Accuracy and AUC on test, and what was spent, of one training a side for each seed."""
    script = os.environ.get("TIMM_TRAIN")
    if not script or not Path(script).is_file():
        raise SystemExit(
            "TIMM_TRAIN must be the path of train.py from a clone of huggingface/pytorch-image-models, the other side"
        )
    profile = profile_asked("quick")
    with tempfile.TemporaryDirectory() as scratch:
        data = prepared(Path(scratch), profile)
        theirs = _Theirs(Path(script), data, _folders(data, Path(scratch, "folders")), Path(scratch))
        about = f"{profile.train.model} at {profile.tensors.size} px"
        pairs = {
            "accuracy": Paired("timm_train", f"accuracy on test, {about}", "> 1", ""),
            "auc": Paired("timm_train", f"AUC on test, {about}", "> 1", ""),
            "seconds": Paired("timm_train", f"CPU seconds, {about}", "<= 1", "s"),
        }
        for seed in range(rounds):
            mine = _ours(data, seed, Path(scratch, f"ours-{seed}"))
            others = theirs.trained(seed, mine["seconds"])
            for name, pair in pairs.items():
                pair.mine.append(mine[name])
                pair.others.append(others[name])
        return list(pairs.values())


def _ours(data: Prepared, seed: int, folder: Path) -> dict[str, float]:
    from cxr_core.child import run_child
    from cxr_core.data.tensors import open_tensors
    from cxr_core.training.checkpoint import load_checkpoint

    (out := folder / "out").mkdir(parents=True)
    (work := folder / "work").mkdir()
    config = data.profile.train.model_copy(update={"seed": seed})
    before = _spent()
    run_child(
        "cxr_core.training.loop:train",
        {
            "tensors": str(data.tensors),
            "out": str(out),
            "work": str(work),
            "config": config.model_dump(mode="json"),
            "filter": data.profile.tensors.filter,
        },
        purpose="our training",
        log=folder / "log",
        devices=("cpu",),
    )
    spent = _spent() - before
    model, about = load_checkpoint(out / "checkpoint")
    frozen = open_tensors(data.tensors)
    rows = frozen.select("test")
    margins = _margins(model, (frozen.images[rows][i : i + 64, None] for i in range(0, len(rows), 64)))
    positive = 1 / (1 + np.exp(-margins / about.temperature))
    return {**_scored(positive, about.threshold, frozen.labels[rows]), "seconds": spent}


@dataclass(frozen=True)
class _Theirs:
    script: Path
    data: Prepared
    folders: Path
    scratch: Path

    def trained(self, seed: int, seconds: float) -> dict[str, float]:
        """Train for about as many CPU seconds; how many epochs that is, is measured first with this very seed."""
        one, two = (self._run(seed, epochs)[1] for epochs in (1, 2))
        start, epoch = 2 * one - two, two - one
        checkpoint, spent = self._run(seed, max(1, math.ceil((seconds - start) / epoch)))
        return {**self._judged(checkpoint), "seconds": spent}

    def _run(self, seed: int, epochs: int) -> tuple[Path, float]:
        train, size = self.data.profile.train, self.data.profile.tensors.size
        name = f"{seed}-{epochs}"
        options: dict[str, Any] = {
            "data-dir": self.folders, "train-split": "train", "val-split": "val",
            "output": self.scratch, "experiment": name,
            "model": train.model, "device-modules": "cxr_core.training.network", "num-classes": 2, "device": "cpu",
            "in-chans": 1, "input-size": ("1", str(size), str(size)), "mean": 0.5, "std": 0.25, "crop-pct": 1.0,
            "epochs": epochs, "warmup-epochs": min(_WARMED, epochs - 1), "batch-size": train.batch, "seed": seed,
            "opt": "adamw", "lr": train.learning_rate, "weight-decay": train.weight_decay, "clip-grad": train.clip_norm,
            "smoothing": train.label_smoothing, "drop": train.drop_rate, "aa": _RANDAUGMENT, "reprob": 0.25,
            "model-ema-decay": train.ema_decay, "workers": 1, "val-interval": 1_000_000, "log-interval": 1_000_000,
        }  # fmt: skip
        arguments = [
            text
            for option, value in options.items()
            for text in (f"--{option}", *(value if isinstance(value, tuple) else [str(value)]))
        ]
        before = _spent()
        done = subprocess.run(
            [sys.executable, self.script, *arguments, "--model-ema", "--model-ema-warmup", "--sched-on-updates"],
            capture_output=True,
            text=True,
            check=False,
        )
        if done.returncode:
            raise SystemExit(f"{self.script} ended with {done.returncode}:\n{done.stdout[-2000:]}{done.stderr[-2000:]}")
        return self.scratch / name / "last.pth.tar", _spent() - before

    def _judged(self, checkpoint: Path) -> dict[str, float]:
        """Accuracy at 0.5 and AUC of the averaged weights, by timm's own reading of the files."""
        import timm
        from timm.data import ImageDataset, create_loader

        size = self.data.profile.tensors.size
        model = timm.create_model(
            self.data.profile.train.model, num_classes=2, in_chans=1, checkpoint_path=str(checkpoint)
        )
        dataset = ImageDataset(str(self.folders / "test"), input_img_mode="L")
        labels = np.array([label for _, label in dataset.reader.samples])
        loader = create_loader(
            dataset, (1, size, size), 64, use_prefetcher=False, mean=(0.5,), std=(0.25,), crop_pct=1.0,
            interpolation="bicubic", num_workers=0, persistent_workers=False,
        )  # fmt: skip
        margins = _margins(model.eval(), (pixels.numpy() for pixels, _ in loader))
        return _scored(1 / (1 + np.exp(-margins)), 0.5, labels)


def _margins(model: Any, batches: Any) -> Any:
    import torch

    with torch.inference_mode():
        logits = torch.cat([model(torch.from_numpy(np.asarray(batch, dtype=np.float32))) for batch in batches])
    return (logits[:, 1] - logits[:, 0]).double().numpy()


def _scored(positive: Any, threshold: float, labels: Any) -> dict[str, float]:
    from sklearn.metrics import roc_auc_score

    return {
        "accuracy": float(np.mean((positive >= threshold) == (labels == 1))),
        "auc": float(roc_auc_score(labels, positive)),
    }


def _folders(data: Prepared, root: Path) -> Path:
    """The split as a folder a class, of links to the files, which is what ``train.py`` reads."""
    import pandas as pd

    for row in pd.read_csv(data.tensors / "index.csv").itertuples():
        folder = root / str(row.split) / str(row.label)
        folder.mkdir(parents=True, exist_ok=True)
        (folder / f"{row.row:05}{Path(str(row.file)).suffix}").symlink_to((data.radiographs / str(row.file)).absolute())
    return root


def _spent() -> float:
    """CPU seconds of all children that have ended."""
    found = resource.getrusage(resource.RUSAGE_CHILDREN)
    return found.ru_utime + found.ru_stime
