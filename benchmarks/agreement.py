"""Our figures against those of OpenVINO's own ``benchmark_app`` and of ONNX Runtime's bare ``session.run``, on the same
engine, and what our loop costs a query.

Both sides run in a process of their own each round, ask synchronously and feed tensors that they made before: what
differs is the harness. ``benchmark_app`` (2026.4) refuses every compiled blob, so it compiles the graph that our blob
came of, with our properties and without changes of its own (``-lfile``); two such builds have the same bytes. It prints
a median from 1 ms on to 0.01 ms.
"""

import json
import re
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from pydantic import JsonValue

from benchmarks.evaluation import untrained_graph
from benchmarks.pairs import Growth, Paired
from cxr_core.bench.inputs import batches
from cxr_core.bench.loop import turn
from cxr_core.bench.ratio import ratio_from_rounds
from cxr_core.bench.warmup import warm_up
from cxr_core.child import run_child
from cxr_core.config import EngineConfig
from cxr_core.engines import registry
from cxr_core.engines.graph import variant_metadata
from cxr_core.engines.onnxruntime.runner import session_options
from cxr_core.progress import silent
from cxr_core.refs import Precision

_BATCHES = (1, 32)
_LOW, _HIGH = 0.98, 1.02
_WARMUP = 0.5, 5.0  # seconds at least, and at most
Figures = dict[str, Any]  # "rate", images a second, and "median_ms"
# As the command would start it, without its telemetry.
_APP = "import sys; sys.modules['openvino_telemetry'] = None; from openvino.tools.benchmark.main import main; main()"


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


def measure(rounds: int, seconds: int = 5) -> list[Paired | Growth]:
    """The network of profile quick (untrained weights are as fast) in fp32, on one thread; each run ``seconds``.

    One thread alone: what else the machine does then has a processor to run on. With all of them taken it lands in one
    side or the other, and what differs is no longer the harness.
    """
    config = EngineConfig(threads=1)
    found: list[Paired | Growth] = [harness_cost(rounds)]
    with tempfile.TemporaryDirectory() as scratch:
        graph = untrained_graph(Path(scratch))
        engines = {name: _built(name, graph, config) for name in ("openvino", "onnxruntime")}

        def side(function: str, backend: str, batch: int) -> Figures:
            return _apart(function, engines[backend], backend, batch, seconds, config)

        for batch in _BATCHES:
            mine, other = partial(side, "ours", "openvino", batch), partial(theirs, graph, batch, seconds, config)
            found.extend(_pairs(f"OpenVINO, batch {batch}: ours / benchmark_app", mine, other, rounds))
            mine, other = (partial(side, function, "onnxruntime", batch) for function in ("ours", "bare"))
            found.extend(_pairs(f"ONNX Runtime, batch {batch}: ours / session.run", mine, other, rounds))
    return found


def harness_cost(rounds: int, queries: int = 50_000) -> Growth:
    """Microseconds that a query takes where the engine does nothing; ``queries`` a round."""
    growth = Growth("agreement", "a query of an engine that does nothing (target: <= 2 us)", "us")
    inputs = batches(1, 8, 8, 0)
    turn(Nothing(), inputs, 0.0, least=queries)  # type: ignore[arg-type]
    for _ in range(rounds):
        growth.steps.append(1e6 * turn(Nothing(), inputs, 0.0, least=queries).seconds / queries)  # type: ignore[arg-type]
    return growth


def ours(*, backend: str, engine: Path, batch: int, seconds: float, threads: int) -> Figures:
    """In a child: images a second and median milliseconds by our loop."""
    config = EngineConfig(threads=threads)
    with registry.backend(backend).runner(engine, precision=Precision.FP32, config=config) as runner:
        height, width = runner.input_shape[2:]
        inputs = batches(batch, height, width, 0)
        warm_up(runner, inputs, *_WARMUP)
        done = turn(runner, inputs, seconds)
    return {"rate": done.images_per_second, "median_ms": float(np.median(done.milliseconds))}


def bare(*, backend: str, engine: Path, batch: int, seconds: float, threads: int) -> Figures:
    """In a child: the same by ``session.run`` in a loop, with our runner's options and inputs made before."""
    import onnxruntime

    options = session_options(EngineConfig(threads=threads))
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    session = onnxruntime.InferenceSession(str(engine), options, providers=["CPUExecutionProvider"])
    name, (_, _, height, width) = session.get_inputs()[0].name, session.get_inputs()[0].shape
    fed = [{name: images} for images in batches(batch, height, width, 0)]
    times: list[float] = []
    for length in (_WARMUP[0], seconds):  # what the first takes is not counted
        times, began = [], time.perf_counter()
        while time.perf_counter() - began < length:
            start = time.perf_counter()
            session.run(None, fed[len(times) % len(fed)])
            times.append(time.perf_counter() - start)
        length = time.perf_counter() - began
    return {"rate": batch * len(times) / length, "median_ms": 1000 * float(np.median(times))}


def theirs(graph: Path, batch: int, seconds: int, config: EngineConfig) -> Figures:
    """The same by ``benchmark_app``, told our properties and nothing else.

    Raises:
        RuntimeError: it failed, or its words are no longer those that are known here; its output is the message.
    """
    from cxr_core.engines.openvino.runner import properties

    size = variant_metadata(graph).size
    told = {"CPU": {name: _spelt(value) for name, value in properties(Precision.FP32, config).items()}}
    settings = graph.with_suffix(".json")
    settings.write_text(json.dumps(told), encoding="utf-8")
    done = subprocess.run(
        [
            *(sys.executable, "-c", _APP, "-lfile", "-m", str(graph), "-d", "CPU", "-api", "sync", "-hint", "none"),
            *("-t", str(seconds), "-load_config", str(settings)),
            *("-data_shape", f"input[{batch},1,{size},{size}]"),
        ],
        capture_output=True,
        text=True,
        check=False,
    )
    rate = re.search(r"Throughput:\s+([\d.]+) FPS", done.stdout)
    median = re.search(r"Median:\s+([\d.]+) (us|ms)", done.stdout)
    if done.returncode or not rate or not median:
        raise RuntimeError(f"benchmark_app ended with {done.returncode}:\n{done.stdout[-2000:]}{done.stderr[-2000:]}")
    return {"rate": float(rate[1]), "median_ms": float(median[1]) * (0.001 if median[2] == "us" else 1)}


def _pairs(
    which: str, mine: Callable[[], Figures], others: Callable[[], Figures], rounds: int
) -> tuple[Agreed, Agreed]:
    """A round before is not counted; the two take turns in going first."""
    target = f"{_LOW}..{_HIGH}"
    rate = Agreed("agreement", f"images/s, {which}", target, "images/s")
    median = Agreed("agreement", f"median latency, {which}", target, "ms")
    for number in range(rounds + 1):
        sides = [(mine, rate.mine, median.mine), (others, rate.others, median.others)]
        for side, rates, medians in sides if number % 2 else reversed(sides):
            figures = side()
            if number:
                rates.append(figures["rate"])
                medians.append(figures["median_ms"])
    return rate, median


def _built(backend: str, graph: Path, config: EngineConfig) -> Path:
    engine = graph.with_name(backend)
    registry.backend(backend).build(
        graph=graph, precision=Precision.FP32, engine=engine, config=config, progress=silent
    )
    return engine


def _apart(function: str, engine: Path, backend: str, batch: int, seconds: float, config: EngineConfig) -> Figures:
    wish: dict[str, JsonValue] = {"engine": str(engine), "backend": backend, "batch": batch, "seconds": seconds}
    wish |= {"threads": config.threads}
    log = engine.with_suffix(".log")
    return run_child(f"benchmarks.agreement:{function}", wish, purpose=function, log=log, devices=()).facts


def _spelt(value: object) -> str:
    return {True: "YES", False: "NO"}[value] if isinstance(value, bool) else str(value)
