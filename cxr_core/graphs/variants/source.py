"""What every precision starts from: the exported graph, and the calibration images it is judged on."""

from dataclasses import dataclass
from pathlib import Path

import onnx

from cxr_core.graphs.answers import Answering, Images, Logits
from cxr_core.graphs.calibration import open_calibration
from cxr_core.graphs.files import open_graph
from cxr_core.graphs.metadata import GraphMetadata

BATCH = 8
_CHECKED_IMAGES = 64


@dataclass(frozen=True)
class Source:
    """``images`` are all calibration images, uint8 ``[n, 1, H, W]``."""

    path: Path
    model: onnx.ModelProto
    metadata: GraphMetadata
    images: Images

    @property
    def sample(self) -> Images:
        """At most 64 of the images, evenly spaced: those on which a variant's answers are checked."""
        return self.images[:: -(-len(self.images) // _CHECKED_IMAGES)]

    def answers(self) -> Logits:
        """The float32 graph's logits on the sample."""
        return Answering(self.path)(self.sample, BATCH)


def open_source(graph: Path, calibration: Path) -> Source:
    """Both files, checked.

    Raises:
        ModelError: the graph breaks its contract.
        UsageError, DataError: calibration images that are missing or worthless.
    """
    model, metadata = open_graph(graph)
    return Source(graph, model, metadata, open_calibration(calibration, metadata.size))
