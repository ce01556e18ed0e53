"""variant: the graph lowered to one precision. One file a precision; this one chooses."""

from pathlib import Path

from pydantic import JsonValue

from cxr_core.config import VariantConfig
from cxr_core.errors import UsageError
from cxr_core.progress import Progress, silent
from cxr_core.refs import Precision


def variant(
    *,
    graph: Path,
    calibration: Path,
    out: Path,
    precision: Precision,
    config: VariantConfig,
    held_back: Path | None = None,
    progress: Progress = silent,
) -> dict[str, JsonValue]:
    """Write ``out/variant.onnx`` and say what was lowered, what was kept, and how far the answers moved.

    ``calibration`` is uint8 ``[n, 1, H, W]``; up to 64 of its images are answered by the variant and
    by the float32 graph (``check`` in the facts). ``held_back``, of the same shape, is what a search
    for INT8 is judged on (``search`` in the facts, see :class:`cxr_core.graphs.int8.found.Found`).

    Raises:
        ModelError: the graph breaks its contract or cannot be lowered.
        UsageError: no calibration images, no held-back ones for a search, or a precision that has no variant.
        DataError: calibration or held-back images of another shape, too few, blank, or noise.
    """
    # Here, so that a package that is only looked at loads no library.
    from cxr_core.graphs.variants import bf16, fp16, fp32, int8
    from cxr_core.graphs.variants.source import open_source

    rooms = {
        Precision.FP32: fp32.lowered,
        Precision.TF32: fp32.lowered,
        Precision.FP16: fp16.lowered,
        Precision.BF16: bf16.lowered,
        Precision.INT8: int8.lowered,
    }
    if precision not in rooms:
        raise UsageError(f"there is no {precision} variant; choose one of {', '.join(rooms)}")
    written = out / "variant.onnx"
    facts = rooms[precision](open_source(graph, calibration, held_back), written, config, progress)
    return {"precision": str(precision), **facts, "bytes": written.stat().st_size}
