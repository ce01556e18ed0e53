"""JSON schemas of what other tools read or write. ``python -m cxr_core.release.schemas FOLDER`` writes them.

Generated from the models that the store itself reads with, or where it reads with none from those here.
"""

import json
import sys
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, JsonValue, TypeAdapter

from cxr_core.bench.ab import AbResult
from cxr_core.bench.load import LoadResult
from cxr_core.bench.sweep import SweepResult
from cxr_core.bench.trtexec.context import Context
from cxr_core.bench.trtexec.importing import Imported
from cxr_core.refs import Digest, Record, Ref
from cxr_core.release.manifest import Bundle
from cxr_core.report.document import Report
from cxr_core.store.trees import Entry

DIALECT = "https://json-schema.org/draft/2020-12/schema"

Seal = Annotated[
    str,
    Field(
        pattern="^sha256:[0-9a-f]{64}$",
        description="sha256 of the object's bytes without this last member (and without the newline after it)",
    ),
]
Key = Annotated[str, Field(pattern="^[0-9a-f]{64}$", description="content key")]


class Open(BaseModel):
    """A document to which later versions may add fields."""

    model_config = ConfigDict(extra="allow")


class PinFile(BaseModel):
    """``pins/NAME.json``: a named root."""

    model_config = ConfigDict(extra="forbid")
    pin: Annotated[str, Field(description="its name, as its path says it")]
    refs: Annotated[list[Ref], Field(min_length=1)]
    seal: Seal


class Serializer(Open):
    """How ``result`` was written. Nothing but JSON is ever read."""

    type: Literal["json"]


class Metadata(Open):
    """What the workflow engine notes beside a result."""

    serializer: Serializer
    prefect_version: str


class RecordFile(BaseModel):
    """``actions/KEY``: a record as the workflow engine persists it. ``result`` is a JSON text in which ``data`` is
    a record (record.schema.json) and ``__class__`` is ``cxr_core.refs.Record``."""

    model_config = ConfigDict(extra="forbid")
    metadata: Metadata
    result: str
    seal: Seal


class Branch(Open):
    """A precision on a backend."""

    precision: str
    backend: str


class StageRow(Open):
    """What a run did of one stage. ``key`` is that of its record, null where it left none."""

    name: str
    precision: str | None
    backend: str | None
    state: str
    cached: bool
    key: Key | None
    seconds: float
    error: str | None


class RunData(Open):
    """The radiographs: ``fingerprint`` is over all files, ``digest`` over what was taken in."""

    source: str | None
    digest: Digest | None
    folder: str
    fingerprint: dict[str, JsonValue]


class RunFile(Open):
    """``runs/ID/run.json``: a run's account. ``records`` are whole; ``rows`` are the report's (docs/report.md)."""

    schema_version: Literal[1]
    run_id: str
    name: str
    state: Literal["running", "completed", "failed", "interrupted"]
    started: Annotated[str, Field(description="ISO time with its zone")]
    finished: str | None
    message: str
    exit_code: int | None
    profile: str
    parameters: dict[str, JsonValue]
    settings: Annotated[dict[str, JsonValue], Field(description="the whole profile")]
    data: RunData
    branches: list[Branch]
    stages: list[StageRow]
    failures: list[dict[str, JsonValue]]
    missing_verdicts: list[str]
    rows: list[dict[str, JsonValue]]
    recommended: Branch | None
    warnings: list[str]
    looks_at_test: int
    report: str | None
    records: dict[Key, Record]
    seal: Seal


class LineageNode(Open):
    """A stage with its whole record; or the X-rays, a file that was brought, or what is lost."""

    id: str
    kind: Literal["stage", "data", "brought", "lost"]
    title: str
    digest: Digest | None
    record: Record | None = None


class LineageEdge(BaseModel):
    """``to`` took ``digest`` as ``input`` from ``from``, which left it as ``output``."""

    model_config = ConfigDict(extra="forbid")
    origin: Annotated[str, Field(alias="from")]
    to: str
    input: str
    output: str | None
    digest: Digest


class Lineage(BaseModel):
    """``cxr store lineage --json``, and ``lineage.json`` in a release."""

    model_config = ConfigDict(extra="forbid")
    schema_version: Literal[1]
    root: str
    nodes: list[LineageNode]
    edges: list[LineageEdge]
    lost: list[Digest]


_MODELS: dict[str, Any] = {
    "ref": Ref, "record": Record, "record-file": RecordFile, "run": RunFile, "pin": PinFile,
    "tree": list[Entry], "bundle": Bundle, "lineage": Lineage, "bench-context": Context, "bench-import": Imported,
    "bench-rate": LoadResult, "bench-sweep": SweepResult, "bench-ab": AbResult,
    "report": Report,
}  # fmt: skip
VERSION = 1


def schemas() -> dict[str, dict[str, Any]]:
    """Every schema by name."""
    return {
        name: {
            "$schema": DIALECT,
            "$id": f"urn:cxr:schema:{name}:{VERSION}",
            **TypeAdapter(model).json_schema(by_alias=True),
        }
        for name, model in _MODELS.items()
    }


def text(schema: dict[str, Any]) -> str:
    """As it stands in its file."""
    return json.dumps(schema, indent=1, sort_keys=True) + "\n"


if __name__ == "__main__":
    for name, schema in schemas().items():
        Path(sys.argv[1], f"{name}.schema.json").write_text(text(schema), encoding="utf-8")
