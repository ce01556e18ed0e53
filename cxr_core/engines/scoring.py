"""Stage ``accuracy``: one engine's answers on every test image."""

import csv
from collections.abc import Sequence
from pathlib import Path
from time import perf_counter
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pydantic import JsonValue

from cxr_core.config import AccuracyConfig, EngineConfig
from cxr_core.engines.contract import Logits, Runner
from cxr_core.engines.opening import open_engine
from cxr_core.errors import DataError, ModelError
from cxr_core.progress import Progress, silent

COLUMNS = ("file", "label", "kind", "patient", "logit_normal", "logit_pneumonia", "probability")


def accuracy(
    *,
    engine: Path,
    engine_metadata: Path,
    tensors: Path,
    out: Path,
    config: AccuracyConfig,
    engine_config: EngineConfig,
    progress: Progress = silent,
) -> dict[str, JsonValue]:
    """Scores the whole test split into ``out/scores.csv``, sorted by file.

    ``tensors`` holds ``images.npy`` uint8 [N, H, W] and ``index.csv``. The probability of PNEUMONIA is
    softmax(logits / temperature)[1] (Guo et al. 2017, temperature scaling). Answers that are not finite
    are written as they are and counted in the facts.

    Raises:
        DataError: no test images, or an index that does not fit the images.
        ModelError: images of another size than the engine's.
        RefusedError, MachineError: the engine is not to be loaded here.
    """
    images, index = read_test_images(tensors)
    runner, known = open_engine(engine, engine_metadata, config=engine_config)
    size = known.model.size
    if images.shape[1:] != (size, size):
        raise ModelError(
            f"the engine takes {size}x{size} pixels, {tensors.name}/images.npy has "
            f"{images.shape[1]}x{images.shape[2]}; use tensors and graph of one size"
        )
    with runner:
        start = perf_counter()
        logits = scores_from_images(runner, images, [int(row["row"]) for row in index], config.batch, progress)
        seconds = perf_counter() - start
    probability = _probability(logits, known.model.temperature)
    _write(out / "scores.csv", index, logits, probability)
    unfit = int(np.count_nonzero(~np.isfinite(logits).all(axis=1)))
    return {
        "images": len(index),
        "not_finite": unfit,
        "images_per_second": len(index) / seconds,
        "engine_digest": known.engine_digest,
        "fake": known.fake,
    }


def scores_from_images(
    runner: Runner, images: NDArray[np.uint8], rows: Sequence[int], batch: int, progress: Progress = silent
) -> Logits:
    """Logits float32 [len(rows), 2] of those rows of ``images`` uint8 [N, H, W], in the order of ``rows``.

    One float32 buffer is reused for all batches: converting in place costs under 1 % of a small network.
    """
    buffer = np.empty((batch, 1, *images.shape[1:]), dtype=np.float32)
    logits = np.empty((len(rows), 2), dtype=np.float32)
    for start in range(0, len(rows), batch):
        chosen = rows[start : start + batch]
        filled = buffer[: len(chosen)]
        filled[:, 0] = images[chosen]
        answers = runner(filled)
        if answers.shape != (len(chosen), 2):
            raise ModelError(f"{len(chosen)} images gave answers {answers.shape}, expected ({len(chosen)}, 2)")
        logits[start : start + len(chosen)] = answers
        progress(start + len(chosen), len(rows), "images scored")
    return logits


def read_test_images(tensors: Path) -> tuple[NDArray[np.uint8], list[dict[str, str]]]:
    """All images, mapped, and the index's rows of the test split, sorted by file.

    Raises:
        DataError: no test images, or an index that does not fit the images.
    """
    images: NDArray[np.uint8] = np.load(tensors / "images.npy", mmap_mode="r", allow_pickle=False)
    with (tensors / "index.csv").open(newline="", encoding="utf-8") as file:
        index = [row for row in csv.DictReader(file) if row["split"] == "test"]
    if not index:
        raise DataError(f"{tensors.name}/index.csv has no row with split 'test': there is nothing to score")
    last = max(int(row["row"]) for row in index)
    if last >= len(images):
        raise DataError(
            f"{tensors.name}/index.csv names row {last}, images.npy has {len(images)}; make the tensors again"
        )
    return images, sorted(index, key=lambda row: row["file"])


def _probability(logits: Logits, temperature: float) -> NDArray[np.float64]:
    from scipy.special import softmax

    with np.errstate(invalid="ignore"):  # infinite logits give NaN, which is written and counted as such
        answer: Any = softmax(logits.astype(np.float64) / temperature, axis=1)[:, 1]
    return np.asarray(answer, dtype=np.float64)


def _write(path: Path, index: list[dict[str, str]], logits: Logits, probability: NDArray[np.float64]) -> None:
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(COLUMNS)
        for row, pair, chance in zip(index, logits, probability, strict=True):
            known = [row[name] for name in COLUMNS[:4]]
            writer.writerow([*known, f"{pair[0]:.9g}", f"{pair[1]:.9g}", f"{chance:.9f}"])
