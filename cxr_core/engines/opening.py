"""The one door to an engine: checked first, then opened by the backend that built it."""

from pathlib import Path

from cxr_core.config import EngineConfig
from cxr_core.engines.contract import Runner
from cxr_core.engines.metadata import EngineMetadata, check_engine, read_metadata
from cxr_core.engines.registry import backend
from cxr_core.errors import ModelError


def open_engine(engine: Path, metadata: Path, *, config: EngineConfig) -> tuple[Runner, EngineMetadata]:
    """A runner, to be entered, and the metadata it was checked against.

    Raises:
        RefusedError: other bytes than the metadata's, or unreadable metadata.
        MachineError: built for another device or version.
        ModelError: the engine declares another input than its metadata do.
    """
    known = check_engine(engine, read_metadata(metadata))
    runner = backend(known.backend).runner(engine, precision=known.precision, config=config)
    expected = (1, known.model.size, known.model.size)
    if runner.input_shape[1:] != expected:
        raise ModelError(
            f"engine {engine.name} takes images {list(runner.input_shape[1:])}, "
            f"its metadata say {list(expected)}; build it again"
        )
    return runner, known
