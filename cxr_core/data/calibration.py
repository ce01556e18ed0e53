"""calibration: the images that INT8 ranges are measured on. Training patients only, stratified, never random noise."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from pydantic import JsonValue

from cxr_core.config import CalibrationConfig
from cxr_core.data.columns import INDEX
from cxr_core.data.tables import read_table, write_table
from cxr_core.data.tensors import Tensors, open_tensors
from cxr_core.errors import DataError

if TYPE_CHECKING:
    import pandas as pd

FEWEST = 16
"""Images below which measured ranges mean nothing."""


def calibration(*, tensors: Path, out: Path, config: CalibrationConfig) -> dict[str, JsonValue]:
    """Choose ``config.images`` training images and write ``calibration.npy`` and ``calibration.csv``.

    The array is uint8 ``[images, 1, H, W]``, the table has the tensors' index rows in the same order.
    Each kind gets its share in train; a patient gives a second image only after all have given one.
    ``held_back.npy`` and ``held_back.csv`` are chosen alike, from other training patients: what judges a calibration
    must not have made it. They are at most ``config.held_back`` and at most a third of the patients, and none where
    the calibration set then were too small.

    Raises:
        DataError: train has too few images, or the choice would not pass :func:`check_calibration`.
    """
    data = open_tensors(tensors)
    usable = _usable(data)
    judging = _held_back(data, usable, config)
    rows = _choose(data, _apart(data, usable, judging), config)
    check_calibration(*_written(data, rows, out / "calibration"), data)
    held_back, table = _written(data, judging, out / "held_back")
    _check_patients(table, data)
    _check_pixels(held_back, table, data)
    return {**_counted(data, rows), "held_back": _counted(data, judging)}


def _written(data: Tensors, rows: np.ndarray, path: Path) -> tuple[np.ndarray, pd.DataFrame]:
    images, table = data.images[rows][:, None], data.index.iloc[rows]
    np.save(path.with_suffix(".npy"), images)
    write_table(path.with_suffix(".csv"), INDEX, table[list(INDEX)].itertuples(index=False))
    return images, table


def _counted(data: Tensors, rows: np.ndarray) -> dict[str, JsonValue]:
    table = data.index.iloc[rows]
    kinds: dict[str, JsonValue] = {str(k): int(v) for k, v in sorted(table["kind"].value_counts().items())}
    return {"images": len(rows), "patients": int(table["patient"].nunique()), "kinds": kinds}


def read_calibration(images: Path, table: Path) -> tuple[np.ndarray, pd.DataFrame]:
    """The pair of files that :func:`calibration` wrote.

    Raises:
        DataError: a file is missing or damaged.
    """
    try:
        array = np.load(images, allow_pickle=False)
    except (OSError, ValueError) as error:
        raise DataError(f"expected a calibration set at {images}: {error}; run the stage calibration") from error
    return array, read_table(table, INDEX).astype({"label": "int64"})


def check_calibration(images: np.ndarray | None, table: pd.DataFrame | None, data: Tensors) -> None:
    """Refuse a calibration set that is none, too small, random, or not from training patients alone.

    Args:
        images: uint8 ``[n, 1, H, W]``.
        table: a row an image, with the columns of the tensors' index.

    Raises:
        DataError: with what was expected, what was found, and the files.
    """
    if images is None or table is None or not len(images):
        raise DataError("INT8 needs a calibration set and none was given; run the stage calibration")
    if len(images) < FEWEST or len(images) != len(table):
        raise DataError(
            f"expected a calibration set of at least {FEWEST} images and as many rows, found {len(images)} "
            f"images and {len(table)} rows; raise calibration.images"
        )
    if images.dtype != np.uint8 or images.shape[1:] != (1, *data.images.shape[1:]):
        raise DataError(
            f"expected calibration images uint8 {['n', 1, *data.images.shape[1:]]}, found "
            f"{images.dtype} {list(images.shape)}; run the stage calibration on these tensors"
        )
    _check_patients(table, data)
    _check_pixels(images, table, data)


def _check_patients(table: pd.DataFrame, data: Tensors) -> None:
    held_out = set(data.index["patient"][data.index["split"] != "train"])
    if leaked := sorted(held_out & set(table["patient"])):
        raise DataError(
            f"expected training patients only in the calibration set, found {len(leaked)} of val or test: "
            f"{', '.join(leaked[:5])}; run the stage calibration again"
        )


def _check_pixels(images: np.ndarray, table: pd.DataFrame, data: Tensors) -> None:
    train = (data.index["split"] == "train").to_numpy()
    allowed = _digests(data.images[train])
    forbidden = _digests(data.images[~train])
    files = table["file"].tolist()
    found = [_digest(image) for image in images]
    leaked = [file for file, digest in zip(files, found, strict=True) if digest in forbidden]
    if leaked:
        raise DataError(
            f"{len(leaked)} calibration images show the same pixels as an image of val or test: "
            f"{', '.join(leaked[:5])}; take training images that val and test do not hold"
        )
    strange = [file for file, digest in zip(files, found, strict=True) if digest not in allowed]
    if strange:
        raise DataError(
            f"{len(strange)} calibration images are none of the training images (random data, or another "
            f"preprocessing): {', '.join(strange[:5])}; run the stage calibration on these tensors"
        )


def _digests(images: Iterable[np.ndarray]) -> set[bytes]:
    return {_digest(image) for image in images}


def _digest(image: np.ndarray) -> bytes:
    return hashlib.sha256(image.tobytes()).digest()


def _choose(data: Tensors, usable: np.ndarray, config: CalibrationConfig) -> np.ndarray:
    """Row numbers of the calibration images, ascending."""
    if len(usable) < config.images:
        raise DataError(
            f"expected at least {config.images} usable training images for calibration, found {len(usable)}; "
            "lower calibration.images or add training images"
        )
    return _taken(data, usable, config.images, config.seed)


def _held_back(data: Tensors, usable: np.ndarray, config: CalibrationConfig) -> np.ndarray:
    """Row numbers of the images that judge a calibration, ascending."""
    patients = data.index["patient"].iloc[usable].nunique()
    rows = _taken(data, usable, min(config.held_back, patients // 3), config.seed)
    return rows if len(_apart(data, usable, rows)) >= config.images else rows[:0]


def _apart(data: Tensors, rows: np.ndarray, others: np.ndarray) -> np.ndarray:
    """Those of ``rows`` that share neither patient nor picture with ``others``."""
    patients = data.index["patient"].to_numpy()
    return _without(data, rows[~np.isin(patients[rows], patients[others])], others)


def _taken(data: Tensors, rows: np.ndarray, images: int, seed: int) -> np.ndarray:
    """So many of ``rows``, ascending: each kind in proportion, as many patients as there are."""
    if not images:
        return rows[:0]
    rows = np.random.default_rng(seed).permutation(rows)
    chosen = data.index.iloc[rows]
    # One image of every patient before a second of any; the sort is stable, so the shuffle decides the rest.
    rows = rows[np.argsort(chosen.groupby("patient").cumcount().to_numpy(), kind="stable")]
    kinds = data.index["kind"].to_numpy()[rows]
    taken = [rows[kinds == kind][:count] for kind, count in _quotas(kinds, images).items()]
    return np.sort(np.concatenate(taken))


def _usable(data: Tensors) -> np.ndarray:
    """Training rows whose small picture no held-out image shares."""
    train = data.select("train")
    return _without(data, train, np.setdiff1d(np.arange(len(data.images)), train))


def _without(data: Tensors, rows: np.ndarray, others: np.ndarray) -> np.ndarray:
    """Those of ``rows`` whose picture is none of ``others``: two files can look alike once they are resized."""
    known = _digests(data.images[others])
    return np.array([row for row in rows if _digest(data.images[row]) not in known], np.int64)


def _quotas(kinds: np.ndarray, images: int) -> dict[str, int]:
    """Images of each kind in proportion, by largest remainder (Hamilton's method), so that they add up."""
    names, counts = np.unique(kinds, return_counts=True)
    exact = counts * images / counts.sum()
    quotas = np.floor(exact).astype(int)
    quotas[np.argsort(-(exact - quotas), kind="stable")[: images - quotas.sum()]] += 1
    return dict(zip(names.tolist(), quotas.tolist(), strict=True))
