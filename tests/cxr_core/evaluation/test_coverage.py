"""The intervals hold the truth as often as they say: the recorded simulation, and a shorter one of this code."""

import json
import sys

import pytest

from benchmarks.coverage import CHANGED, PATIENTS, RESULT, SHARES, UNUSED, simulate, summary
from tests.conftest import PROJECT

TOO_OFTEN = {
    "accuracy difference, upper bound",
    "sensitivity difference, lower bound",
    "sensitivity difference, upper bound",
    "specificity difference, lower bound",
    "specificity difference, upper bound",
    "ECE difference, lower bound",
}
TOO_SELDOM = {"AUC difference, lower bound", "mean |delta p|, upper bound", "ECE difference, upper bound"}


def test_the_recorded_coverage_is_the_nominal_one_or_the_documents_say_where_it_is_not():
    found = json.loads(RESULT.read_text())
    assert tuple(tuple(found["grid"][name]) for name in ("patients", "p", "changed")) == (PATIENTS, SHARES, CHANGED)
    chance = (0.05 * 0.95 / found["runs_a_cell"]) ** 0.5
    told = (PROJECT / "docs/report.md").read_text(encoding="utf-8")
    assert set(found["intervals"]) > TOO_OFTEN | TOO_SELDOM
    for name, held in found["intervals"].items():
        if name in TOO_OFTEN:
            assert held["mean"] > 0.97, name  # else it is no exception
        elif name in TOO_SELDOM or name.endswith(UNUSED):
            assert held["mean"] < 0.94, name
        else:
            assert 0.94 <= held["mean"] <= 0.97, name
            assert held["worst"] > 0.95 - 4 * chance, name  # the worst of dozens of cells, by chance alone
            continue
        cell = name.replace("|", "\\|")
        assert f"| {cell} | {held['mean']:.3f} | {held['worst']:.3f} |" in told


@pytest.mark.slow
def test_the_code_has_the_recorded_coverage():
    recorded, runs = json.loads(RESULT.read_text())["intervals"], 60
    cells = list(simulate(runs, seed=1))
    found = summary(cells)
    sys.stdout.write(f"{found}\n")  # the worst cells
    assert set(found) == set(recorded)
    for name, told in found.items():
        share, asked = recorded[name]["mean"], sum(cell.interval == name for cell in cells)
        error = (max(share * (1 - share), 0.01) / (runs * asked)) ** 0.5
        assert abs(told["mean"] - share) < 5 * error, (name, told)  # the recorded one has an error of its own
