"""The graphs of a run's precisions, answering side by side under ONNX Runtime on the CPU.

What is asked of them here is how an answer hangs on the picture, not how fast: so no engine is needed, every precision
that ONNX Runtime can compute runs in one child, and the result is the same on every machine with the same library.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from cxr_core.engines.graph import variant_metadata
from cxr_core.errors import DataError
from cxr_core.evaluation.metrics import Floats
from cxr_core.evaluation.reading import what
from cxr_core.graphs.answers import Answering, Images, probabilities
from cxr_core.graphs.metadata import GraphMetadata
from cxr_core.refs import Precision

_BATCH = 64


@dataclass(frozen=True)
class Variant:
    """One precision's graph, opened."""

    session: Answering
    metadata: GraphMetadata

    def __call__(self, images: Images) -> Floats:
        """Calibrated probabilities of PNEUMONIA, float64 ``[n]``, of pictures uint8 ``[n, H, W]``."""
        return probabilities(self.session(images[:, None], _BATCH), self.metadata)


def open_variants(listing: Path) -> Mapping[Precision, Variant]:
    """The graphs in a JSON object of paths by precision, FP32 among them.

    Q/DQ is computed as written, not fused, so that INT8 is the graph's and not a fusion's.

    Raises:
        DataError: not such a list, or one without FP32.
        ModelError: a graph that breaks the contract.
    """
    try:
        paths = {Precision(name): listing.parent / path for name, path in json.loads(listing.read_bytes()).items()}
    except (OSError, ValueError, AttributeError, TypeError) as error:
        raise DataError(f"{listing.name}: paths of graphs by precision expected, but {what(error)}") from error
    if Precision.FP32 not in paths:
        raise DataError(f"{listing.name}: fp32 must be among the precisions, found {', '.join(paths) or 'none'}")
    return {
        precision: Variant(Answering(path, "basic" if precision is Precision.INT8 else "all"), variant_metadata(path))
        for precision, path in paths.items()
    }
