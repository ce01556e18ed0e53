"""``provenance.json``: an in-toto Statement v1 about a bundle's files, with the predicate SLSA provenance v1.

https://github.com/in-toto/attestation/blob/main/spec/v1/statement.md and https://slsa.dev/spec/v1.0/provenance
"""

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

from pydantic_core import from_json

from cxr_core.release.manifest import bytes_from_json

STATEMENT_TYPE = "https://in-toto.io/Statement/v1"
PREDICATE_TYPE = "https://slsa.dev/provenance/v1"
BUILD_TYPE = "urn:cxr:build-type:{kind}:v1"
"""``docs/release.md`` says what each kind's parameters mean. A URN, since the project has no address of its own."""
BUILDER = "urn:cxr:builder:store-export"


@dataclass(frozen=True)
class Provenance:
    """How what is in a bundle was made. ``lineage`` is its document (``cxr_core.lineage``); times are ISO texts."""

    kind: str
    version: str
    external: Mapping[str, Any]
    lineage: Mapping[str, Any] = field(default_factory=dict)
    invocation: str | None = None
    started: str | None = None
    finished: str | None = None


def statement(subjects: Iterable[tuple[str, str]], made: Provenance) -> bytes:
    """The statement about files (name, ``sha256:`` digest) in the order of their names."""
    nodes = [node for node in made.lineage.get("nodes", []) if node["kind"] == "stage"]
    metadata = {"invocationId": made.invocation, "startedOn": _utc(made.started), "finishedOn": _utc(made.finished)}
    return bytes_from_json(
        {
            "_type": STATEMENT_TYPE,
            "subject": [{"name": name, "digest": _sha256(digest)} for name, digest in sorted(subjects)],
            "predicateType": PREDICATE_TYPE,
            "predicate": {
                "buildDefinition": {
                    "buildType": BUILD_TYPE.format(kind=made.kind),
                    "externalParameters": dict(made.external),
                    "internalParameters": {
                        "stages": {
                            node["id"]: {"stage": node["title"], "key": node["key"], "code": node["code"]["digest"]}
                            for node in nodes
                        }
                    },
                    "resolvedDependencies": [*_artifacts(made.lineage), *_packages(nodes)],
                },
                "runDetails": {
                    "builder": {"id": BUILDER, "version": {"cxr": made.version}},
                    "metadata": {name: value for name, value in metadata.items() if value},
                },
            },
        }
    )


def problems(data: bytes, subjects: Mapping[str, str]) -> list[str]:
    """What is wrong with a statement that should be about exactly these files, name to ``sha256:`` digest."""
    try:
        content = from_json(data, allow_inf_nan=False)
        canonical = bytes_from_json(content) == data
        kinds = content["_type"], content["predicateType"]
        named = {str(one["name"]): f"sha256:{one['digest']['sha256']}" for one in content["subject"]}
        many = len(content["subject"])
    except (ValueError, KeyError, TypeError) as error:
        return [f"provenance.json is no in-toto statement: {type(error).__name__} {error}"]
    found = []
    if kinds != (STATEMENT_TYPE, PREDICATE_TYPE):
        found.append(f"provenance.json is of type {kinds}, expected {STATEMENT_TYPE} with {PREDICATE_TYPE}")
    if not canonical:
        found.append("provenance.json is not in the spelling that is written")
    if many != len(named):
        found.append("provenance.json names a file twice")
    for name in sorted(named.keys() | subjects.keys()):
        if named.get(name) != subjects.get(name):
            found.append(
                f"{name} is {subjects.get(name, 'not there')}, provenance.json says {named.get(name, 'nothing')}"
            )
    return found


def _artifacts(lineage: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Everything that any stage took, once."""
    titles = {node["id"]: (node["title"], node["kind"]) for node in lineage.get("nodes", [])}
    found = {}
    for edge in lineage.get("edges", []):
        title, kind = titles[edge["from"]]
        if kind == "data":
            # No digest of one file's bytes, so it does not stand under a name that says so.
            found[edge["digest"]] = {"name": title, "digest": {"cxrFingerprint": edge["digest"][7:]}}
        else:
            about = {"from": title, "as": edge["input"]}
            named = {"name": edge["output"] or edge["input"], "digest": _sha256(edge["digest"]), "annotations": about}
            found.setdefault(edge["digest"], named)
    return [found[digest] for digest in sorted(found)]


def packages_of(nodes: Iterable[Mapping[str, Any]]) -> dict[str, set[str]]:
    """Versions by distribution that the stages of a lineage ran with; ``python`` is among them."""
    found: dict[str, set[str]] = {}
    for node in nodes:
        where, backend = dict(node["where"]), (node.get("branch") or "").partition("@")[2]
        if backend and "version" in where:
            where[backend] = where["version"]
        for name in ("system", "machine", "version", "cpu"):
            where.pop(name, None)
        for name, value in where.items():
            if isinstance(value, str) and re.match(r"[0-9]+(\.[0-9]+)", value):
                found.setdefault(name, set()).add(value)
    return found


def _packages(nodes: Iterable[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """As package URLs (https://github.com/package-url/purl-spec)."""
    return [
        {"name": name, "uri": f"pkg:{'generic' if name == 'python' else 'pypi'}/{name}@{version.replace('+', '%2B')}"}
        for name, versions in sorted(packages_of(nodes).items())
        for version in sorted(versions)
    ]


def _sha256(digest: str) -> dict[str, str]:
    return {"sha256": digest.removeprefix("sha256:")}


def _utc(text: str | None) -> str | None:
    """As SLSA wants a Timestamp: RFC 3339 in UTC with a Z, here to the second."""
    return datetime.fromisoformat(text).astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ") if text else None
