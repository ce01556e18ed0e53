"""A lineage as one JSON document, for machines and for the release that it travels in."""

import hashlib
import json
from collections.abc import Collection

from pydantic import JsonValue

from cxr_core.lineage.accounts import Account
from cxr_core.lineage.graph import Graph, Node
from cxr_core.lineage.parameters import changed
from cxr_core.refs import Record

SCHEMA_VERSION = 1


def document(graph: Graph, *, lost: Collection[str] = ()) -> dict[str, JsonValue]:
    """Nodes with their whole records, and edges from what was taken to who took it.

    Args:
        lost: digests of outputs that are not in the store any more.
    """
    return {
        "schema_version": SCHEMA_VERSION,
        "root": graph.root,
        "nodes": [_node(node) for node in graph.nodes],
        "edges": [
            {"from": e.origin, "to": e.to, "input": e.input, "output": e.output or None, "digest": e.digest}
            for e in graph.edges
        ],
        "lost": list[JsonValue](sorted(lost)),
    }


def code_digest(record: Record) -> tuple[str, int]:
    """One digest over the digests of a stage's modules, and how many they are."""
    code = record.parts.get("code") or {}
    whole = hashlib.sha256(json.dumps(code, sort_keys=True).encode()).hexdigest()
    return f"sha256:{whole}", len(code) if isinstance(code, dict) else 0


def place(record: Record) -> dict[str, JsonValue]:
    """Where it was computed: what was noted of the machine, and what of it is part of the key."""
    keyed = record.parts.get("environment")
    return {**record.environment, **(keyed if isinstance(keyed, dict) else {})}


def _node(node: Node) -> dict[str, JsonValue]:
    plain: dict[str, JsonValue] = {"id": node.name, "kind": node.kind, "title": node.title, "digest": node.digest}
    return {**plain, **(_of_stage(node.account) if node.account else {})}


def _of_stage(account: Account) -> dict[str, JsonValue]:
    record = account.record
    digest, modules = code_digest(record)
    return {
        "stage": record.stage,
        "branch": account.branch or None,
        "key": record.key,
        "source": account.source,
        "when": account.when,
        "when_from": account.when_from,
        "where": place(record),
        "seconds": record.seconds,
        "code": {"digest": digest, "modules": modules},
        "changed": changed(record),
        "record": record.model_dump(mode="json"),
    }
