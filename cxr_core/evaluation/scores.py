"""Per-image scores of one engine: read, checked, frozen."""

import itertools
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from cxr_core.errors import DataError
from cxr_core.evaluation.reading import what

if TYPE_CHECKING:
    import pandas as pd

COLUMNS = ("file", "label", "kind", "patient", "logit_normal", "logit_pneumonia", "probability")

# Logits that vary less than this over a whole test split say nothing about the images.
CONSTANT_SPREAD = 1e-6


@dataclass(frozen=True)
class Scores:
    """One engine's answers on the whole test split, one entry an image, sorted by file.

    ``label`` is 0 or 1, ``patient`` an index into the distinct patients (sorted by name), ``margin``
    logit_pneumonia - logit_normal, ``probability`` the calibrated probability of class 1. The last
    two may hold NaN: that is a finding about the engine, not about the file.
    """

    source: str
    files: tuple[str, ...]
    label: NDArray[np.int64]
    kind: NDArray[np.str_]
    patient: NDArray[np.int64]
    patients: tuple[str, ...]
    margin: NDArray[np.float64]
    probability: NDArray[np.float64]

    def __len__(self) -> int:
        return len(self.files)


def read_scores(path: Path) -> Scores:
    """The scores in a CSV file.

    Raises:
        DataError: no such file, missing columns, no rows, files unsorted or twice, labels other
            than 0 and 1, one class only, a probability outside 0..1, or a last line without its end.
    """
    table = _table(path)
    files = [str(name) for name in table["file"]]
    if any(later <= earlier for earlier, later in itertools.pairwise(files)):
        raise DataError(f"{path.name}: rows must be sorted by file, each once; mend: score the test split again")
    label = _labels(table, path.name)
    probability = _numbers(table, "probability", path.name)
    outside = int(((probability < 0) | (probability > 1)).sum())
    if outside:
        raise DataError(f"{path.name}: probabilities must lie in 0..1, {outside} of {len(table)} do not")
    names, index = np.unique(table["patient"].astype(str).to_numpy(dtype=np.str_), return_inverse=True)
    margin = _numbers(table, "logit_pneumonia", path.name) - _numbers(table, "logit_normal", path.name)
    return Scores(
        source=path.name,
        files=tuple(files),
        label=label,
        kind=table["kind"].astype(str).to_numpy(dtype=np.str_),
        patient=index.astype(np.int64),
        patients=tuple(str(name) for name in names),
        margin=margin,
        probability=probability,
    )


def _table(path: Path) -> "pd.DataFrame":
    import pandas as pd

    try:
        content = path.read_bytes()
        table = pd.read_csv(
            BytesIO(content),
            dtype={"file": str, "kind": str, "patient": str},
            keep_default_na=False,
            na_values={name: ["", "nan", "NaN"] for name in COLUMNS[4:]},
        )
    except (OSError, ValueError) as error:
        raise DataError(
            f"{path.name}: scores expected as CSV, but {what(error)}; mend: score the test split again"
        ) from error
    missing = [name for name in COLUMNS if name not in table.columns]
    if missing:
        raise DataError(f"{path.name}: columns {', '.join(COLUMNS)} expected, {', '.join(missing)} missing")
    if not content.endswith(b"\n"):  # a number cut short is a number too, and would be judged
        raise DataError(
            f"{path.name}: ends inside a line, as a file does that was cut; mend: score the test split again"
        )
    if table.empty:
        raise DataError(f"{path.name}: holds no image; mend: score the test split again")
    return table


def _numbers(table: "pd.DataFrame", column: str, where: str) -> NDArray[np.float64]:
    try:
        return table[column].to_numpy(dtype=np.float64)
    except ValueError as error:
        raise DataError(f"{where}: column {column} must hold numbers: {error}") from error


def _labels(table: "pd.DataFrame", where: str) -> NDArray[np.int64]:
    found = sorted({str(value) for value in table["label"]})
    if not set(found) <= {"0", "1"}:
        raise DataError(f"{where}: labels must be 0 (NORMAL) or 1 (PNEUMONIA), found {found[:5]}")
    if len(found) < 2:
        raise DataError(
            f"{where}: both classes are needed, only label {found[0]} is there; mend: a test split with both"
        )
    return table["label"].to_numpy(dtype=np.int64)


def require_same_images(scores: Scores, reference: Scores) -> None:
    """Two sets of scores can be paired only if they are about the same images with the same labels.

    Raises:
        DataError: says how many images are on one side only, and names the first.
    """
    ours, theirs = set(scores.files), set(reference.files)
    if ours != theirs:
        first = min(ours ^ theirs)
        raise DataError(
            f"{scores.source}: scores of the reference's {len(theirs)} images expected, found {len(ours)}; "
            f"{len(ours ^ theirs)} on one side only, first {first}; mend: score the whole test split again"
        )
    if not (scores.label == reference.label).all() or not _same_patients(scores, reference):
        raise DataError(
            f"{scores.source}: labels or patients differ from the reference's, so they come from different "
            "splits; mend: score both on the same tensors"
        )


def _same_patients(scores: Scores, reference: Scores) -> bool:
    return scores.patients == reference.patients and bool((scores.patient == reference.patient).all())


def defect(scores: Scores) -> str | None:
    """Why these answers cannot be answers of a working network, or None: not finite, or all the same."""
    broken = int((~np.isfinite(scores.margin) | ~np.isfinite(scores.probability)).sum())
    if broken:
        return f"{broken} of {len(scores)} answers are not finite numbers"
    if float(np.ptp(scores.margin)) < CONSTANT_SPREAD:
        return f"all {len(scores)} answers are the same, whatever the image"
    return None


def require_finite(scores: Scores) -> None:
    """Refuse scores that nothing can be compared with.

    Raises:
        DataError: an answer is NaN or infinite, or all are the same.
    """
    if reason := defect(scores):
        raise DataError(
            f"{scores.source}: {reason}; the reference must be a working network; "
            "mend: check the exported graph and train again"
        )
