"""The graph of an artifact's origin: stages joined by the digests that they took and left."""

import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Literal

from pydantic import JsonValue

from cxr_core.lineage.accounts import Account

STAGES = (
    "ingest", "split", "tensors", "calibration", "train", "export", "parity",
    "variant", "engine", "benchmark", "accuracy", "compare", "occlusion", "robustness", "report",
)  # fmt: skip
"""In the order of the DAG. The same bytes may be left by several stages (the FP32 variant is the exported graph),
and a stage took them from the last of those that stand before it."""

_ORDER = {name: place for place, name in enumerate(STAGES)}
_DIGEST = re.compile("sha256:[0-9a-f]{64}")
# Digests among the parameters that name no artifact: they identify the data, a split and a checkpoint's weights.
_IDENTITIES = {"fingerprint", "test", "weights", "weights_digest", "data.digest"}
# What a person may bring instead of a stage's output.
_BROUGHT = {("train", "weights"), ("export", "graph")}

Kind = Literal["stage", "data", "brought", "lost"]


@dataclass(frozen=True)
class Node:
    """A stage with its account; the X-rays; a file that the user brought; or what nobody tells of any more."""

    name: str
    kind: Kind
    title: str
    account: Account | None = None
    digest: str | None = None


@dataclass(frozen=True)
class Edge:
    """``to`` took ``digest`` as its ``input`` from ``origin``, which left it under the name ``output``."""

    origin: str
    to: str
    input: str
    output: str
    digest: str


@dataclass(frozen=True)
class Graph:
    """Everything that led to ``root``. ``nodes`` in the order of discovery, the root first."""

    root: str
    nodes: tuple[Node, ...]
    edges: tuple[Edge, ...]

    def node(self, name: str) -> Node:
        """The node of that name."""
        return next(node for node in self.nodes if node.name == name)

    def into(self, name: str) -> tuple[Edge, ...]:
        """What a node took."""
        return tuple(edge for edge in self.edges if edge.to == name)

    def accounts(self) -> list[Account]:
        """The account of every stage, in the order of the DAG."""
        found = [node.account for node in self.nodes if node.account]
        return sorted(found, key=lambda account: (_place(account), account.title, account.record.key))


def lineage(root: Account, known: Iterable[Account]) -> Graph:
    """All that led to a finished stage, back to the X-rays; what no account tells of is a node of kind ``lost``."""
    return _Walk(_index(known)).from_root(root)


def _index(known: Iterable[Account]) -> dict[str, list[tuple[Account, str]]]:
    found: dict[str, list[tuple[Account, str]]] = {}
    for account in known:
        for name, ref in account.record.outputs.items():
            found.setdefault(ref.digest, []).append((account, name))
    return found


@dataclass
class _Walk:
    by_digest: Mapping[str, list[tuple[Account, str]]]
    nodes: dict[str, Node] = field(default_factory=dict)
    edges: dict[Edge, None] = field(default_factory=dict)

    def from_root(self, root: Account) -> Graph:
        waiting = [root]
        self._stage(root)
        while waiting:
            account = waiting.pop(0)
            for taken in _taken(account):
                origin = self._origin(account, taken)
                if origin is not None:
                    waiting.append(origin)
        return Graph(root.identity, tuple(self.nodes.values()), tuple(self.edges))

    def _origin(self, account: Account, taken: "_Taken") -> Account | None:
        """Joins what was taken to where it comes from; that account, if it is met for the first time."""
        if taken.identity == "fingerprint":
            self._join(Node(f"data-{taken.digest[7:19]}", "data", "X-rays", digest=taken.digest), account, taken, "")
            return None
        chosen = self._chosen(account, taken)
        if chosen is not None:
            new = chosen[0].identity not in self.nodes
            self._stage(chosen[0])
            self.edges[Edge(chosen[0].identity, account.identity, taken.label, chosen[1], taken.digest)] = None
            return chosen[0] if new else None
        if not taken.identity:
            brought = (account.record.stage, taken.name) in _BROUGHT
            kind, title = ("brought", f"brought {taken.name}") if brought else ("lost", f"lost: {taken.name}")
            self._join(Node(f"{kind}-{taken.digest[7:19]}", kind, title, digest=taken.digest), account, taken, "")  # type: ignore[arg-type]
        return None

    def _chosen(self, account: Account, taken: "_Taken") -> tuple[Account, str] | None:
        before = [found for found in self.by_digest.get(taken.digest, ()) if _place(found[0]) < _place(account)]

        def rank(found: tuple[Account, str]) -> tuple[int, bool, bool, str]:
            other = found[0]
            alike = other.branch == (taken.branch or account.branch)
            return _place(other), alike, bool(other.runs & account.runs), other.when

        return max(before, key=rank, default=None)

    def _stage(self, account: Account) -> None:
        self.nodes.setdefault(account.identity, Node(account.identity, "stage", account.title, account))

    def _join(self, node: Node, account: Account, taken: "_Taken", output: str) -> None:
        self.nodes.setdefault(node.name, node)
        self.edges[Edge(node.name, account.identity, taken.label, output, taken.digest)] = None


@dataclass(frozen=True)
class _Taken:
    """A digest in a record's parts. ``identity`` names what it identifies where that is no artifact."""

    name: str
    digest: str
    branch: str = ""
    identity: str = ""

    @property
    def label(self) -> str:
        return f"{self.name} {self.branch}".strip()


def _taken(account: Account) -> Iterator[_Taken]:
    parts = account.record.parts
    yield from _digests(parts.get("inputs"), "", "", inputs=True)
    yield from _digests(parts.get("parameters"), "", "", inputs=False)


def _digests(value: JsonValue | None, place: str, branch: str, *, inputs: bool) -> Iterator[_Taken]:
    if isinstance(value, dict):
        named = [value.get(name) for name in ("precision", "backend")]
        inner = "@".join(part for part in named if isinstance(part, str)) if place else ""
        for name, below in value.items():
            yield from _digests(below, f"{place}.{name}" if place else name, inner or branch, inputs=inputs)
    elif isinstance(value, list):
        for below in value:
            yield from _digests(below, place, branch, inputs=inputs)
    elif isinstance(value, str) and _DIGEST.fullmatch(value):
        *above, last = place.split(".")
        twofold = ".".join([*above[-1:], last])
        identity = "" if inputs else next((name for name in (last, twofold) if name in _IDENTITIES), "")
        yield _Taken(above[-1] if above and last == "digest" else last, value, branch, identity)


def _place(account: Account) -> int:
    return _ORDER.get(account.record.stage, len(_ORDER))
