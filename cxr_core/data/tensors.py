"""tensors: every image decoded and resized once, into frozen uint8 arrays that everything downstream reads."""

from __future__ import annotations

import hashlib
import os
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from pydantic import JsonValue

from cxr_core.config import DataConfig, TensorsConfig
from cxr_core.data.columns import INDEX, LABELS, MANIFEST, SPLIT, SPLITS
from cxr_core.data.decode import decode_and_resize, read_file
from cxr_core.data.refusal import ImageRefused
from cxr_core.data.tables import read_table, write_table
from cxr_core.errors import DataError
from cxr_core.progress import Progress, silent

if TYPE_CHECKING:
    import pandas as pd

_THREADS = min(8, os.cpu_count() or 1)


@dataclass(frozen=True)
class Tensors:
    """``images``: uint8 ``[N, H, W]``, memory-mapped, read-only. ``index``: a row an image, columns :data:`INDEX`."""

    images: np.ndarray
    index: pd.DataFrame

    @property
    def labels(self) -> np.ndarray:
        """int64 ``[N]``: 0 NORMAL, 1 PNEUMONIA."""
        return self.index["label"].to_numpy(np.int64, copy=True)

    def select(self, split: str) -> np.ndarray:
        """Row numbers of the images of a split, int64, ascending.

        Raises:
            DataError: no split of that name has images.
        """
        rows = np.flatnonzero((self.index["split"] == split).to_numpy())
        if not len(rows):
            known = ", ".join(sorted(set(self.index["split"])))
            raise DataError(f"expected a split that holds images, found {split!r}; here are {known}")
        return rows


def tensors(
    *,
    folder: Path,
    manifest: Path,
    split: Path,
    out: Path,
    config: TensorsConfig,
    data: DataConfig,
    progress: Progress = silent,
) -> dict[str, JsonValue]:
    """Write ``tensors/images.npy`` (uint8 ``[N, size, size]``) and ``tensors/index.csv``, in the order of ``split``.

    Raises:
        DataError: a file changed or vanished since ingest (its sha256 is checked while it is read), or
            manifest and split do not belong together.
    """
    table = _joined(manifest, split)
    target = out / "tensors"
    target.mkdir()
    images = np.lib.format.open_memmap(
        target / "images.npy", mode="w+", dtype=np.uint8, shape=(len(table), config.size, config.size)
    )

    def fill(item: tuple[int, str, str]) -> None:
        images[item[0]] = _picture(folder / item[1], item[2], config, data)

    items = list(zip(range(len(table)), table["file"], table["file_sha256"], strict=True))
    with ThreadPoolExecutor(_THREADS) as pool:
        for done, _ in enumerate(pool.map(fill, items), 1):
            progress(done, len(items), "tensors")
    images.flush()
    _write_index(target / "index.csv", table)
    counts: dict[str, JsonValue] = {name: int((table["split"] == name).sum()) for name in SPLITS}
    return {"images": len(table), "size": config.size, "filter": config.filter, "counts": counts}


def open_tensors(folder: Path) -> Tensors:
    """The frozen tensors in a folder that :func:`tensors` wrote.

    Raises:
        DataError: a file is missing, or pictures and index differ in number.
    """
    try:
        # A plain view of the map: arrays derived from np.memmap itself keep its class and its surprises.
        images = np.asarray(np.load(folder / "images.npy", mmap_mode="r", allow_pickle=False))
    except (OSError, ValueError) as error:
        raise DataError(f"expected images.npy in {folder}: {error}; run the stage tensors again") from error
    index = read_table(folder / "index.csv", INDEX)
    if images.dtype != np.uint8 or images.ndim != 3 or len(images) != len(index):
        raise DataError(
            f"expected uint8 [{len(index)}, H, W] in {folder / 'images.npy'}, found {images.dtype} "
            f"{list(images.shape)}; run the stage tensors again"
        )
    return Tensors(images, index.astype({"label": "int64"}))


def _joined(manifest: Path, split: Path) -> pd.DataFrame:
    digests = read_table(manifest, MANIFEST)[["file", "file_sha256"]]
    table = read_table(split, SPLIT)
    if sorted(digests["file"]) != sorted(table["file"]):
        raise DataError(f"{manifest} and {split} list different files; both must come from the same ingest")
    return table.merge(digests, on="file", validate="one_to_one")


def _picture(path: Path, digest: str, config: TensorsConfig, data: DataConfig) -> np.ndarray:
    try:
        content = read_file(path, largest_pixels=data.largest_pixels)
    except ImageRefused as refusal:
        raise DataError(
            f"{path} could be read at ingest and cannot now: {refusal}; put it back, or start again from ingest"
        ) from refusal
    found = hashlib.sha256(content).hexdigest()
    if found != digest:
        raise DataError(
            f"{path} changed since ingest: expected sha256 {digest}, found {found}; "
            "leave the folder alone during a run, and start again"
        )
    return decode_and_resize(content, size=config.size, filter=config.filter, largest_pixels=data.largest_pixels)


def _write_index(path: Path, table: pd.DataFrame) -> None:
    labels = [LABELS.index(label) for label in table["label"]]
    columns = (table["file"], labels, table["kind"], table["patient"], table["number"], table["split"])
    write_table(path, INDEX, ((row, *values) for row, values in enumerate(zip(*columns, strict=True))))
