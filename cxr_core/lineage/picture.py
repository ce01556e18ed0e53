"""The lineage as one SVG, light and dark, without network."""

from collections.abc import Collection, Iterator, Sequence
from html import escape

from cxr_core.lineage import words
from cxr_core.lineage.graph import Graph, Node
from cxr_core.lineage.places import Point, places

_BOX = (336.0, 98.0)
_GAP = (36.0, 54.0)
_LINE = 16.0
_CROWD = 3  # ways at one box beyond which their labels would lie on each other; hovering tells them
_LONGEST = 50  # letters of small type that fit into a box
_ROOMS = {
    "data": ("ingest", "split", "tensors", "calibration"),
    "model": ("train", "export", "parity"),
    "branch": ("variant", "engine"),
}

STYLE = """
.lineage { --paper: #ffffff; --box: #f5f6f8; --ink: #1b2430; --soft: #56606c; --line: #aab2bd;
  --data: #0072b2; --model: #8a4fb5; --branch: #d55e00; --judged: #00734f; --lost: #b3261e;
  font-family: system-ui, "Segoe UI", Roboto, "DejaVu Sans", sans-serif; }
@media (prefers-color-scheme: dark) { .lineage { --paper: #12161b; --box: #1b2128; --ink: #e6eaef; --soft: #a7b0bb;
  --line: #56606c; --data: #56b4e9; --model: #c79be8; --branch: #ff8a3d; --judged: #4fd0a3; --lost: #ff8a80; } }
.lineage .paper { fill: var(--paper); }
.lineage .box { fill: var(--box); stroke: var(--tone); stroke-width: 1.2; }
.lineage .bar { fill: var(--tone); }
.lineage .root .box { stroke-width: 3; }
.lineage .gone .box { stroke-dasharray: 6 4; }
.lineage .way { fill: none; stroke: var(--line); stroke-width: 1.6; }
.lineage .tip { fill: var(--line); }
.lineage text { fill: var(--soft); font-size: 11.5px; }
.lineage .title { fill: var(--ink); font-size: 14.5px; font-weight: 600; }
.lineage .took { paint-order: stroke; stroke: var(--paper); stroke-width: 4px; font-size: 11px; text-anchor: middle; }
.lineage .data { --tone: var(--data); } .lineage .model { --tone: var(--model); }
.lineage .branch { --tone: var(--branch); } .lineage .judged { --tone: var(--judged); }
.lineage .lost { --tone: var(--lost); }
"""


def svg(graph: Graph, *, lost: Collection[str] = ()) -> str:
    """One SVG document; hovering over a box tells the rest of it.

    Args:
        lost: digests of outputs that are not in the store any more; they are marked.
    """
    found = places(graph, box=_BOX, gap=_GAP)
    width, height = round(found.width), round(found.height)
    lines = [_way(points) for points in found.ways.values()]
    labels = [label for pair, points in found.ways.items() for label in _label(graph, pair, points)]
    boxes = [line for node in graph.nodes for line in _box(graph, node, found.nodes[node.name], lost)]
    title = escape(f"Lineage of {graph.node(graph.root).title}")
    return "\n".join(
        [
            f'<svg class="lineage" xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" '
            f'width="{width}" height="{height}" role="img" aria-label="{title}">',
            f"<title>{title}</title>",
            f"<style>{STYLE}</style>",
            '<defs><marker id="tip" viewBox="0 0 8 8" refX="7" refY="4" markerWidth="7" markerHeight="7" '
            'orient="auto"><path class="tip" d="M0 0 8 4 0 8z"/></marker></defs>',
            '<rect class="paper" width="100%" height="100%"/>',
            *lines,
            *labels,  # after all lines, so that no line crosses one
            *boxes,
            "</svg>\n",
        ]
    )


def tone(node: Node) -> str:
    """The class of a node's colour: by what part of the work it is."""
    if node.account is None:
        return "data" if node.kind == "data" else "lost" if node.kind == "lost" else "model"
    stage = node.account.record.stage
    return next((name for name, stages in _ROOMS.items() if stage in stages), "judged")


def _way(points: Sequence[Point]) -> str:
    half = _BOX[1] / 2
    at = points[0][0], points[0][1] + half
    path = f"M{at[0]:.0f} {at[1]:.0f}"
    for x, y in _stops(points):
        middle = (at[1] + y) / 2
        path += f"C{at[0]:.0f} {middle:.0f} {x:.0f} {middle:.0f} {x:.0f} {y:.0f}"
        at = x, y
    return f'<path class="way" d="{path}" marker-end="url(#tip)"/>'


def _stops(points: Sequence[Point]) -> list[Point]:
    """Where a way turns: above and below each point that it passes, and at the tip."""
    half = _BOX[1] / 2
    passed = [stop for x, y in points[1:-1] for stop in ((x, y - half), (x, y + half))]
    return [*passed, (points[-1][0], points[-1][1] - half - 1)]


def _label(graph: Graph, pair: tuple[str, str], points: Sequence[Point]) -> Iterator[str]:
    """What was taken, at that end of the way where fewer others are near; nothing in a crowd."""
    joined = {(edge.origin, edge.to) for edge in graph.edges}
    out, into = (sum(one[end] == pair[end] for one in joined) for end in (0, 1))
    if min(out, into) > _CROWD:
        return
    taken = dict.fromkeys(e.input.partition(" ")[0] for e in graph.edges if (e.origin, e.to) == pair)
    text = escape(_cut(", ".join(taken), 34))
    (x0, y0), stops = (points[0][0], points[0][1] + _BOX[1] / 2), _stops(points)
    if out <= into:
        x, y = x0 + (stops[0][0] - x0) * 0.3, y0 + 20
    else:
        before = stops[-2][0] if len(stops) > 1 else x0
        x, y = stops[-1][0] + (before - stops[-1][0]) * 0.3, stops[-1][1] - 15
    yield f'<text class="took" x="{x:.0f}" y="{y:.0f}">{text}</text>'


def _box(graph: Graph, node: Node, centre: Point, lost: Collection[str]) -> Iterator[str]:
    x, y = centre[0] - _BOX[0] / 2, centre[1] - _BOX[1] / 2
    kinds = [tone(node), "root" if node.name == graph.root else "", "gone" if node.kind == "lost" else ""]
    yield f'<g class="{" ".join(filter(None, kinds))}"><title>{escape(_all(node, lost))}</title>'
    yield f'<rect class="box" x="{x:.0f}" y="{y:.0f}" width="{_BOX[0]:.0f}" height="{_BOX[1]:.0f}" rx="7"/>'
    yield f'<rect class="bar" x="{x:.0f}" y="{y:.0f}" width="6" height="{_BOX[1]:.0f}" rx="3"/>'
    yield f'<text class="title" x="{x + 18:.0f}" y="{y + 22:.0f}">{escape(node.title)}</text>'
    for index, line in enumerate(_lines(node, lost)):
        at = y + 24 + (index + 1) * _LINE
        yield f'<text x="{x + 18:.0f}" y="{at:.0f}">{escape(_cut(line, _LONGEST))}</text>'
    yield "</g>"


def _lines(node: Node, lost: Collection[str]) -> list[str]:
    account = node.account
    if account is None:
        return [words.short(node.digest or ""), words.lost_words(node)]
    left = [said + ("" if there else " LOST") for said, there in words.outputs(account, lost)]
    more = f" and {len(left) - 1} more" if len(left) > 1 else ""
    return [words.made(account), words.code(account), words.parameters(account), f"→ {left[0]}{more}" if left else ""]


def _all(node: Node, lost: Collection[str]) -> str:
    if node.account is None:
        return f"{node.title}\n{node.digest}\n{words.lost_words(node)}"
    account = node.account
    left = [f"{said}{'' if there else ' (lost)'}" for said, there in words.outputs(account, lost)]
    told = (words.made(account), words.versions(account), words.code(account), words.parameters(account))
    return "\n".join([node.title, f"key {account.record.key}", *told, *left])


def _cut(text: str, longest: int) -> str:
    return text if len(text) <= longest else text[: longest - 1] + "…"
