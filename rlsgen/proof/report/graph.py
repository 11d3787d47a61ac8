"""Draws the paths as inline SVG: context fields on the left, and each table to the right of what decides its rows."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from itertools import pairwise

from markupsafe import Markup, escape

from rlsgen.proof.report.data import Edge, Node, Paths
from rlsgen.proof.report.text import shortened, visible

WIDTH, HEIGHT = 172, 34  # of a node, in units of the drawing
_ROW, _BEND = 48, 26  # from node to node in a layer; what a long edge takes between nodes
_ROOM = 60  # between layers; with labels on their edges more
_LETTERS = 18
_LINE = 13  # from label to label
_LETTER = 6.4  # how wide a letter of an edge's label is
_PAD = 8
_SWEEPS = 4


@dataclass(slots=True)
class _Layout:
    """Places: `spots` of nodes and of the bends of long edges, each by a key, from top to bottom in each layer."""

    layers: list[list[tuple[int, ...]]] = field(default_factory=list)
    left: list[float] = field(default_factory=list)  # of each layer
    straight: dict[int, float] = field(default_factory=dict)  # before a node, for the labels of what leads to it
    middle: dict[tuple[int, ...], float] = field(default_factory=dict)  # of each spot
    width: float = 0
    height: float = 0


def to_svg(paths: Paths) -> Markup:
    """The drawing; empty where there is nothing to draw. Every name is escaped."""
    if not paths.nodes:
        return Markup("")
    edges = [edge for edge in paths.edges if edge.source != edge.target]
    layer = _layers(paths.nodes, edges)
    layout = _layout(paths.nodes, edges, layer)
    parts = [_edge(edge, layer, layout) for edge in sorted(edges, key=lambda each: each.kind != "filter")]
    looped = {edge.source for edge in paths.edges if edge.source == edge.target}
    parts += [_node(node, layer[node.id], layout, node.id in looped) for node in paths.nodes]
    parts += _labels(edges, layer, layout)
    head = Markup('<svg class="graph" viewBox="0 0 {w:.0f} {h:.0f}" width="{w:.0f}" height="{h:.0f}" role="img"'
                  ' aria-labelledby="graph-title graph-text">\n<title id="graph-title">{title}</title>\n'
                  '<desc id="graph-text">{text}</desc>\n')  # fmt: skip
    title = "Where each table’s rows come from"
    opening = head.format(w=layout.width, h=layout.height, title=title, text=in_words(paths))
    return opening + Markup("\n").join(parts) + Markup("\n</svg>")


def in_words(paths: Paths) -> str:
    """The drawing for those who do not see it."""
    labels = {node.id: visible(node.label) for node in paths.nodes}
    sources: dict[int, list[str]] = defaultdict(list)
    for edge in paths.edges:
        by = f" by {visible(edge.label)}" if edge.kind == "path" else ""
        sources[edge.target].append(f"{labels[edge.source]}{by}")
    return " ".join(f"{labels[target]} follows {', '.join(found)}." for target, found in sources.items())


def _layers(nodes: Sequence[Node], edges: Sequence[Edge]) -> Mapping[int, int]:
    """Each node as far to the right as its longest way from the left; fields stand in a layer of their own.

    Bounded by the number of nodes, since declarations that do not fit may go round in circles.
    """
    first = 1 if any(node.kind == "field" for node in nodes) else 0
    layer = {node.id: 0 if node.kind == "field" else first for node in nodes}
    for _ in nodes:
        moved = False
        for edge in edges:
            after = min(layer[edge.source] + 1, len(nodes))
            if layer[edge.target] < after:
                layer[edge.target], moved = after, True
        if not moved:
            break
    numbers = {each: number for number, each in enumerate(sorted(set(layer.values())))}
    return {id: numbers[each] for id, each in layer.items()}


def _route(edge: Edge, layer: Mapping[int, int]) -> list[tuple[int, ...]]:
    """The spots that an edge passes: its ends, and a bend in every layer between."""
    between = range(layer[edge.source] + 1, layer[edge.target])
    return [(edge.source,), *((edge.source, edge.target, each) for each in between), (edge.target,)]


def _layout(nodes: Sequence[Node], edges: Sequence[Edge], layer: Mapping[int, int]) -> _Layout:
    layout = _Layout([[] for _ in range(max(layer.values()) + 1)])
    for node in nodes:
        layout.layers[layer[node.id]].append((node.id,))
    beside: dict[tuple[int, ...], list[tuple[int, ...]]] = defaultdict(list)
    for edge in edges:
        route = _route(edge, layer)
        for number, spot in enumerate(route[1:-1], layer[edge.source] + 1):
            layout.layers[number].append(spot)
        for one, other in pairwise(route):
            beside[one].append(other)
            beside[other].append(one)
    layout.layers = [list(dict.fromkeys(spots)) for spots in layout.layers]
    _stack(layout)
    for sweep in range(_SWEEPS):
        for spots in layout.layers[:: -1 if sweep % 2 else 1]:
            spots.sort(key=lambda spot: _mean([layout.middle[each] for each in beside[spot]], layout.middle[spot]))
            _settle(layout, beside)
    _columns(edges, layer, layout)
    return layout


def _mean(values: Sequence[float], otherwise: float) -> float:
    return sum(values) / len(values) if values else otherwise


def _stack(layout: _Layout) -> None:
    """Every layer from top to bottom, in the middle of the whole height."""
    heights = [sum(map(_room, spots)) for spots in layout.layers]
    for spots, height in zip(layout.layers, heights, strict=True):
        _put(layout, spots, [(max(heights) - height) / 2] * len(spots))


def _put(layout: _Layout, spots: Sequence[tuple[int, ...]], tops: Sequence[float]) -> None:
    """Each spot at its top, or below the one before."""
    least = tops[0] if tops else 0.0
    for spot, top in zip(spots, tops, strict=True):
        least = max(least, top)
        layout.middle[spot] = least + _room(spot) / 2
        least += _room(spot)


def _room(spot: tuple[int, ...]) -> int:
    return _ROW if len(spot) == 1 else _BEND


def _settle(layout: _Layout, beside: Mapping[tuple[int, ...], Sequence[tuple[int, ...]]]) -> None:
    """Layers to both sides of the fullest one, each spot as near as may be to those of the layer before."""
    fullest = max(range(len(layout.layers)), key=lambda each: sum(map(_room, layout.layers[each])))
    outwards = [*((each, each - 1) for each in range(fullest + 1, len(layout.layers))),
                *((each, each + 1) for each in range(fullest - 1, -1, -1))]  # fmt: skip
    for number, towards in outwards:
        spots, known = layout.layers[number], set(layout.layers[towards])
        near = [[layout.middle[each] for each in beside[spot] if each in known] for spot in spots]
        wanted = [_mean(ys, layout.middle[spot]) - _room(spot) / 2 for spot, ys in zip(spots, near, strict=True)]
        _put(layout, spots, wanted)
        pushed = [layout.middle[spot] - _room(spot) / 2 - top for spot, top in zip(spots, wanted, strict=True)]
        for spot in spots:
            layout.middle[spot] -= _mean(pushed, 0)
    top = min(middle - _room(spot) / 2 for spot, middle in layout.middle.items())
    for spot in layout.middle:
        layout.middle[spot] += _PAD - top
    layout.height = max(middle + _room(spot) / 2 for spot, middle in layout.middle.items()) + _PAD


def _columns(edges: Sequence[Edge], layer: Mapping[int, int], layout: _Layout) -> None:
    for edge in edges:
        if edge.label:
            length = len(_short(edge)) * _LETTER + 16
            layout.straight[edge.target] = max(length, layout.straight.get(edge.target, 0))
    x = float(_PAD)
    for number in range(len(layout.layers)):
        layout.left.append(x)
        ending = [length for id, length in layout.straight.items() if layer[id] == number + 1]
        x += WIDTH + _ROOM + max(ending, default=0)
    layout.width = layout.left[-1] + WIDTH + _PAD


def _short(edge: Edge) -> str:
    return shortened(visible(edge.label), 30)


def _edge(edge: Edge, layer: Mapping[int, int], layout: _Layout) -> Markup:
    """A curve from the right side of one node to the left of another, straight through the bends between."""
    route = _route(edge, layer)
    if layer[edge.target] <= layer[edge.source]:  # of a circle: as short as may be
        route = [route[0], route[-1]]
    x, y = layout.left[layer[edge.source]] + WIDTH, layout.middle[route[0]]
    drawn = [f"M{x:.0f} {y:.1f}"]
    for number, spot in enumerate(route[1:], layer[edge.source] + 1):
        last = spot == route[-1]
        straight = layout.straight.get(edge.target, 0) if last else 0
        left = layout.left[layer[edge.target] if last else number] - straight
        middle, bend = layout.middle[spot], (left - x) / 2
        drawn.append(f"C{x + bend:.0f} {y:.1f} {left - bend:.0f} {middle:.1f} {left:.0f} {middle:.1f}")
        x, y = left, middle
        x += straight if last else WIDTH
        drawn.append(f"H{x:.0f}")
    return Markup('<path class="edge {}" d="{}"/>').format(edge.kind, " ".join(drawn))


def _labels(edges: Sequence[Edge], layer: Mapping[int, int], layout: _Layout) -> list[Markup]:
    """Before the tables that they lead to; of several at one table, each a line above the other."""
    number: Counter[int] = Counter()
    drawn = []
    for edge in edges:
        if edge.label:
            drawn.append(_label(edge, number[edge.target], layer, layout))
            number[edge.target] += 1
    return drawn


def _label(edge: Edge, above: int, layer: Mapping[int, int], layout: _Layout) -> Markup:
    x = layout.left[layer[edge.target]] - 10
    y = layout.middle[edge.target,] - 6 - _LINE * above
    return Markup('<text class="on" x="{:.0f}" y="{:.1f}" text-anchor="end">{}</text>').format(x, y, _short(edge))


def _node(node: Node, number: int, layout: _Layout, looped: bool) -> Markup:
    x, y = layout.left[number], layout.middle[node.id,]
    label = shortened(visible(node.label), _LETTERS - (2 if looped else 0))
    shown = escape(f"{label} ↻" if looped else label)
    radius = HEIGHT // 2 if node.kind == "field" else 5
    full = "context field" if node.kind == "field" else node.kind
    return Markup(
        '<g class="node {}"><title>{}</title><rect x="{:.0f}" y="{:.1f}" width="{}" height="{}" rx="{}"/>'
        '<text x="{:.0f}" y="{:.1f}">{}</text></g>'
    ).format(
        node.kind, f"{visible(node.label)}: {full}", x, y - HEIGHT / 2, WIDTH, HEIGHT, radius, x + 14, y + 4.5, shown
    )
