"""ONNX to a TensorRT plan: not built by this version."""

from pathlib import Path
from typing import NoReturn

from cxr_core.config import EngineConfig
from cxr_core.engines.tensorrt import missing
from cxr_core.errors import MachineError
from cxr_core.progress import Progress
from cxr_core.refs import Precision


def engine_from_onnx(
    *, graph: Path, precision: Precision, engine: Path, config: EngineConfig, progress: Progress
) -> NoReturn:
    """Never builds.

    Raises:
        MachineError: always, with what is missing here.
    """
    raise MachineError(f"no {precision} plan can be built from {graph.name}: {missing()}")
