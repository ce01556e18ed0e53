"""Logs as trtexec writes them, made of a few figures that hang together."""

from collections.abc import Callable
from pathlib import Path

import pytest

Write = Callable[..., Path]


def spread(median: float, percents: tuple[int, ...], mean: float | None = None) -> str:
    mean = median if mean is None else mean
    named = {"min": median * 0.99, "max": median * 1.02, "mean": mean, "median": median}
    named |= {f"percentile({percent}%)": median * 1.01 for percent in percents}
    return ", ".join(f"{name} = {value:g} ms" for name, value in named.items())


def log_text(
    *,
    command: str = "--loadEngine=net.engine",
    version: int = 101200,
    queries: int = 3000,
    walltime: float = 3.0,
    compute: float = 0.98,
    times: int = 1,
    percents: tuple[int, ...] = (90, 95, 99),
    variation: float | None = None,
    device: tuple[str, str, int, float] | None = None,
    binding: str | None = None,
    trace: int | None = None,
    prefix: str = "[11/27/2026-10:00:00] ",
) -> str:
    """``times``: what throughput is multiplied by; ``compute``: mean GPU compute in ms."""
    lines = [f"&&&& RUNNING TensorRT.trtexec [TensorRT v{version}] # trtexec {command}"]
    if device is not None:
        name, capability, multiprocessors, clock = device
        lines += [
            f"{prefix}[I] Selected Device: {name}", f"{prefix}[I] Compute Capability: {capability}",
            f"{prefix}[I] SMs: {multiprocessors}", f"{prefix}[I] Application Compute Clock Rate: {clock:g} GHz",
        ]  # fmt: skip
    if binding:
        lines.append(f"{prefix}[I] Input binding for input with dimensions {binding} is created.")
    if trace:
        lines.append(f"{prefix}[I] Timing trace has {trace} queries over {walltime:g} s")
    lines += [
        f"{prefix}[I] Average on 10 runs - GPU latency: 1 ms - Host latency: 1 ms (enqueue 0.1 ms)",
        f"{prefix}[I] === Performance summary ===",
        f"{prefix}[I] Throughput: {queries * times / walltime:g} qps",
        f"{prefix}[I] Latency: {spread(compute * 1.01, percents)}",
        f"{prefix}[I] Enqueue Time: {spread(0.01, percents)}",
        f"{prefix}[I] H2D Latency: {spread(0.005, percents)}",
        f"{prefix}[I] GPU Compute Time: {spread(compute, percents)}",
        f"{prefix}[I] D2H Latency: {spread(0.005, percents)}",
        f"{prefix}[I] Total Host Walltime: {walltime:g} s",
        f"{prefix}[I] Total GPU Compute Time: {queries * compute / 1000:g} s",
    ]
    if variation is not None:
        lines.append(f"{prefix}[W] * GPU compute time is unstable, with coefficient of variance = {variation:g}%.")
    lines += [
        f"{prefix}[V] === Explanations of the performance metrics ===",
        f"{prefix}[V] Throughput: the observed throughput computed by dividing the number of queries by the walltime.",
        f"{prefix}[V] GPU Compute Time: the GPU latency to execute the kernels for a query.",
        "&&&& PASSED TensorRT.trtexec",
    ]
    return "\n".join(lines) + "\n"


@pytest.fixture
def write(tmp_path: Path) -> Write:
    """``write(name, **figures)``: a log file."""

    def written(name: str, **figures: object) -> Path:
        path = tmp_path / name
        path.write_text(log_text(**figures), encoding="utf-8")  # type: ignore[arg-type]
        return path

    return written
