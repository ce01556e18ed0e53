"""Effective precision from TensorRT's engine inspector: not read by this version."""

from pathlib import Path
from typing import NoReturn

from cxr_core.config import EngineConfig
from cxr_core.engines.tensorrt import missing
from cxr_core.errors import MachineError
from cxr_core.refs import Precision


def effective_from_engine(engine: Path, *, precision: Precision, config: EngineConfig) -> NoReturn:
    """Never reads.

    Raises:
        MachineError: always, with what is missing here.
    """
    raise MachineError(f"{precision} plan {engine.name} cannot be inspected: {missing()}")
