"""The knee of a rate by its stated rule, and the sweep of an engine over its batches."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from cxr_core.bench.knee import agreement, knee
from cxr_core.bench.sweep import SweepResult, batch_sizes, knee_of, sweep
from cxr_core.config import BenchmarkConfig, EngineConfig
from cxr_core.errors import BranchError
from tests.cxr_core.bench.virtual import forged_work

SIZES = [1, 2, 4, 8, 16, 32, 64]
FAST = BenchmarkConfig(warmup_seconds=0.02, warmup_longest_seconds=0.2, round_seconds=0.02, rounds=4, peak_seconds=0.02)


def saturating(overhead: float) -> np.ndarray:
    """Images a second where a query takes ``overhead`` + batch."""
    return np.array([size / (overhead + size) for size in SIZES])


def test_the_knee_of_a_curve_that_saturates_is_where_it_is_farthest_above_its_chord() -> None:
    # On the scale 0..1 a query of overhead 4 is .81 of the way up at 15/63 = .24 of the way along: farthest apart.
    assert knee(SIZES, saturating(4)) == 16
    assert knee(SIZES, saturating(0.5)) == 8
    assert knee(SIZES, saturating(4) * 1e4) == 16
    # 5 - 1/x from 0.1 to 1 is farthest above its chord, of slope 10, where its own slope is 10: at 1/sqrt(10) = 0.316.
    tenths = list(range(1, 11))
    assert knee(tenths, [5 - 10 / tenth for tenth in tenths]) == 3


@pytest.mark.parametrize(
    ("rates", "why"),
    [
        ([size * 10 for size in SIZES], "a straight line"),
        ([size**1.2 for size in SIZES], "ever steeper"),
        ([9, 8, 7, 6, 5, 4, 3], "highest at the first"),
        ([8, 9, 7, 6, 5, 4, 3], "highest at the second"),
        ([5.0] * 7, "flat"),
    ],
)
def test_curves_without_a_knee(rates: list[float], why: str) -> None:
    assert knee(SIZES, rates) is None, why


def test_what_comes_after_the_highest_point_does_not_count() -> None:
    rising = saturating(1)[:5]
    assert knee(SIZES, [*rising, 0.2, 0.1]) == knee(SIZES[:5], rising)


def test_agreement_tells_a_sure_knee_from_a_toss() -> None:
    random = np.random.default_rng(0)
    sure = saturating(4) * np.exp(random.normal(0, 0.002, (10, 7)))
    assert agreement(SIZES, sure, 0) == 1.0
    tossed = saturating(4) * np.exp(random.normal(0, 0.3, (10, 7)))
    assert agreement(SIZES, tossed, 0) < 0.95
    assert agreement(SIZES, tossed, 0) == agreement(SIZES, tossed, 0)


def test_the_knee_is_said_with_what_it_gives() -> None:
    rates = np.tile(saturating(4), (4, 1))
    assert knee_of(SIZES, rates, 0).says.startswith("knee at batch 16: 85 % of the highest rate, which is at batch 64")
    assert "highest at batch 1 already" in knee_of(SIZES, rates[:, ::-1], 0).says
    assert "rises about evenly up to batch 64" in knee_of(SIZES, np.tile(np.array(SIZES, float), (4, 1)), 0).says


def test_batches_are_powers_of_two_within_the_profiles_and_its_own_three() -> None:
    assert batch_sizes(EngineConfig()) == SIZES
    assert batch_sizes(EngineConfig(batches=(3, 12, 20))) == [3, 4, 8, 12, 16, 20]
    assert batch_sizes(EngineConfig(batches=(5, 5, 5))) == [5]


def run(folder: Path, **changed) -> SweepResult:
    found = sweep(
        engine=folder / "engine", engine_metadata=folder / "engine.json", config=FAST.model_copy(update=changed),
        engine_config=EngineConfig(threads=1, batches=(1, 4, 8)),
    )  # fmt: skip
    return SweepResult.model_validate(found)


@pytest.mark.parametrize("name", ["openvino", "fake"])
def test_a_sweep_measures_every_batch_in_every_round(name: str, built: Callable[..., Path]) -> None:
    found = run(built(name))
    assert [one.batch for one in found.batches] == [1, 2, 4, 8] and found.rounds == 4
    for one in found.batches:
        assert one.images_per_second.rounds == 4 and one.latency.batch == one.batch and one.latency.count >= 4
        assert one.images_per_second.low <= one.images_per_second.value <= one.images_per_second.high
    assert found.engine.backend == name and found.engine.fake is (name == "fake")


def test_an_engine_of_5_ms_a_query_gains_by_every_image(
    built: Callable[..., Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = built("fake", "int8")
    monkeypatch.setenv("CXR_FAKE", "slow:int8")
    found = run(folder, rounds=6)
    assert found.knee.batch is None
    assert found.batches[-1].images_per_second.value > 4 * found.batches[0].images_per_second.value


def test_every_round_has_an_order_of_its_own(built: Callable[..., Path], monkeypatch: pytest.MonkeyPatch) -> None:
    from cxr_core.bench import sweep as module

    seen, turn = [], module.turn
    monkeypatch.setattr(
        module, "turn", lambda runner, inputs, s: (seen.append(len(inputs[0])), turn(runner, inputs, s))[1]
    )
    run(built("fake"))
    rounds = [tuple(seen[i : i + 4]) for i in range(0, 16, 4)]
    assert all(sorted(one) == [1, 2, 4, 8] for one in rounds) and len(set(rounds)) > 1


@pytest.mark.parametrize("fault", ["wrong:int8", "batch:int8", "memory:int8", "memories:int8"])
def test_a_sweep_of_wrong_answers_is_refused(
    fault: str, built: Callable[..., Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = built("fake", "int8")
    monkeypatch.setenv("CXR_FAKE", fault)
    with pytest.raises(BranchError, match="not a valid measurement"):
        run(folder)


@pytest.mark.slow
def test_a_rate_above_what_the_device_computes_is_refused(built: Callable[..., Path], tmp_path: Path) -> None:
    forged = forged_work(built("openvino"), tmp_path / "forged")
    with pytest.raises(BranchError, match=r"not a valid measurement: .*images/s x 1e\+05 GFLOP"):
        run(forged)
