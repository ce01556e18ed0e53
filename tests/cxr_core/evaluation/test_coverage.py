"""The intervals hold the truth as often as they say: the recorded simulation, and a shorter one of this code."""

import json
import sys

import pytest

from benchmarks.coverage import PATIENTS, RESULT, SHARES, simulate, summary


def test_the_recorded_coverage_is_the_nominal_one():
    found = json.loads(RESULT.read_text())
    assert (tuple(found["grid"]["patients"]), tuple(found["grid"]["p"])) == (PATIENTS, SHARES)
    for name, told in found["intervals"].items():
        # A difference of shares takes the wider of two bounds, so it may hold the truth more often than it says.
        assert 0.94 <= told["mean"] <= (0.98 if "shares" in name else 0.97), (name, told)
        assert told["worst"] >= 0.88, (name, told)


@pytest.mark.slow
def test_the_code_has_the_recorded_coverage():
    recorded, runs = json.loads(RESULT.read_text())["intervals"], 60
    found = summary(list(simulate(runs, seed=1)))
    sys.stdout.write(f"{found}\n")  # the worst cells
    error = (0.05 * 0.95 / (runs * len(PATIENTS) * len(SHARES))) ** 0.5
    assert set(found) == set(recorded)
    for name, told in found.items():
        assert abs(told["mean"] - recorded[name]["mean"]) < 4 * error, (name, told)
