"""What was timed here, summed up as trtexec does."""

from pathlib import Path

import numpy as np
import pytest

from cxr_core.bench.loop import Turn
from cxr_core.bench.trtexec.exporting import Timed, export_logs, log_of
from cxr_core.bench.trtexec.logs import parse_log, text_of_log
from cxr_core.bench.trtexec.times import queries_of
from cxr_core.engines.contract import Spans
from cxr_core.engines.metadata import read_metadata
from cxr_core.errors import UsageError
from tests.cxr_core.bench.test_benchmark import Built


def _turn(count: int, spans: tuple[Spans, ...] = ()) -> Turn:
    starts = np.arange(count, dtype=np.int64) * 3_000_000
    return Turn(starts, starts + 2_000_000, np.ones(count, dtype=np.int64), (), spans)


def _figures(count: int) -> dict[str, dict[str, float]]:
    return {"latency": {"count": count, "mean_ms": 2.0}}


def test_a_gpu_s_stages_each_have_a_line() -> None:
    spans = tuple(Spans(0.01, 0.25, 1.0 if query % 2 else 1.5, 0.125) for query in range(700))
    text = text_of_log(log_of(_figures(700), queries_of([_turn(700, spans)]), 96))
    assert text.splitlines()[:4] == [
        "[I] Input binding for input with dimensions 1x1x96x96 is created.", "[I] === Performance summary ===",
        "[I] Throughput: 500 qps",
        "[I] Latency: min = 1.375 ms, max = 1.875 ms, mean = 1.625 ms, median = 1.625 ms, "
        "percentile(90%) = 1.875 ms, percentile(95%) = 1.875 ms, percentile(99%) = 1.875 ms",
    ]  # fmt: skip
    log = parse_log(text, "x")
    assert log.enqueue is not None and log.h2d is not None and log.d2h is not None
    assert (log.enqueue.mean, log.h2d.mean, log.d2h.mean) == (0.01, 0.25, 0.125)
    assert (log.walltime, log.compute_total, log.variation) == (1.4, 0.875, 20.0)
    assert len(f"{log.compute.mean}") <= 8


def test_on_a_cpu_all_is_compute_and_a_percentile_needs_its_count() -> None:
    log = log_of(_figures(70), queries_of([_turn(70)]), 96)
    assert (log.enqueue, log.h2d, log.d2h, log.variation) == (None, None, None, None)
    assert log.compute == log.latency and set(log.compute.percentiles) == {90.0}


def test_what_a_test_double_timed_is_not_written(built: Built, tmp_path: Path) -> None:
    known = read_metadata(built("fake") / "engine.json")
    with pytest.raises(UsageError, match="fp32@fake is a test double's: nothing was measured"):
        export_logs([Timed(known, {}, tmp_path / "times.json")], tmp_path / "out")
    assert not (tmp_path / "out").exists()
