"""split: which patient belongs to train, val or test, and how far shortcuts alone already tell the classes.

A published test split stays test. A published val split joins train (it holds 16 images, too few to
choose anything by), and val is cut from train by the bare patient number.
"""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from pydantic import JsonValue

from cxr_core.config import SplitConfig
from cxr_core.data.columns import LABELS, MANIFEST, SPLIT, SPLITS
from cxr_core.data.cut import cut, groups_of
from cxr_core.data.duplicates import NearPair, near_duplicates
from cxr_core.data.separation import check_labels, check_separation, shared_numbers
from cxr_core.data.shortcut import audit_shortcuts
from cxr_core.data.tables import read_table, write_table
from cxr_core.errors import DataError
from cxr_core.progress import Progress, silent

if TYPE_CHECKING:
    import pandas as pd

_SUSPICIOUS_AUC = 0.7  # a shortcut above it is worth a sentence; 0.5 is chance


def split(
    *, manifest: Path, thumbs: Path, out: Path, config: SplitConfig, progress: Progress = silent
) -> dict[str, JsonValue]:
    """Assign every image and write ``split.csv`` (sorted by file), ``warnings.json`` and ``shortcuts.json``.

    Returns:
        facts: images by split, label and kind, patients by split, warnings, the shortcut audit, and
        ``test_digest`` over the pixels and labels of test, which names the test set wherever it lies.

    Raises:
        DataError: one picture under two labels; a patient, a picture or a near duplicate in two
            published splits; a test split without one of the classes; too few patients to cut.
    """
    table, pictures = _read(manifest, thumbs)
    check_labels(table)
    near = near_duplicates(pictures, threshold=config.near_duplicate_correlation, progress=progress)
    table["split"] = _assign(table, near, config)
    check_separation(table, near)
    _check_classes(table)
    shortcuts = audit_shortcuts(table, pictures)
    warnings = _warnings(table, near, shortcuts)
    write_table(out / "split.csv", SPLIT, table[list(SPLIT)].itertuples(index=False))
    _write_json(out / "warnings.json", warnings)
    _write_json(out / "shortcuts.json", shortcuts)
    return _facts(table, near) | {"warnings": warnings, "shortcuts": shortcuts}


def _read(manifest: Path, thumbs: Path) -> tuple[pd.DataFrame, np.ndarray]:
    table, pictures = read_table(manifest, MANIFEST), np.load(thumbs, allow_pickle=False)
    if len(table) != len(pictures):
        raise DataError(
            f"{manifest} has {len(table)} rows, {thumbs} has {len(pictures)} thumbnails; "
            "both must come from the same ingest"
        )
    return table, pictures


def _assign(table: pd.DataFrame, near: list[NearPair], config: SplitConfig) -> np.ndarray:
    """The split of each row."""
    groups = groups_of(table, near)
    where = np.full(len(table), "train", dtype="<U5")
    test = (table["original_split"] == "test").to_numpy()
    if not test.any():
        test = cut(table, groups, config.test_share, config.seed, "test")
    where[test] = "test"
    rest = np.flatnonzero(~test)
    if not len(rest):
        raise DataError("expected images outside the test folder to train on, found none; add a train folder")
    val = cut(table.iloc[rest].reset_index(drop=True), groups[rest], config.val_share, config.seed, "val")
    where[rest[val]] = "val"
    return where


def _check_classes(table: pd.DataFrame) -> None:
    for name in SPLITS:
        missing = sorted(set(LABELS) - set(table["label"][table["split"] == name]))
        if missing:
            raise DataError(
                f"expected {' and '.join(LABELS)} in {name}, found no {' and no '.join(missing)}; "
                f"add such images to the {name} folder, or remove that folder and it is cut from train"
            )


def _warnings(table: pd.DataFrame, near: list[NearPair], shortcuts: dict[str, JsonValue]) -> list[JsonValue]:
    original, sentences = table["original_split"], list[JsonValue]()
    if not (original == "test").any():
        sentences.append("no test split was published; test was cut by patient from the same images")
    if joined := int((original == "val").sum()):
        sentences.append(
            f"the published val split of {joined} images is too small to choose by and joined train; "
            "val was cut from train by patient number"
        )
    for series, count in (shared_numbers(table) if (original == "test").any() else {}).items():
        sentences.append(
            f"{count} bare patient numbers of the series {series} are in test and also in train or val, "
            "always with another kind or series; they count as different patients, numbered separately"
        )
    if surplus := len(table) - table["pixel_sha256"].nunique():
        sentences.append(f"{surplus} images show exactly the same pixels as another image of the same split")
    pixels = table["pixel_sha256"].to_numpy()
    if close := sum(pixels[pair.first] != pixels[pair.second] for pair in near):
        sentences.append(f"{close} pairs of images of the same split are nearly identical")
    return sentences + _shortcut_warnings(shortcuts)


def _shortcut_warnings(shortcuts: dict[str, JsonValue]) -> list[JsonValue]:
    sentences: list[JsonValue] = []
    for name, row in shortcuts.items():
        if isinstance(row, dict) and isinstance(auc := row["auc"], float) and auc > _SUSPICIOUS_AUC:
            sentences.append(
                f"shortcut: {row['from']} alone ({name}) tells the classes of test with AUC {auc:.2f} and "
                f"accuracy {row['accuracy']:.2f}"
            )
    return sentences


def _facts(table: pd.DataFrame, near: list[NearPair]) -> dict[str, JsonValue]:
    counts: dict[str, JsonValue] = {}
    kinds: dict[str, JsonValue] = {}
    for name in SPLITS:
        rows = table[table["split"] == name]
        counts[name] = {str(k): int(v) for k, v in sorted(rows["label"].value_counts().items())}
        kinds[name] = {str(k): int(v) for k, v in sorted(rows["kind"].value_counts().items())}
    test = table[table["split"] == "test"]
    lines = sorted(f"{row.pixel_sha256} {row.label}" for row in test.itertuples())
    return {
        "counts": counts,
        "kinds": kinds,
        "patients": {name: int(table["patient"][table["split"] == name].nunique()) for name in SPLITS},
        "near_duplicate_pairs": len(near),
        "test_digest": "sha256:" + hashlib.sha256("\n".join(lines).encode()).hexdigest(),
    }


def _write_json(path: Path, value: JsonValue) -> None:
    path.write_text(json.dumps(value, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
