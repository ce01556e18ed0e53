"""Actions: the records of finished stages, one sealed JSON file a content key. A hit means the blobs are there."""

import logging
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pydantic import ValidationError
from pydantic_core import from_json

from cxr_core.errors import MissingArtifact, StoreError
from cxr_core.refs import Record
from cxr_core.store.artifacts import Artifacts
from cxr_core.store.disk import entries, read_file, translated, write_atomic
from cxr_core.store.layout import Layout
from cxr_core.store.leases import guard
from cxr_core.store.locks import held
from cxr_core.store.seals import sealed, unsealed

RECORD_CLASS = "cxr_core.refs.Record"

_log = logging.getLogger("cxr.store")


@dataclass(frozen=True)
class StoredRecord:
    """A record and when its file was written, in nanoseconds since 1970. The time orders; it proves nothing."""

    record: Record
    written_ns: int


@dataclass(frozen=True)
class Actions:
    """The records of one store."""

    layout: Layout
    artifacts: Artifacts

    def write(self, key: str, content: bytes) -> None:
        """Stores what the workflow engine persists for a key, once all that it names is there.

        Raises:
            StoreError: not a record of this key, naming what is not there, or the store cannot be written.
        """
        path = self.layout.action(key)
        try:
            record, data = record_from_content(content, key), sealed(content)
        except ValueError as error:
            raise StoreError(f"the record for key {key} cannot be kept: {error}. Persist a Record as JSON") from error
        with (
            translated(self.layout.root, "writing a record", len(data)),
            held(self.layout.store_lock, self.layout.root, shared=True),
        ):
            if reason := self._promise(record):
                raise StoreError(f"the record for key {key} ({record.stage}) came before its outputs: {reason}")
            write_atomic(path, data, self.layout.tmp)

    def read(self, key: str) -> bytes:
        """What was written for a key, if it is whole and every output is there with the right size.

        Raises:
            MissingArtifact: it is a miss; the message says why. Anything but plain absence is also logged.
        """
        path = self.layout.action(key)
        with guard(self.layout):
            return self._read(key, path)

    def written(self, key: str) -> float:
        """When the record of a key was written, in seconds since 1970; 0 where there is none."""
        with translated(self.layout.root, "reading a record"):
            try:
                return self.layout.action(key).stat().st_mtime
            except FileNotFoundError:
                return 0.0

    def record(self, key: str) -> Record:
        """The record of a key. Raises as ``read``."""
        return record_from_content(self.read(key), key)

    def newest_first(self) -> list[StoredRecord]:
        """Every readable record, newest file first; others are skipped with a warning. Outputs are not looked at."""
        found = [stored for key in self._keys() if (stored := self._stored(key))]
        return sorted(found, key=lambda stored: (-stored.written_ns, stored.record.key))

    def recent(self) -> Iterator[Record]:
        """Every readable record, newest file first, each read when it is asked for; others are skipped."""
        for _, key in sorted((-self.written(key), key) for key in self._keys()):
            if stored := self._stored(key):
                yield stored.record

    def records(self) -> Iterator[Record]:
        """Every readable record in the order of their keys; others are skipped with a warning."""
        for key in self._keys():
            if stored := self._stored(key):
                yield stored.record

    def _read(self, key: str, path: Path) -> bytes:
        try:
            content = unsealed(read_file(path))
            record = record_from_content(content, key)
        except FileNotFoundError:
            raise MissingArtifact(f"no record for key {key} in {path.parent}: its stage has yet to run") from None
        except OSError as error:
            raise _miss(path, f"cannot be read: {error.strerror}") from error
        except ValueError as error:
            raise _miss(path, str(error)) from error
        with translated(self.layout.root, "reading a record"):
            if reason := self._promise(record):
                raise _miss(path, f"stage {record.stage}, {reason}")
        return content

    def _keys(self) -> list[str]:
        with translated(self.layout.root, "listing records"):
            return entries(self.layout.actions)

    def _stored(self, key: str) -> StoredRecord | None:
        path = self.layout.actions / key
        try:
            return StoredRecord(record_from_file(path), path.stat().st_mtime_ns)
        except FileNotFoundError:
            return None
        except (OSError, ValueError) as error:
            _log.warning("record %s is skipped: %s", path, error)
            return None

    def _promise(self, record: Record) -> str | None:
        for name, ref in record.outputs.items():
            if faults := self.artifacts.faults(ref):
                return f"output {name} ({faults[0].digest}) is {faults[0].kind}: {faults[0].reason}"
        for ref in record.outputs.values():
            self.artifacts.promise(ref)
        return None


def record_from_file(path: Path) -> Record:
    """The record in an action file; the file's name is its key.

    Raises:
        OSError: it cannot be read.
        ValueError: torn, damaged, foreign, or of another key.
    """
    return record_from_content(unsealed(read_file(path)), path.name)


def record_from_content(content: bytes, key: str) -> Record:
    """The record in what Prefect persists: ``{"metadata": ..., "result": "<JSON of class and data>"}``.

    Only JSON is ever read: any other serializer is refused by its name, before its bytes are looked at.

    Raises:
        ValueError: anything else, or of another key.
    """
    outer = _mapping(from_json(content), "the document")
    serializer = _mapping(_mapping(outer.get("metadata"), "metadata").get("serializer"), "metadata.serializer")
    if serializer.get("type") != "json":
        raise ValueError(f"expected serializer json, found {serializer.get('type')!r}")
    result = outer.get("result")
    if not isinstance(result, str):
        raise ValueError(f"expected a JSON text in result, found {type(result).__name__}")
    inner = _mapping(from_json(result), "result")
    if inner.get("__class__") != RECORD_CLASS:
        raise ValueError(f"expected a {RECORD_CLASS}, found {inner.get('__class__')!r}")
    try:
        record = Record.model_validate(inner.get("data"))
    except ValidationError as error:
        first = error.errors()[0]
        raise ValueError(f"no valid record: {'.'.join(map(str, first['loc']))}: {first['msg']}") from None
    if record.key != key:
        raise ValueError(f"expected the record of key {key}, found that of {record.key}")
    return record


def _mapping(value: Any, what: str) -> dict[str, Any]:
    if not isinstance(value, dict):
        raise ValueError(f"expected {what} to be a mapping, found {type(value).__name__}")
    return value


def _miss(path: Path, reason: str) -> MissingArtifact:
    _log.warning("record %s is a miss: %s", path, reason)
    return MissingArtifact(f"record {path} is a miss: {reason}. The stage runs again and writes it anew")
