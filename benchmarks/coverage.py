"""How often the intervals hold the truth, by simulation on a stated grid. ``python -m benchmarks.coverage`` writes
``docs/results/coverage.json``.

Answers are made as the report sees them: patients with one to three images, of whom the answers are correlated. Each
cell draws so many test splits and asks the functions in use. A two-sided interval should hold the truth in 95 %, and
so should each one-sided bound that a verdict stands on. ``p`` is the share of right decisions, and the AUC, and where
decisions change it is the share that does. Two formulas that take images for independent stand beside them, to show
what that costs.
"""

import json
import sys
from collections.abc import Callable, Iterator
from functools import cache
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from cxr_core.evaluation.delong import delong
from cxr_core.evaluation.differences import auc_difference_interval, difference_of_shares
from cxr_core.evaluation.intervals import (
    Interval,
    PatientBootstrap,
    auc_interval,
    patient_bootstrap,
    share_interval,
    wilson,
)
from cxr_core.evaluation.metrics import Floats, Labels, expected_calibration_error
from cxr_core.evaluation.paired import calibration_difference, exact_share, mean_interval

RESULT = Path(__file__).resolve().parents[1] / "docs" / "results" / "coverage.json"
PATIENTS = (60, 180, 360)
SHARES = (0.5, 0.7, 0.8, 0.9, 0.95, 0.99)
CHANGED = (0.005, 0.01, 0.02, 0.05)
REPLICATES = 400
UNUSED = ", not used for a bound"
"""Ends the names of the two formulas that take images for independent."""
_COMMON = 0.5  # of the variance of an answer, what images of one patient have in common
_POPULATION = 400_000

Held = Iterator[tuple[str, bool]]


class Cell(NamedTuple):
    """The share of ``runs`` simulated test splits whose interval holds the truth."""

    interval: str
    patients: int
    p: float
    runs: int
    coverage: float


class Split(NamedTuple):
    """A test split: one to three images a patient, half of the patients ill, and its draws."""

    label: Labels
    patient: NDArray[np.int64]
    bootstrap: PatientBootstrap


def simulate(runs: int, seed: int = 0) -> Iterator[Cell]:
    """All cells of the grid."""
    for patients in PATIENTS:
        for ask, grid in ((_answers, SHARES), (_changes, CHANGED)):
            for p in grid:
                rng = np.random.default_rng([seed, patients, round(1000 * p)])
                held: dict[str, list[bool]] = {}
                split = _split(rng, patients)
                for _ in range(runs):
                    for name, holds in ask(rng, split, p):
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
            "mean": round(float(np.mean([cell.coverage for cell in mine])), 3),
            "worst": round(worst.coverage, 3),
            "worst_at": f"{worst.patients} patients, p = {worst.p}",
        }
    return found


def _answers(rng: np.random.Generator, split: Split, p: float) -> Held:
    """One test split on which a share ``p`` of the decisions is right, and one on which the AUC is ``p``."""
    from scipy.stats import norm

    ill, everything = split.label == 1, np.ones(len(split.label), dtype=bool)
    right = _correlated(rng, split) < norm.ppf(p)
    low, high = wilson(int(rng.binomial(len(right), p)), len(right))
    yield "share of independent images, Wilson", low <= p <= high
    low, high = wilson(int(right.sum()), len(right))
    yield f"accuracy, Wilson over images{UNUSED}", low <= p <= high
    for name, within in (("accuracy", everything), ("sensitivity", ill), ("specificity", ~ill)):
        low, high = share_interval(right, within, split.bootstrap)
        yield name, low <= p <= high
    yield from _of_probabilities(rng, split, p)


def _of_probabilities(rng: np.random.Generator, split: Split, p: float) -> Held:
    """A calibrated reference of AUC ``p``, and an engine that adds noise and is a little too sure of itself."""
    from scipy.stats import norm

    label, bootstrap, apart = split.label, split.bootstrap, float(np.sqrt(2) * norm.ppf(p))
    theirs = apart * label + _correlated(rng, split)
    ours = theirs + 0.3 * _correlated(rng, split)
    low, high = auc_interval(label, theirs, bootstrap)
    yield "AUC", low <= p <= high
    truth = float(norm.cdf(apart / np.sqrt(2 * 1.09)) - p)
    yield from _bounds("AUC difference", auc_difference_interval(label, ours, theirs, bootstrap), truth)
    compared = delong(label, ours, theirs)
    assert compared is not None
    holds = abs(compared.difference - truth) <= 1.959964 * compared.standard_error
    yield f"AUC difference, DeLong over images{UNUSED}", holds
    if p == 0.5:  # a calibrated reference then has nothing to say
        return
    reference, engine = _calibrated(theirs, apart), _engine(theirs, apart, _correlated(rng, split))
    shift, grown = _population(p, float(label.mean()))
    yield from _bounds("mean |delta p|", mean_interval(np.abs(engine - reference), bootstrap), shift)
    yield from _bounds("ECE difference", calibration_difference(label, engine, reference, bootstrap), grown)


def _changes(rng: np.random.Generator, split: Split, share: float) -> Held:
    """A reference that is right in 92 %, and an engine that decides otherwise in such a share of the images."""
    from scipy.stats import norm

    ill, everything = split.label == 1, np.ones(len(split.label), dtype=bool)
    right = _correlated(rng, split) < norm.ppf(0.92)
    changed = _correlated(rng, split) < norm.ppf(share)
    yield from _bounds("flips", exact_share(int(changed.sum()), len(changed)), share)
    truth = share * (1 - 2 * 0.92)
    for name, within in (("accuracy", everything), ("sensitivity", ill), ("specificity", ~ill)):
        difference = difference_of_shares(right ^ changed, right, within, split.bootstrap, 0.01)
        assert difference is not None
        yield from _bounds(f"{name} difference", difference, truth)


def _bounds(name: str, found: Interval, truth: float) -> Held:
    yield f"{name}, lower bound", found.low <= truth
    yield f"{name}, upper bound", truth <= found.high


def _calibrated(score: Floats, apart: float, prior: float = 0.5) -> Floats:
    """The probability of class 1, for normal scores ``apart`` between the classes (Bayes)."""
    from scipy.special import expit, logit

    return np.asarray(expit(logit(prior) + apart * (score - apart / 2)))


def _engine(score: Floats, apart: float, noise: Floats) -> Floats:
    from scipy.special import expit

    return np.asarray(expit(1.1 * apart * (score - apart / 2) + 0.1 * noise))


@cache
def _population(p: float, prior: float) -> tuple[float, float]:
    """The true mean |delta p|, and by how much the engine's calibration error is the larger one."""
    from scipy.stats import norm

    rng, apart = np.random.default_rng(0), float(np.sqrt(2) * norm.ppf(p))
    score = apart * (np.arange(_POPULATION) < prior * _POPULATION) + rng.normal(size=_POPULATION)
    reference, engine = _calibrated(score, apart), _engine(score, apart, rng.normal(size=_POPULATION))
    chance = _calibrated(score, apart, prior)  # in place of the label, without its noise
    errors = [expected_calibration_error(chance, one) for one in (engine, reference)]
    return float(np.abs(engine - reference).mean()), errors[0] - errors[1]


def _split(rng: np.random.Generator, patients: int) -> Split:
    patient = np.repeat(np.arange(patients), rng.integers(1, 4, patients))
    label = (np.arange(patients) % 2)[patient]
    return Split(label, patient, patient_bootstrap(label, patient, REPLICATES, 0))


def _correlated(rng: np.random.Generator, split: Split) -> Floats:
    """Standard normal, correlated within a patient."""
    common = rng.normal(size=int(split.patient.max()) + 1)[split.patient]
    own = rng.normal(size=len(split.patient))
    return np.asarray(np.sqrt(_COMMON) * common + np.sqrt(1 - _COMMON) * own)


def main(runs: int, seed: int = 0, write: Callable[[str], object] = sys.stdout.write) -> None:
    """Simulate, print the summary, write the result."""
    found = summary(list(simulate(runs, seed)))
    for name, told in found.items():
        write(f"{name}: mean {told['mean']:.3f}, worst {told['worst']:.3f} ({told['worst_at']})\n")
    result = {
        "made_by": f"python -m benchmarks.coverage {runs} {seed}",
        "how": __doc__,
        "nominal": 0.95,
        "grid": {
            "patients": PATIENTS,
            "images_a_patient": "1 to 3",
            "p": SHARES,
            "changed": CHANGED,
            "correlation": _COMMON,
        },
        "replicates": REPLICATES,
        "runs_a_cell": runs,
        "intervals": found,
    }
    RESULT.write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main(*map(int, sys.argv[1:] or ("1000",)))
