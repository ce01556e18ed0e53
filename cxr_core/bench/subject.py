"""Whose figures these are."""

from cxr_core.engines.metadata import EngineMetadata
from cxr_core.engines.registry import backend
from cxr_core.refs import Digest, Frozen, Precision


class Subject(Frozen):
    """An engine and the device that it was measured on; ``fake`` where a test double stood in."""

    backend: str
    precision: Precision
    device: str
    engine_digest: Digest
    fake: bool


def subject(known: EngineMetadata) -> Subject:
    """Of an engine that was opened here."""
    return Subject(
        backend=known.backend,
        precision=known.precision,
        device=backend(known.backend).device(),
        engine_digest=known.engine_digest,
        fake=known.fake,
    )
