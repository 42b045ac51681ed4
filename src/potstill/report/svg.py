"""Matplotlib figures as inline SVG that follows the page: its font, its light and dark colours, its width.

Charts are drawn in stand-in colours; here each becomes a CSS variable of the page. Nothing is left in the
SVG that could leak into the page (global styles, ids of the same name) or out of it (addresses).
"""

from __future__ import annotations

import io
import re
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple
from xml.etree import ElementTree

from potstill.report.contenders import CONTENDERS, OTHER, contender

INK, MUTED, GRID, PAPER = "#01f101", "#01f102", "#01f103", "#01f104"
_COLORS = {model: f"#01f1{16 + place:02x}" for place, model in enumerate((*CONTENDERS, OTHER, "candidate"))}

_VARIABLES = {INK: "ink", MUTED: "muted", GRID: "grid", PAPER: "paper"} | {
    color: model.replace("_", "-") for model, color in _COLORS.items()
}
_STYLE = {
    "svg.fonttype": "none",
    "text.parse_math": False,
    "figure.facecolor": "none",
    "axes.facecolor": "none",
    "font.family": "DejaVu Sans",
    "font.size": 12,
    "axes.titlesize": 12,
    "axes.labelsize": 12,
    "xtick.labelsize": 11,
    "ytick.labelsize": 11,
    "text.color": INK,
    "axes.labelcolor": MUTED,
    "axes.titlecolor": INK,
    "xtick.color": MUTED,
    "ytick.color": MUTED,
    "axes.edgecolor": GRID,
    "grid.color": GRID,
    "axes.grid": True,
    "axes.axisbelow": True,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "grid.linewidth": 1.0,
    "axes.linewidth": 1.0,
    "xtick.major.size": 0,
    "ytick.major.size": 0,
    "xtick.minor.size": 0,
    "ytick.minor.size": 0,
    "axes.unicode_minus": True,
}


def color_of(model: str) -> str:
    """Stand-in colour of a model, or of a ``candidate``."""
    return _COLORS.get(model, _COLORS[OTHER])


def variable_of(model: str) -> str:
    """The page's CSS variable for a model's colour, without its dashes."""
    return _VARIABLES[color_of(model)]


def marker_of(model: str) -> str:
    """matplotlib's sign for a model, or for a ``candidate``."""
    return "o" if model == "candidate" else contender(model).marker


class Mark(NamedTuple):
    """A mark of a chart that says something of its own when pointed at."""

    told: str
    leads: bool = False
    """It is a link to the place on the page that has its name."""


class Chart(NamedTuple):
    """A drawing: its heading and description for those who do not see it, and how to draw it on a figure."""

    title: str
    description: str
    draw: Callable[[Any, int], None]
    """Takes the figure and its width in pixels."""
    height: Callable[[int], int]
    """Height in pixels for a width in pixels."""
    marks: Mapping[str, Mark] = {}
    """What the marks drawn with the address ``#name`` say, by name."""


def svg(chart: Chart, name: str, *, wide: int, narrow: int = 340) -> str:
    """The chart as HTML: one SVG, or one for wide and one for narrow screens where the widths differ.

    Parameters
    ----------
    chart
        What to draw.
    name
        Prefix of all ids, unique on the page.
    wide, narrow
        Natural widths in pixels; text is 11 to 12 pixels at these.
    """
    if wide == narrow:
        return _one(chart, name, wide, "")
    return _one(chart, f"{name}-wide", wide, "wide") + _one(chart, f"{name}-narrow", narrow, "narrow")


def _one(chart: Chart, name: str, width: int, kind: str) -> str:
    import matplotlib as mpl
    from matplotlib.backends.backend_svg import FigureCanvasSVG
    from matplotlib.figure import Figure

    height = chart.height(width)
    with mpl.rc_context({**_STYLE, "svg.hashsalt": name}):
        figure = Figure(figsize=(width / 72, height / 72), dpi=72, layout="constrained")
        canvas = FigureCanvasSVG(figure)
        chart.draw(figure, width)
        written = io.StringIO()
        # Not savefig: it draws everything twice.
        canvas.print_svg(written, metadata=dict.fromkeys(("Date", "Creator", "Format", "Type")))
    root = _plain(ElementTree.fromstring(written.getvalue()), name, chart.marks)
    root.attrib = {
        "class": f"chart {kind}".strip(),
        "viewBox": f"0 0 {width} {height}",
        "style": f"max-width:{width * 1.2:.0f}px",
        # The contents of an image are not read out; marks that lead somewhere have to be.
        "role": "group" if any(mark.leads for mark in chart.marks.values()) else "img",
        "aria-labelledby": f"{name}-title {name}-desc",
    }
    for tag, text in (("desc", chart.description), ("title", chart.title)):
        element = ElementTree.Element(tag, {"id": f"{name}-{tag}"})
        element.text = text
        root.insert(0, element)
    return ElementTree.tostring(root, encoding="unicode", short_empty_elements=True)


def _plain(root: ElementTree.Element, name: str, marks: Mapping[str, Mark]) -> ElementTree.Element:
    """The tree without namespaces, metadata and global styles, its ids prefixed, its colours variables."""
    for parent in list(root.iter()):
        for child in list(parent):
            if child.tag.endswith(("metadata", "style")):
                parent.remove(child)
    used = {
        reference
        for element in root.iter()
        for value in element.attrib.values()
        for reference in re.findall(r"(?:^|url\()#([\w.-]+)", value)
    }
    for element in root.iter():
        element.tag = element.tag.rpartition("}")[2]
        element.attrib = {
            key.rpartition("}")[2]: _attribute(key, value, name)
            for key, value in element.attrib.items()
            if key != "id" or value in used
        }
        element.tail = None
        if element.tag not in {"text", "title"}:
            element.text = None
        if element.tag == "a":
            _speak(element, element.attrib["href"].removeprefix(f"#{name}-"), marks)
    return root


def _speak(element: ElementTree.Element, target: str, marks: Mapping[str, Mark]) -> None:
    """Make a link of the drawing what its mark is: a link with a tooltip, or a group with one."""
    mark = marks[target]
    if mark.leads:
        element.attrib = {"href": f"#{target}", "aria-label": mark.told}
    else:
        element.tag, element.attrib = "g", {"class": "mark-only"}
    title = ElementTree.Element("title")
    title.text = mark.told
    element.insert(0, title)


def _attribute(key: str, value: str, name: str) -> str:
    if key == "id":
        return f"{name}-{value}"
    if key == "d":
        # A hundredth of a pixel is enough.
        short = re.sub(
            r"-?\d+\.\d+", lambda found: f"{float(found.group()):.2f}".rstrip("0").rstrip("."), value
        )
        return " ".join(short.split())
    if key == "style":
        value = re.sub(r"\s*font-family:[^;]*;?", "", value)
        value = re.sub(r"#01f1\w\w", lambda found: f"var(--{_VARIABLES[found.group()]})", value)
    return re.sub(r"(^|url\()#", rf"\g<1>#{name}-", value)
