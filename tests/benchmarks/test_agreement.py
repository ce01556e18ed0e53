"""The benchmark of our harness against the libraries' own: its verdict, and that all sides can be asked at all."""

from pathlib import Path

import pytest

from benchmarks import agreement
from benchmarks.agreement import Agreed


@pytest.mark.parametrize(
    ("ratios", "verdict"),
    [
        ([1.001, 0.999, 1.002, 1.0, 0.998, 1.001], "agree"),
        ([1.10, 1.11, 1.09, 1.10, 1.12, 1.10], "differ"),
        ([0.90, 0.91, 0.89, 0.90, 0.92, 0.90], "differ"),
        ([1.03, 0.97, 1.02, 0.98, 1.04, 0.99], "inconclusive"),
        ([1.021, 1.019, 1.020, 1.021, 1.018, 1.022], "inconclusive"),
    ],
)
def test_harnesses_agree_where_the_whole_interval_is_within_two_percent(ratios: list[float], verdict: str) -> None:
    pair = Agreed("agreement", "x", "0.98..1.02", "ms", mine=ratios, others=[1.0] * len(ratios))
    assert pair.verdict == verdict and pair.text().endswith(verdict) and pair.plain()["verdict"] == verdict


def test_the_cost_of_a_query_is_of_so_many_rounds() -> None:
    found = agreement.harness_cost(3, queries=200)
    assert len(found.steps) == 3 and all(step > 0 for step in found.steps) and found.unit == "us"


def test_sides_take_turns_in_going_first_and_a_round_before_is_not_counted() -> None:
    asked: list[str] = []

    def harness(name: str, milliseconds: float) -> agreement.Harness:
        def took() -> agreement.Took:
            asked.append(name)
            return 10, 10 * milliseconds / 1000, milliseconds

        return took

    found = agreement.alternating(harness("o", 5.0), harness("t", 10.0), 4)
    assert "".join(asked) == "toottootto" + 2 * ("ottoottoot" + "toottootto")
    rate, median = agreement._pairs("x", found)
    assert rate.ratios == [2.0] * 4 and median.ratios == [0.5] * 4
    assert rate.row()[3] == "2.000 [2.000, 2.000] differ"


@pytest.mark.parametrize("backend", ["openvino", "onnxruntime"])
def test_both_harnesses_ask_one_engine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, backend: str) -> None:
    monkeypatch.setattr(agreement, "_TURN_SECONDS", 0.02)
    engine = agreement.built(backend, agreement.untrained_graph(tmp_path))
    found = agreement.both(backend=backend, engine=engine, batch=2, rounds=2, threads=1)
    for name in ("ours", "other"):  # two images a query: units and batch are right, whatever the machine does
        assert len(found[name]) == 2
        for rate, median_ms in found[name]:
            assert 0.02 < rate * median_ms / 1000 / 2 < 1.9
