"""Our figures against those of OpenVINO's own ``benchmark_app`` and of ONNX Runtime's bare ``session.run``, on the same
engine, and what our loop costs a query.

Both sides are in one process, ask synchronously and feed arrays that were made before, and take turns of a fifth of a
second: what differs is the harness. In processes of their own, 5 s each, on a machine whose speed moved by a tenth
within a minute, 15 rounds left every interval wider than the 4 % asked for. Of ``benchmark_app`` (2026.4) it is
therefore the main loop that is asked, not the command, which refuses every compiled blob as well.
"""

import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from time import perf_counter
from typing import Any

import numpy as np
from pydantic import JsonValue

from benchmarks.evaluation import untrained_graph
from benchmarks.pairs import Growth, Paired
from cxr_core.bench.inputs import batches
from cxr_core.bench.loop import turn
from cxr_core.bench.ratio import ratio_from_rounds
from cxr_core.child import run_child
from cxr_core.config import EngineConfig
from cxr_core.engines import registry
from cxr_core.engines.contract import Images, Runner
from cxr_core.progress import silent
from cxr_core.refs import Precision

_BATCHES = (1, 32)
_LOW, _HIGH = 0.98, 1.02
_TURN_SECONDS = 0.2
_EXCHANGES = 5  # A B, B A, A B ... within a round

# One turn: images, the seconds that they took, and the median latency in milliseconds.
Took = tuple[int, float, float]
Harness = Callable[[], Took]


@dataclass
class Agreed(Paired):
    """Ratios with a 95 % interval over rounds: harnesses agree where all of it lies within 0.98..1.02."""

    @property
    def verdict(self) -> str:
        found = ratio_from_rounds(self.ratios, 0)
        if found.low >= _LOW and found.high <= _HIGH:
            return "agree"
        return "differ" if found.low > _HIGH or found.high < _LOW else "inconclusive"

    def text(self) -> str:
        """The ratio, its interval and what follows."""
        found = ratio_from_rounds(self.ratios, 0)
        return f"{found.value:.3f} [{found.low:.3f}, {found.high:.3f}] {self.verdict}"

    def plain(self) -> dict[str, object]:
        """For JSON."""
        ratio = ratio_from_rounds(self.ratios, 0).model_dump()
        return {**super().plain(), "ratio": ratio, "verdict": self.verdict}


class Nothing:
    """An engine that does nothing: what a query then takes is the harness."""

    input_shape = (-1, 1, 8, 8)
    spans = None
    bound_images = 1

    def __call__(self, images: Any) -> Any:
        return images


def measure(rounds: int) -> list[Paired | Growth]:
    """The network of profile quick (untrained weights are as fast) in fp32, on one thread.

    One thread alone: what else the machine does then has a processor to run on. With all of them taken it lands in one
    side or the other, and what differs is no longer the harness.
    """
    found: list[Paired | Growth] = [harness_cost(rounds)]
    with tempfile.TemporaryDirectory() as scratch:
        graph = untrained_graph(Path(scratch))
        for backend, of, other in (
            ("openvino", "OpenVINO", "benchmark_app"),
            ("onnxruntime", "ONNX Runtime", "session.run"),
        ):
            engine = built(backend, graph)
            for batch in _BATCHES:
                found.extend(_pairs(f"{of}, batch {batch}: ours / {other}", _apart(engine, backend, batch, rounds)))
    return found


def built(backend: str, graph: Path) -> Path:
    """The engine, beside its graph, for one thread."""
    engine = graph.with_name(backend)
    registry.backend(backend).build(
        graph=graph, precision=Precision.FP32, engine=engine, config=EngineConfig(threads=1), progress=silent
    )
    return engine


def harness_cost(rounds: int, queries: int = 50_000) -> Growth:
    """Microseconds that a query takes where the engine does nothing; ``queries`` a round."""
    growth = Growth("agreement", "a query of an engine that does nothing (target: <= 2 us)", "us")
    inputs = batches(1, 8, 8, 0)
    turn(Nothing(), inputs, 0.0, least=queries)  # type: ignore[arg-type]
    for _ in range(rounds):
        growth.steps.append(1e6 * turn(Nothing(), inputs, 0.0, least=queries).seconds / queries)  # type: ignore[arg-type]
    return growth


def both(*, backend: str, engine: Path, batch: int, rounds: int, threads: int) -> dict[str, list[list[float]]]:
    """In a child: images a second and median milliseconds of each round, ``ours`` and ``other``."""
    config = EngineConfig(threads=threads)
    with registry.backend(backend).runner(engine, precision=Precision.FP32, config=config) as runner:
        inputs = batches(batch, *runner.input_shape[2:], 0)
        other = {"openvino": benchmark_app, "onnxruntime": session_run}[backend](runner, inputs)
        return alternating(ours(runner, inputs), other, rounds)


def ours(runner: Runner, inputs: Sequence[Images]) -> Harness:
    """Our loop."""

    def took() -> Took:
        done = turn(runner, inputs, _TURN_SECONDS)
        return int(done.bound.sum()), done.seconds, float(np.median(done.milliseconds))

    return took


def benchmark_app(runner: Any, inputs: Sequence[Images]) -> Harness:
    """OpenVINO's: its class ``Benchmark`` on the runner's compiled model, with a request of its own.

    ``-api sync``, inputs set anew for each query (``-inference_only false``), as ours are.
    """
    from cxr_core.engines.openvino.library import library

    openvino = library()
    from openvino.tools.benchmark.benchmark import Benchmark
    from openvino.tools.benchmark.utils.inputs_filling import DataQueue

    app = Benchmark("CPU", 1, None, _TURN_SECONDS, "sync", False)  # type: ignore[arg-type]  # its seconds need not be whole
    batch = len(inputs[0])
    queue = DataQueue({0: [openvino.Tensor(images) for images in inputs]}, [batch])
    requests = [runner._compiled.create_infer_request()]

    def took() -> Took:
        rate, median_ms, *_, seconds, _ = app.main_loop(requests, queue, range(batch), 50, False)
        return round(rate * seconds), seconds, median_ms

    return took


def session_run(runner: Any, inputs: Sequence[Images]) -> Harness:
    """ONNX Runtime's: ``session.run`` in a bare loop."""
    fed = [{runner._session.get_inputs()[0].name: images} for images in inputs]

    def took() -> Took:
        times, began = list[float](), perf_counter()
        while perf_counter() - began < _TURN_SECONDS:
            start = perf_counter()
            runner._session.run(None, fed[len(times) % len(fed)])
            times.append(perf_counter() - start)
        return len(times) * len(inputs[0]), perf_counter() - began, 1000 * median(times)

    return took


def alternating(mine: Harness, other: Harness, rounds: int) -> dict[str, list[list[float]]]:
    """Each round's images a second, over all of its turns, and median of its turns' medians. A round before is not
    counted; the two take turns in going first."""
    found: dict[str, list[list[float]]] = {"ours": [], "other": []}
    for number in range(rounds + 1):
        turns: dict[str, list[Took]] = {"ours": [], "other": []}
        for exchange in range(_EXCHANGES):
            sides = [("ours", mine), ("other", other)]
            for name, harness in sides if (number + exchange) % 2 else reversed(sides):
                turns[name].append(harness())
        for name, kept in turns.items() if number else ():
            images, seconds, medians = zip(*kept, strict=True)
            found[name].append([sum(images) / sum(seconds), median(medians)])
    return found


def _pairs(which: str, figures: dict[str, list[list[float]]]) -> tuple[Agreed, Agreed]:
    rates, medians = (
        Agreed(
            "agreement",
            f"{what}, {which}",
            f"{_LOW}..{_HIGH}",
            unit,
            *([row[i] for row in figures[side]] for side in figures),
        )
        for i, (what, unit) in enumerate((("images/s", "images/s"), ("median latency", "ms")))
    )
    return rates, medians


def _apart(engine: Path, backend: str, batch: int, rounds: int) -> dict[str, list[list[float]]]:
    wish: dict[str, JsonValue] = {
        "engine": str(engine),
        "backend": backend,
        "batch": batch,
        "rounds": rounds,
        "threads": 1,
    }
    log = engine.with_suffix(".log")
    return run_child("benchmarks.agreement:both", wish, purpose="agreement", log=log, devices=()).facts  # type: ignore[return-value]
