"""Every account of a finished stage that a store still has: in records, in runs, in the lineage of releases."""

import json
import logging
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from pydantic import ValidationError
from pydantic_core import from_json

from cxr_core.errors import StoreError
from cxr_core.refs import Record, Ref
from cxr_core.store import Run, Store
from cxr_core.store.seals import digest_of
from cxr_core.store.why import parameter

LINEAGE_FILE = "lineage.json"
"""The name of a lineage's document in a release."""

_log = logging.getLogger("cxr.store")


@dataclass(frozen=True)
class Account:
    """One record, and where it was found.

    ``source`` is ``record``, ``run ID`` or ``release NAME``: the first of these that has it. ``when`` is an ISO
    time in UTC and ``when_from`` says which: a file's time tells when, but proves nothing. ``runs`` embed it.
    """

    record: Record
    source: str
    when: str
    when_from: str
    runs: frozenset[str] = frozenset()

    @property
    def identity(self) -> str:
        """Key and content in short: a stage that was computed anew has the same key and other outputs."""
        return identity(self.record)

    @property
    def branch(self) -> str:
        """``int8@openvino``, or as much of it as the stage has."""
        found = (parameter(self.record.parts, name) for name in ("precision", "backend"))
        return "@".join(part for part in found if isinstance(part, str))

    @property
    def title(self) -> str:
        """Stage and branch in words."""
        return f"{self.record.stage} {self.branch}".strip()


def identity(record: Record) -> str:
    """The start of a record's key, and that of the digest of its content."""
    content = json.dumps(record.model_dump(mode="json"), sort_keys=True).encode()
    return f"{record.key[:12]}-{digest_of(content)[7:15]}"


def accounts(store: Store) -> list[Account]:
    """Every account once, whatever still tells of it; those that records tell of first, newest first."""
    runs = store.runs()
    found: dict[str, Account] = {}
    named: dict[str, set[str]] = {}
    for account in [*_from_records(store), *_from_runs(runs), *_from_releases(store)]:
        found.setdefault(account.identity, account)
        named.setdefault(account.identity, set()).update(account.runs)
    return [
        Account(account.record, account.source, account.when, account.when_from, frozenset(named[name]))
        for name, account in found.items()
    ]


def _from_records(store: Store) -> Iterator[Account]:
    for stored in store.records_newest_first():
        when = datetime.fromtimestamp(stored.written_ns / 1e9, UTC).isoformat(timespec="seconds")
        yield Account(stored.record, "record", when, "the time of the record's file")


def _from_runs(runs: Iterable[Run]) -> Iterator[Account]:
    for run in sorted(runs, key=lambda run: run.started):  # the first that names it is the nearest to the truth
        records = run.content.get("records")
        for content in records.values() if isinstance(records, dict) else ():
            when = run.started.astimezone(UTC).isoformat(timespec="seconds")
            origin = f"run {run.run_id}"
            yield from _account(content, origin, when, "the start of the first run that names it", {run.run_id})


def _from_releases(store: Store) -> Iterator[Account]:
    for name, refs in store.pins().items():
        for ref in refs:
            for node in _lineage_of(store, ref):
                if isinstance(node, dict) and node.get("record"):
                    origin, when = f"release {name.removeprefix('releases/')}", str(node.get("when"))
                    yield from _account(node["record"], origin, when, str(node.get("when_from")), set())


def _lineage_of(store: Store, ref: Ref) -> list[Any]:
    try:
        entry = next((entry for entry in store.entries(ref) if entry.name == LINEAGE_FILE), None)
        if ref.form != "tree" or entry is None:
            return []
        there = Ref(form="blob", digest=entry.digest, size=entry.size, name=LINEAGE_FILE)
        content = from_json(store.read_bytes(there))
    except (StoreError, ValueError):  # lost or damaged: others may tell of the same
        return []
    nodes = content.get("nodes") if isinstance(content, dict) else None
    return nodes if isinstance(nodes, list) else []


def _account(content: Any, source: str, when: str, when_from: str, runs: set[str]) -> Iterator[Account]:
    try:
        yield Account(Record.model_validate(content), source, when, when_from, frozenset(runs))
    except ValidationError as error:
        _log.warning("%s holds a record that cannot be read: %s", source, error.errors()[0]["msg"])
