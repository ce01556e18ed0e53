"""Training on both cores: what augmentation costs, and what the second core brings."""

import os
import tempfile
from pathlib import Path

import numpy as np

from benchmarks.pairs import Paired, in_turns

_IMAGES = 3200


def measure(rounds: int) -> list[Paired]:
    """The loop of profile quick over generated pixels, `train.images` = 3,200 a run."""
    with tempfile.TemporaryDirectory() as scratch:
        tensors = _tensors(Path(scratch, "tensors"))
        cores = len(os.sched_getaffinity(0))
        augmented = Paired("training", f"training with / without augmentation, {cores} cores", "near 1", "images/s")
        scaling = Paired("training", f"training with augmentation, {cores} cores / 1 core", f"near {cores}", "images/s")

        def rate(augmentation: str, threads: int) -> float:
            return _rate(tensors, Path(scratch), augmentation, threads)

        return [
            in_turns(augmented, lambda: rate("strong", cores), lambda: rate("none", cores), rounds),
            in_turns(scaling, lambda: rate("strong", cores), lambda: rate("strong", 1), rounds),
        ]


def _rate(tensors: Path, scratch: Path, augmentation: str, threads: int) -> float:
    """Images a second of a training child on that many cores, its start and validation left out."""
    from cxr_core.child import run_child
    from cxr_core.config import TrainConfig

    config = TrainConfig.model_validate(
        {"images": _IMAGES, "augmentation": augmentation, "amp": "none", "threads": threads}
    )
    everywhere = os.sched_getaffinity(0)
    os.sched_setaffinity(0, set(sorted(everywhere)[:threads]))
    try:
        with tempfile.TemporaryDirectory(dir=scratch) as folder:
            out, work = Path(folder, "out"), Path(folder, "work")
            out.mkdir()
            work.mkdir()
            finished = run_child(
                "cxr_core.training.loop:train",
                {"tensors": str(tensors), "out": str(out), "work": str(work), "config": config.model_dump(mode="json")},
                purpose="training benchmark",
                log=Path(folder, "log"),
                devices=("cpu",),
            )
        return float(finished.facts["images_per_second"])  # type: ignore[arg-type]
    finally:
        os.sched_setaffinity(0, everywhere)


def _tensors(folder: Path) -> Path:
    import pandas as pd

    folder.mkdir()
    rng = np.random.default_rng(0)
    labels = np.arange(1200) % 2
    images = rng.integers(0, 200, (1200, 96, 96)).astype(np.uint8) + (labels * 30).astype(np.uint8)[:, None, None]
    np.save(folder / "images.npy", images)
    pd.DataFrame(
        {
            "row": range(1200),
            "file": [f"{i:05}.png" for i in range(1200)],
            "label": labels,
            "kind": np.where(labels == 0, "normal", "bacteria"),
            "patient": [f"p{i}" for i in range(1200)],
            "number": [f"n{i}" for i in range(1200)],
            "split": ["train"] * 1000 + ["val"] * 100 + ["test"] * 100,
        }
    ).to_csv(folder / "index.csv", index=False)
    return folder
