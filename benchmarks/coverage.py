"""How often the intervals hold the truth, by simulation on a stated grid. ``python -m benchmarks.coverage`` writes
``docs/results/coverage.json``.

Answers are made as the report sees them: patients with one to three images, of whom the answers are correlated. Each
cell draws so many test splits and asks the functions in use. A two-sided interval should hold the truth in 95 %, and
so should each one-sided bound that a verdict stands on.
"""

import json
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from cxr_core.evaluation.delong import delong
from cxr_core.evaluation.differences import auc_difference_interval, difference_of_shares
from cxr_core.evaluation.intervals import (
    PatientBootstrap,
    patient_bootstrap,
    share_interval,
    wilson,
)

RESULT = Path(__file__).resolve().parents[1] / "docs" / "results" / "coverage.json"
PATIENTS = (60, 180, 360)
SHARES = (0.8, 0.9, 0.95)
REPLICATES = 400
_COMMON = 0.5  # of the variance of an answer, what images of one patient have in common


class Cell(NamedTuple):
    """The share of ``runs`` simulated test splits whose interval holds the truth."""

    interval: str
    patients: int
    p: float
    runs: int
    coverage: float


class Split(NamedTuple):
    """A test split: one to three images a patient, half of the patients ill, and its draws."""

    label: NDArray[np.int64]
    patient: NDArray[np.int64]
    bootstrap: PatientBootstrap


def simulate(runs: int, seed: int = 0) -> Iterator[Cell]:
    """All cells of the grid."""
    for patients in PATIENTS:
        for p in SHARES:
            rng = np.random.default_rng([seed, patients, round(1000 * p)])
            held: dict[str, list[bool]] = {}
            split = _split(rng, patients)
            for _ in range(runs):
                for name, holds in _one(rng, split, p):
                    held.setdefault(name, []).append(holds)
            for name, found in held.items():
                yield Cell(name, patients, p, runs, float(np.mean(found)))


def summary(cells: list[Cell]) -> dict[str, dict[str, float | str]]:
    """Mean and worst cell of each interval."""
    found: dict[str, dict[str, float | str]] = {}
    for name in dict.fromkeys(cell.interval for cell in cells):
        mine = [cell for cell in cells if cell.interval == name]
        worst = min(mine, key=lambda cell: cell.coverage)
        found[name] = {
            "mean": round(float(np.mean([cell.coverage for cell in mine])), 4),
            "worst": round(worst.coverage, 4),
            "worst_at": f"{worst.patients} patients, p = {worst.p}",
        }
    return found


def _one(rng: np.random.Generator, split: Split, p: float) -> Iterator[tuple[str, bool]]:
    """What each interval makes of one test split in which a share ``p`` of the answers is right."""
    from scipy.stats import norm

    right = _correlated(rng, split) < norm.ppf(p)
    everything = np.ones(len(right), dtype=bool)
    low, high = wilson(int(rng.binomial(len(right), p)), len(right))  # for independent images, which it is made for
    yield "share, Wilson", low <= p <= high
    low, high = share_interval(right, everything, split.bootstrap)
    yield "share, patients", low <= p <= high

    # An engine that loses 1.5 % of the right answers and gains 1.5 % of the wrong ones.
    turned = norm.cdf(_correlated(rng, split)) < 0.015
    truth = 0.015 * (1 - 2 * p)
    difference = difference_of_shares(right ^ turned, right, everything, split.bootstrap, 0.01)
    assert difference is not None
    yield "difference of shares, lower bound", difference.low <= truth
    yield "difference of shares, upper bound", truth <= difference.high

    # Answers as far apart as give this AUC; the engine's differ from the reference's by noise of their own.
    apart = np.sqrt(2) * norm.ppf(p)
    theirs = apart * split.label + _correlated(rng, split)
    ours = theirs + 0.3 * rng.normal(size=len(theirs))
    low, high = split.bootstrap.interval(split.bootstrap.auc(split.label, theirs))
    yield "AUC, patients", low <= p <= high
    truth = float(norm.cdf(apart / np.sqrt(2 * 1.09)) - p)
    auc = auc_difference_interval(split.label, ours, theirs, split.bootstrap)
    yield "difference of AUC, lower bound", auc.low <= truth
    yield "difference of AUC, upper bound", truth <= auc.high
    compared = delong(split.label, ours, theirs)
    assert compared is not None
    yield "difference of AUC, DeLong", abs(compared.difference - truth) <= 1.959964 * compared.standard_error


def _split(rng: np.random.Generator, patients: int) -> Split:
    patient = np.repeat(np.arange(patients), rng.integers(1, 4, patients))
    label = (np.arange(patients) % 2)[patient]
    return Split(label, patient, patient_bootstrap(label, patient, REPLICATES, 0))


def _correlated(rng: np.random.Generator, split: Split) -> NDArray[np.float64]:
    """Standard normal, correlated within a patient."""
    common = rng.normal(size=int(split.patient.max()) + 1)[split.patient]
    own = rng.normal(size=len(split.patient))
    return np.asarray(np.sqrt(_COMMON) * common + np.sqrt(1 - _COMMON) * own)


def main(runs: int, write: Callable[[str], object] = sys.stdout.write) -> None:
    """Simulate, print the summary, write the result."""
    cells = list(simulate(runs))
    found = summary(cells)
    for name, told in found.items():
        write(f"{name}: mean {told['mean']:.3f}, worst {told['worst']:.3f} ({told['worst_at']})\n")
    result = {
        "made_by": f"python -m benchmarks.coverage {runs}",
        "how": __doc__,
        "nominal": 0.95,
        "grid": {"patients": PATIENTS, "images_a_patient": "1 to 3", "p": SHARES, "correlation": _COMMON},
        "replicates": REPLICATES,
        "runs_a_cell": runs,
        "intervals": found,
        "cells": [cell._asdict() for cell in cells],
    }
    RESULT.write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 1000)
