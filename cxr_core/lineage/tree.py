"""The lineage as a tree for the terminal: the artifact at the top, what it was made of below it."""

from collections.abc import Collection

from rich.text import Text
from rich.tree import Tree

from cxr_core.lineage import words
from cxr_core.lineage.graph import Edge, Graph, Node

_TONES = {"data": "bold cyan", "brought": "bold yellow", "lost": "bold red", "stage": "bold"}


def tree(graph: Graph, *, lost: Collection[str] = ()) -> Tree:
    """A rich tree. An ancestor that several stages share is drawn once and referred to after.

    Args:
        lost: digests of outputs that are not in the store any more; they are marked.
    """
    root = graph.node(graph.root)
    drawn = Tree(_label(root, (), lost), guide_style="dim")
    _grow(drawn, graph, root, {root.name}, lost)
    return drawn


def _grow(branch: Tree, graph: Graph, node: Node, seen: set[str], lost: Collection[str]) -> None:
    taken: dict[str, list[Edge]] = {}
    for edge in graph.into(node.name):
        taken.setdefault(edge.origin, []).append(edge)
    # Whoever is an ancestor of a sibling comes after it, so that it is drawn in its place and referred to here.
    for name in sorted(taken, key=lambda name: -_depth(graph, name)):
        other = graph.node(name)
        if name in seen:
            branch.add(_reference(other, taken[name]))
            continue
        seen.add(name)
        _grow(branch.add(_label(other, taken[name], lost)), graph, other, seen, lost)


def _depth(graph: Graph, name: str) -> int:
    return max((1 + _depth(graph, edge.origin) for edge in graph.into(name)), default=0)


def _label(node: Node, edges: Collection[Edge], lost: Collection[str]) -> Text:
    text = _heading(node, edges)
    if node.account is None:
        return text.append(f"\n{words.lost_words(node)}", "dim")
    text.append(f"\n{words.made(node.account)}\n{words.code(node.account)}; {words.parameters(node.account)}", "dim")
    text.append(f"\n{words.versions(node.account)}", "dim")
    for said, there in words.outputs(node.account, lost):
        text.append("\n→ ", "dim").append(said, "" if there else "red").append("" if there else "  lost", "bold red")
    return text


def _reference(node: Node, edges: Collection[Edge]) -> Text:
    return _heading(node, edges).append("  drawn above", "italic dim")


def _heading(node: Node, edges: Collection[Edge]) -> Text:
    text = Text(", ".join(edge.input for edge in edges) + " ← " if edges else "", "dim")
    text.append(node.title, _TONES[node.kind])
    named = node.account.record.key[:12] if node.account else words.short(node.digest or "")
    return text.append(f"  {named}", "dim")
