"""Where the boxes of a lineage stand: the X-rays at the top, each stage below all that it took.

Layers, then an order within each by the mean place of a node's neighbours, a few times down and up: the first two
steps of Sugiyama, Tagawa and Toda (1981). An edge over several layers passes through a point in each, so that it
bends around boxes.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import pairwise

from cxr_core.lineage.graph import Graph

_SWEEPS = 6

Point = tuple[float, float]


@dataclass(frozen=True)
class Places:
    """Centres of the nodes, the points that each pair of joined nodes is joined through, width and height in px."""

    nodes: dict[str, Point]
    ways: dict[tuple[str, str], list[Point]]
    width: float
    height: float


def places(graph: Graph, *, box: Point, gap: Point) -> Places:
    """Places for boxes of one size (width, height) with that much room between them, in px."""
    layer = _layers(graph)
    pairs = list(dict.fromkeys((edge.origin, edge.to) for edge in graph.edges))
    chains = {pair: _chain(pair, layer) for pair in pairs}
    rows = _rows(layer, chains.values())
    joined = [link for chain in chains.values() for link in pairwise(chain)]
    for sweep in range(_SWEEPS):
        rows = _swept(rows, joined, down=sweep % 2 == 0)
    return _placed(graph, rows, chains, box, gap)


def _layers(graph: Graph) -> dict[str, int]:
    found: dict[str, int] = {}

    def depth(name: str) -> int:
        if name not in found:
            found[name] = max((1 + depth(edge.origin) for edge in graph.into(name)), default=0)
        return found[name]

    for node in graph.nodes:
        depth(node.name)
    return found


def _chain(pair: tuple[str, str], layer: dict[str, int]) -> list[str]:
    """The nodes' names, and between them one for the point in each layer that is passed."""
    origin, to = pair
    between = [f"{origin}>{to}@{at}" for at in range(layer[origin] + 1, layer[to])]
    layer.update({name: layer[origin] + 1 + index for index, name in enumerate(between)})
    return [origin, *between, to]


def _rows(layer: dict[str, int], chains: Iterable[Sequence[str]]) -> list[list[str]]:
    rows: list[list[str]] = [[] for _ in range(max(layer.values()) + 1)]
    for name in dict.fromkeys([*(name for chain in chains for name in chain), *layer]):
        rows[layer[name]].append(name)
    return rows


def _swept(rows: list[list[str]], joined: list[tuple[str, str]], *, down: bool) -> list[list[str]]:
    """The rows reordered, each by the mean of where those stand that its nodes are joined to in the row before."""
    ordered = rows if down else rows[::-1]
    before: dict[str, float] = {}
    found = []
    for row in ordered:
        near: dict[str, list[float]] = {}
        for origin, to in joined:
            other, name = (origin, to) if down else (to, origin)
            if other in before:
                near.setdefault(name, []).append(before[other])
        place = {name: index - (len(row) - 1) / 2 for index, name in enumerate(row)}
        mean = {name: sum(near[name]) / len(near[name]) if name in near else place[name] for name in row}
        row = sorted(row, key=lambda name: (mean[name], place[name]))
        before.update({name: index - (len(row) - 1) / 2 for index, name in enumerate(row)})
        found.append(row)
    return found if down else found[::-1]


def _placed(
    graph: Graph, rows: list[list[str]], chains: dict[tuple[str, str], list[str]], box: Point, gap: Point
) -> Places:
    names = {node.name for node in graph.nodes}
    # A point that is only passed needs little room.
    wide = {name: box[0] if name in names else gap[0] / 2 for row in rows for name in row}
    widths = [sum(wide[name] for name in row) + gap[0] * (len(row) - 1) for row in rows]
    width = max(widths) + 2 * gap[0]
    points: dict[str, Point] = {}
    for depth, row in enumerate(rows):
        x = (width - widths[depth]) / 2
        for name in row:
            points[name] = x + wide[name] / 2, gap[1] / 2 + depth * (box[1] + gap[1]) + box[1] / 2
            x += wide[name] + gap[0]
    ways = {pair: [points[name] for name in chain] for pair, chain in chains.items()}
    return Places({name: points[name] for name in names}, ways, width, len(rows) * (box[1] + gap[1]))
