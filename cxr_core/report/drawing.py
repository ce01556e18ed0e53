"""How figures become files: the same bytes each time, PNG for the UI, SVG that follows the page's colours.

One drawing serves both, so page and UI cannot differ. What a reader may ask of a point (hover, tap) is a ``hint``: an
invisible circle in the SVG with its text as ``<title>``, which a browser shows without any script.
"""

import io
import re
from collections.abc import Sequence
from html import escape
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from cxr_core.refs import Precision

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

# Okabe and Ito's palette, told apart with any common colour blindness; markers and dashes tell the same once more.
COLOURS = {
    Precision.FP32: "#0072b2",
    Precision.TF32: "#cc79a7",
    Precision.FP16: "#e69f00",
    Precision.BF16: "#009e73",
    Precision.FP8: "#8c8c8c",
    Precision.INT8: "#d55e00",
}
MARKERS = ("o", "s", "^", "D", "v")
DASHES: tuple[Any, ...] = ("-", (0, (5, 2)), (0, (1, 1.5)), (0, (3, 1, 1, 1)), (0, (8, 2)))

# Colours that the page replaces by its own: text and axes, faint lines.
INK = "#102030"
FAINT = "#a0a1a2"

_STYLE: dict[str, Any] = {
    "svg.hashsalt": "cxr",
    "svg.fonttype": "none",
    "font.family": "DejaVu Sans",
    "font.size": 11,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "grid.color": FAINT,
    "grid.alpha": 0.35,
    "grid.linewidth": 0.6,
    "legend.frameon": False,
    "legend.fontsize": 9.5,
    "figure.constrained_layout.use": True,
    **dict.fromkeys(("text.color", "axes.edgecolor", "axes.labelcolor", "xtick.color", "ytick.color"), INK),
}


def style() -> Any:
    """A context in which figures are made and saved."""
    from matplotlib import rc_context

    return rc_context(_STYLE)


def new_figure(
    height: float = 4.2, rows: int = 1, columns: int = 1, ratios: Sequence[float] | None = None, **shared: Any
) -> tuple["Figure", Any]:
    """A figure 5.6 inches wide without pyplot, so that no window system or global state is touched."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(5.6, height))
    return figure, figure.subplots(rows, columns, height_ratios=ratios, squeeze=True, **shared)


def lay_out(figure: "Figure") -> None:
    """Find the places of everything once; the files that are made of the figure then share them."""
    figure.draw_without_rendering()
    figure.set_layout_engine("none")


class Hint(NamedTuple):
    """What a point of a figure says when it is asked. ``x`` and ``y`` are in the units of ``axes``."""

    axes: "Axes"
    x: float
    y: float
    text: str


def hint(axes: "Axes", x: float, y: float, text: str) -> None:
    """Let a point of the figure answer on the page."""
    hints_of(axes.figure).append(Hint(axes, x, y, text))


def hints_of(figure: Any) -> list[Hint]:
    """The figure's hints, in the order in which they were given; kept with it, so that they end with it."""
    kept: list[Hint] = figure.__dict__.setdefault("cxr_hints", [])
    return kept


def save_png(figure: "Figure", path: Path) -> None:
    """Write a PNG on white, 144 dots an inch, without the library's version in it."""
    figure.savefig(path, format="png", dpi=144, facecolor="white", metadata={"Software": None})


def inline_svg(figure: "Figure", name: str, description: str) -> str:
    """An ``<svg>`` element on no background, its ids prefixed by ``name``, its colours CSS variables of the page."""
    buffer = io.StringIO()
    figure.savefig(
        buffer, format="svg", transparent=True, metadata=dict.fromkeys(("Date", "Creator", "Format", "Type"))
    )
    text = buffer.getvalue()
    text = text[text.index("<svg") :]
    text = re.sub(r"<metadata>.*?</metadata>\s*", "", text, flags=re.DOTALL)
    text = re.sub(r'(\bid="|href="#|url\(#)', rf"\g<1>{name}-", text)
    for colour, variable in ((INK, "--ink"), (FAINT, "--faint"), *((c, f"--{p}") for p, c in COLOURS.items())):
        text = text.replace(colour, f"var({variable})")
    text = re.sub(
        r'<svg [^>]*viewBox="([^"]*)"[^>]*>',
        rf'<svg viewBox="\1" role="img" aria-label="{description}">',
        text,
        count=1,
    )
    return text.strip().removesuffix("</svg>") + _circles(figure) + "</svg>"


def _circles(figure: "Figure") -> str:
    """The hints as circles, where the SVG's last layout has their points: 72 dots an inch, y downwards."""
    height, scale = 72 * figure.get_figheight(), 72 / figure.dpi
    found = []
    for axes, x, y, text in hints_of(figure):
        across, up = axes.transData.transform((x, y)) * scale
        place = f'cx="{across:.1f}" cy="{height - up:.1f}"'
        found.append(f'<circle class="hint" {place} r="5"><title>{escape(text)}</title></circle>')
    return "\n".join(found)
