"""What lies beside an engine, and the check that refuses a foreign engine before it is loaded."""

import hashlib
from collections.abc import Mapping
from pathlib import Path
from typing import Literal

from pydantic import Field, JsonValue, ValidationError
from pydantic_core import from_json

from cxr_core.engines.contract import Backend
from cxr_core.engines.registry import backend
from cxr_core.errors import MachineError, RefusedError
from cxr_core.graphs.metadata import GraphMetadata
from cxr_core.refs import Digest, Frozen, Precision

# How many processors there are changes how fast an engine is, not whether it may run.
_FREE = ("cpus",)
# Recorded, but no reason to refuse: a plan runs under a newer driver.
_TOLD = ("driver",)


class EngineMetadata(Frozen):
    """Everything that a checked opening and a scoring need, so that the engine suffices without its graph.

    ``built_for`` is the backend's environment: library version, device, instruction sets. ``built_with`` is what it
    was told: for TensorRT the batches, the TF32 flag, optimisation level and workspace. ``model`` is
    what the graph says about itself: labels, temperature, threshold, size, filter. ``gflop_per_image`` is counted in
    the graph; None where it could not be, and in metadata written before it was.
    """

    schema_version: Literal[1] = 1
    backend: str
    fake: bool
    precision: Precision
    engine_digest: Digest
    engine_bytes: int
    graph_digest: Digest
    built_for: dict[str, JsonValue]
    built_with: dict[str, JsonValue] = Field(default_factory=dict)
    input: str
    output: str
    model: GraphMetadata
    gflop_per_image: float | None = None


def bound_environment(chosen: Backend) -> dict[str, JsonValue]:
    """The part of a backend's environment that an engine is tied to."""
    return {key: value for key, value in sorted(chosen.environment().items()) if key not in _FREE}


def file_digest(path: Path) -> str:
    """``sha256:<hex>`` of a file's bytes."""
    with path.open("rb") as file:
        return "sha256:" + hashlib.file_digest(file, "sha256").hexdigest()


def read_metadata(path: Path) -> EngineMetadata:
    """The metadata file that the engine stage left.

    Raises:
        RefusedError: unreadable, or of another shape.
    """
    try:
        content = from_json(path.read_bytes())
    except (OSError, ValueError) as error:
        raise RefusedError(f"engine metadata {path.name} cannot be read: {error}; build the engine again") from error
    return _validated(content)


def check_engine(engine: Path, metadata: Mapping[str, JsonValue] | EngineMetadata) -> EngineMetadata:
    """Refuses an engine before any of its bytes reach a runtime: engines may hold executable code.

    Raises:
        RefusedError: the bytes are not those that the metadata were written for.
        MachineError: built for another device, instruction set or library version.
    """
    known = metadata if isinstance(metadata, EngineMetadata) else _validated(metadata)
    _refuse_other_bytes(engine, known)
    here = bound_environment(backend(known.backend))
    compared = sorted({*here, *known.built_for} - {*_TOLD})
    differing = [key for key in compared if here.get(key) != known.built_for.get(key)]
    if differing:
        each = "; ".join(f"{key}: built for {known.built_for.get(key)!r}, here {here.get(key)!r}" for key in differing)
        raise MachineError(
            f"engine {known.engine_digest[:19]} ({known.precision} on {known.backend}) was built elsewhere: {each}. "
            f"Build it here: cxr rerun --precision {known.precision} --backend {known.backend}"
        )
    return known


def _refuse_other_bytes(engine: Path, known: EngineMetadata) -> None:
    try:
        found = file_digest(engine)
    except OSError as error:
        raise RefusedError(f"engine {engine.name} cannot be read: {error}; build it again") from error
    if found != known.engine_digest:
        raise RefusedError(
            f"engine {engine.name} is not the one its metadata were written for: expected {known.engine_digest}, "
            f"found {found} ({engine.stat().st_size} bytes for {known.engine_bytes}). It was not loaded; build it again"
        )


def _validated(content: object) -> EngineMetadata:
    try:
        return EngineMetadata.model_validate(content)
    except ValidationError as error:
        problems = "; ".join(f"{'.'.join(map(str, p['loc']))}: {p['msg']}" for p in error.errors()[:4])
        raise RefusedError(
            f"engine metadata do not have the expected shape ({problems}); build the engine again"
        ) from error
