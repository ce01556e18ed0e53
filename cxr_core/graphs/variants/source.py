"""What every precision starts from: the exported graph, and the calibration images it is judged on."""

from dataclasses import dataclass
from pathlib import Path

import onnx

from cxr_core.errors import UsageError
from cxr_core.graphs.answers import Answering, Images, Logits
from cxr_core.graphs.calibration import open_calibration, open_held_back
from cxr_core.graphs.files import open_graph
from cxr_core.graphs.metadata import GraphMetadata

BATCH = 8
_CHECKED_IMAGES = 64


@dataclass(frozen=True)
class Source:
    """``images`` are all calibration images, uint8 ``[n, 1, H, W]``; ``judged_on`` is the held-back file, if any."""

    path: Path
    model: onnx.ModelProto
    metadata: GraphMetadata
    images: Images
    judged_on: Path | None = None

    @property
    def sample(self) -> Images:
        """At most 64 of the images, evenly spaced: those on which a variant's answers are checked."""
        return self.images[:: -(-len(self.images) // _CHECKED_IMAGES)]

    def answers(self) -> Logits:
        """The float32 graph's logits on the sample."""
        return Answering(self.path)(self.sample, BATCH)

    def held_back(self) -> Images:
        """Images of training patients outside the calibration set, uint8 ``[n, 1, H, W]``.

        Raises:
            UsageError: none were given.
            DataError: too few, worthless, or among the calibration images.
        """
        if self.judged_on is None:
            raise UsageError(
                "a search for INT8 needs held-back training images and none were given; run the calibration stage "
                "again, or name a calibrator in variant.int8_method"
            )
        return open_held_back(self.judged_on, self.metadata.size, self.images)


def open_source(graph: Path, calibration: Path, held_back: Path | None = None) -> Source:
    """Both files, checked.

    Raises:
        ModelError: the graph breaks its contract.
        UsageError, DataError: calibration images that are missing or worthless.
    """
    model, metadata = open_graph(graph)
    return Source(graph, model, metadata, open_calibration(calibration, metadata.size), held_back)
