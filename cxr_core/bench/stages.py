"""Where the latency queries' time went on a GPU, under trtexec's names, and its warnings about that.

Source: NVIDIA/TensorRT samples/common/sampleReporting.cpp, v10.16 and v11.1.
"""

from collections.abc import Sequence

import numpy as np
from pydantic import JsonValue

from cxr_core.bench.summary import latency_summary
from cxr_core.engines.contract import Spans

_BOUND = 0.8
UNSTABLE = 2.5  # percent; 1.0 before version 10.16


def stages(spans: Sequence[Spans]) -> dict[str, JsonValue]:
    """Summaries of enqueue, h2d, compute, d2h and of latency, their sum without enqueue; then trtexec's warnings.

    Copies are not among them where nothing was copied. Empty where nothing was measured on a device.
    """
    if not spans:
        return {}
    columns = np.asarray(spans, dtype=np.float64)
    timed = dict(zip(Spans._fields, columns.T, strict=True)) | {"latency": columns[:, 1:].sum(axis=1)}
    found = {name: latency_summary(values, 1) for name, values in timed.items() if values.any()}
    medians = {name: one.median_ms for name, one in found.items()}
    warnings = [text for text in _warnings(medians, found["compute"].cv) if text]
    return {**{name: one.model_dump() for name, one in found.items()}, "warnings": list(warnings)}


def _warnings(median: dict[str, float], variation: float) -> tuple[str, ...]:
    compute = median["compute"]
    return (
        "throughput may be bound by enqueue time; engine.cuda_graph helps"
        if median["enqueue"] > _BOUND * compute
        else "",
        "throughput may be bound by copies to the GPU" if median.get("h2d", 0) >= compute else "",
        "throughput may be bound by copies from the GPU" if median.get("d2h", 0) >= compute else "",
        f"GPU compute time is unstable, coefficient of variation {variation:.1f} %" if variation > UNSTABLE else "",
    )
