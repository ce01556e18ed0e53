"""ONNX to a TensorRT plan.

Networks are strongly typed: the precision is in the graph, where the variant put it. That is the only way that
TensorRT 10.12 and 11 share: builder flags for FP16, BF16 and INT8 are gone in 11. FP32 and TF32 share one graph and
differ by the builder flag TF32, which is on unless it is cleared; around int8 and 16 bit layers it is cleared too, so
that what was left in FP32 runs in FP32.
"""

import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from pydantic import JsonValue

from cxr_core.config import EngineConfig
from cxr_core.engines.graph import INPUT
from cxr_core.engines.tensorrt import TensorRTBackend
from cxr_core.engines.tensorrt.library import tensorrt
from cxr_core.engines.tensorrt.log import log_sink, why
from cxr_core.engines.tensorrt.monitor import PARTS, progress_monitor
from cxr_core.engines.tensorrt.timing import begin, cache_file, keep
from cxr_core.errors import MachineError, ModelError
from cxr_core.progress import Progress
from cxr_core.refs import Precision

_MEBIBYTE = 1 << 20
_ERRORS_SHOWN = 8


def engine_from_onnx(
    *, graph: Path, precision: Precision, engine: Path, config: EngineConfig, progress: Progress, cache: Path | None
) -> dict[str, JsonValue]:
    """Writes the plan; the facts are what it was built with and what the build said.

    A ``progress`` that raises stops the build, and its exception comes out of here.

    Raises:
        ModelError: the parser refuses the graph (its errors with the nodes' names, all of them in the log), or no plan
            comes of it.
        MachineError: TensorRT cannot be used here.
    """
    trt = tensorrt()
    sink = log_sink(trt)
    builder = _builder(trt, sink)
    progress(0, 3 * PARTS, "reading the graph")
    network, parser = _parsed(trt, builder, sink, graph, precision)
    settings = _settings(trt, builder, precision, config)
    shape = _profile(builder, network, settings, config.batches)
    monitor = progress_monitor(trt, progress, PARTS, 3 * PARTS)
    settings.progress_monitor = monitor
    environment = TensorRTBackend().environment()
    file = cache_file(cache, environment) if cache is not None else None
    timing, found = begin(settings, file)
    started = time.monotonic()
    plan = builder.build_serialized_network(network, settings)
    seconds = time.monotonic() - started
    del parser  # not before: the network's weights are in its memory
    if monitor.stopped_by is not None:
        raise monitor.stopped_by
    if plan is None:
        raise ModelError(
            f"TensorRT {trt.__version__} makes no plan of {graph.name} for {precision}: {why(sink)}; the whole log is "
            "in the attempt. Raise engine.workspace_mebibytes if memory was short, or leave this branch out"
        )
    kept = _kept(settings, timing, file, environment)
    engine.write_bytes(memoryview(plan))
    return {
        "note": "; ".join(_notes(sink.warnings, found, kept)),
        "built_with": {
            "profile": shape,
            "tf32": precision is Precision.TF32,
            "optimization_level": config.optimization_level,
            "workspace_mebibytes": config.workspace_mebibytes,
        },
        "build": {"seconds": round(seconds, 3), "timing_cache": found, "warnings": sink.warnings},
    }


def _builder(trt: Any, sink: Any) -> Any:
    try:
        return trt.Builder(sink)
    except TypeError as error:  # what a null from the library becomes: no usable GPU, or a library missing
        raise MachineError(
            f"TensorRT {trt.__version__} cannot start its builder here: {why(sink)} ({error}). Driver, GPU, and the "
            "package's own builder resource for this GPU must fit its version: install TensorRT and its libraries anew"
        ) from error


def _parsed(trt: Any, builder: Any, sink: Any, graph: Path, precision: Precision) -> tuple[Any, Any]:
    """The network, and the parser that must outlive it."""
    # The flag's number differs by version; on 11 it changes nothing.
    network = builder.create_network(1 << int(trt.NetworkDefinitionCreationFlag.STRONGLY_TYPED))
    parser = trt.OnnxParser(network, sink)
    if not parser.parse_from_file(str(graph)):
        told = [_told(parser.get_error(place)) for place in range(parser.num_errors)]
        for line in told:
            sink.log(trt.ILogger.Severity.ERROR, line)
        shown = told[:_ERRORS_SHOWN] or [why(sink)]
        more = f"; and {len(told) - len(shown)} more, all in the attempt's log" if len(told) > len(shown) else ""
        raise ModelError(
            f"TensorRT {trt.__version__} cannot parse {graph.name} for {precision}: {'; '.join(shown)}{more}. "
            "Leave this branch out (precisions, backends) or export the graph with another opset"
        )
    return network, parser


def _told(problem: Any) -> str:
    name, operator = problem.node_name(), problem.node_operator()
    where = f"node {name or problem.node()} ({operator or 'operator not told'})"
    return f"{where}: {problem.desc()}"


def _settings(trt: Any, builder: Any, precision: Precision, config: EngineConfig) -> Any:
    settings = builder.create_builder_config()
    if precision is Precision.TF32:
        settings.set_flag(trt.BuilderFlag.TF32)
    else:
        settings.clear_flag(trt.BuilderFlag.TF32)
    # Without a limit it is all of the GPU's memory, and two builds are not comparable.
    settings.set_memory_pool_limit(trt.MemoryPoolType.WORKSPACE, config.workspace_mebibytes * _MEBIBYTE)
    settings.builder_optimization_level = config.optimization_level
    # Otherwise the inspector knows layers' names and nothing else.
    settings.profiling_verbosity = trt.ProfilingVerbosity.DETAILED
    return settings


def _profile(builder: Any, network: Any, settings: Any, batches: Sequence[int]) -> list[JsonValue]:
    """One profile: smallest, tuned and largest batch. Returns the three shapes of the input."""
    image = next(tuple(port.shape)[1:] for port in _inputs(network) if port.name == INPUT)
    shapes = [(batch, *image) for batch in batches]
    shaped = builder.create_optimization_profile()
    shaped.set_shape(INPUT, *shapes)
    if settings.add_optimization_profile(shaped) < 0:
        raise ModelError(
            f"TensorRT refuses the batches {list(batches)} for images {list(image)}; change engine.batches"
        )
    return [list(shape) for shape in shapes]


def _inputs(network: Any) -> Iterator[Any]:
    return (network.get_input(place) for place in range(network.num_inputs))


def _kept(settings: Any, timing: Any, file: Path | None, environment: dict[str, JsonValue]) -> str:
    """A cache that cannot be kept costs the next build time and nothing else."""
    if file is None:
        return ""
    try:
        keep(settings, timing, file, environment)
    except OSError as error:
        return f"the timing cache could not be kept ({error})"
    return ""


def _notes(warnings: int, found: str, kept: str) -> Iterator[str]:
    if warnings:
        yield f"TensorRT gave {warnings} warning{'s' if warnings > 1 else ''}, see the log"
    if found == "refused":
        yield "TensorRT refused the timing cache it was given, a new one was begun"
    if kept:
        yield kept
