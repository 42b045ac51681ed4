"""The first picture: who is how good, at what latency and size."""

from __future__ import annotations

from collections.abc import Sequence
from math import hypot, log10
from typing import Any, NamedTuple

from potstill.report import words
from potstill.report.contenders import contender, name_of
from potstill.report.facts import ReportFacts
from potstill.report.svg import INK, MUTED, PAPER, Chart, color_of, marker_of

_LINE = 15.0
_CHARACTER = 6.6
_BOLD_CHARACTER = 7.6


class Spot(NamedTuple):
    """One bubble. ``x`` microseconds or None where latency was not measured, ``y`` the score."""

    model: str
    name: str
    x: float | None
    y: float
    size_bytes: int | None
    label: str


def picture(facts: ReportFacts) -> Chart | None:
    """Accuracy or R² over one-row latency, bubbles by size; None where no model has both."""
    spots = _spots(facts)
    if not any(spot.x is not None for spot in spots):
        return None
    metric = words.METRICS[_metric(facts)]
    told = "; ".join(f"{spot.name}: {metric} {spot.label}" for spot in spots if spot.model != "candidate")
    return Chart(
        title=f"{metric} over latency and size",
        description=f"Bubbles grow with the logarithm of the size. {told}.",
        draw=lambda figure, width: _draw(figure, width, spots, metric),
        height=lambda width: 390 if width > 400 else 310,
    )


def _metric(facts: ReportFacts) -> str:
    return "accuracy" if facts.task.is_classification else "r2"


def _spots(facts: ReportFacts) -> list[Spot]:
    metric = _metric(facts)
    spots = [
        Spot("candidate", each.name, each.latency.p50, each.score, each.size_bytes, "")
        for each in facts.candidates
        if each.score is not None and each.latency is not None and not each.chosen
    ]
    for model in facts.scored():
        score = facts.evidence.scores[model].get(metric)
        if score is None or not contender(model).pictured:
            continue
        measured = facts.models.get(model)
        latency = measured.latency.p50 if measured and measured.latency else None
        size = measured.size_bytes if measured else None
        parts = [words.score(score, metric)]
        parts += [words.micros(latency)] if latency else []
        parts += [words.size(size)] if size else []
        spots.append(Spot(model, name_of(model), latency, score, size, " · ".join(parts)))
    return spots


def _area(size_bytes: int | None) -> float:
    """Area in square pixels: 40 at 1 kB, 130 more for each factor of ten."""
    return 60.0 if not size_bytes else 40.0 + 130.0 * max(0.0, log10(size_bytes / 1e3))


def _draw(figure: Any, width: int, spots: Sequence[Spot], metric: str) -> None:
    axes = figure.subplots()
    placed = [spot for spot in spots if spot.x is not None]
    _limits(axes, spots, width)
    axes.set_xlabel("Latency of one row, median (log scale)")
    axes.set_title(f"{metric}, higher is better", loc="left", color=MUTED, fontsize=12)
    for spot in placed:
        faint = spot.model == "candidate"
        axes.scatter(
            [spot.x],
            [spot.y],
            s=_area(spot.size_bytes),
            marker=marker_of(spot.model),
            facecolor=color_of(spot.model),
            edgecolor=PAPER if not faint else color_of(spot.model),
            linewidth=1.5 if not faint else 1.0,
            alpha=0.25 if faint else 1.0,
            zorder=2 if faint else 3,
        )
    for spot in spots:
        if spot.x is None and spot.model != "candidate":
            axes.axhline(spot.y, color=color_of(spot.model), linestyle=(0, (4, 3)), linewidth=1.5)
    figure.draw_without_rendering()
    figure.set_layout_engine("none")
    _write_labels(axes, spots, numbers=width > 400)


def _limits(axes: Any, spots: Sequence[Spot], width: int) -> None:
    from matplotlib.ticker import FixedLocator, FuncFormatter, MaxNLocator, NullLocator

    latencies = [spot.x for spot in spots if spot.x is not None]
    low, high = log10(min(latencies)), log10(max(latencies))
    pad = max(0.18 * (high - low), 0.5)
    axes.set_xscale("log")
    axes.set_xlim(10 ** (low - pad), 10 ** (high + pad))
    decades = [10.0**k for k in range(-1, 9) if low - pad <= k <= high + pad]
    axes.xaxis.set_major_locator(FixedLocator(decades[:: 1 + len(decades) // (7 if width > 400 else 5)]))
    axes.xaxis.set_minor_locator(NullLocator())
    axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: words.tick_micros(value)))
    scores = [spot.y for spot in spots]
    spread = max(max(scores) - min(scores), 1e-3)
    axes.set_ylim(min(scores) - 0.35 * spread, max(scores) + 0.3 * spread)
    axes.yaxis.set_major_locator(MaxNLocator(5))
    axes.grid(True, axis="y")
    axes.grid(False, axis="x")


class _Box(NamedTuple):
    left: float
    low: float
    right: float
    high: float

    def overlap(self, other: _Box) -> float:
        wide = min(self.right, other.right) - max(self.left, other.left)
        tall = min(self.high, other.high) - max(self.low, other.low)
        return max(0.0, wide) * max(0.0, tall)

    def outside(self, frame: _Box) -> float:
        beyond = max(0.0, frame.left - self.left) + max(0.0, self.right - frame.right)
        return 40.0 * (beyond + max(0.0, frame.low - self.low) + max(0.0, self.high - frame.high))

    def distance(self, other: _Box) -> float:
        wide = max(0.0, self.left - other.right, other.left - self.right)
        tall = max(0.0, self.low - other.high, other.low - self.high)
        return hypot(wide, tall)


def _write_labels(axes: Any, spots: Sequence[Spot], *, numbers: bool) -> None:
    """The name beside each bubble, and on wide pictures a second line with its numbers."""
    lines = 2 if numbers else 1
    labelled = [spot for spot in spots if spot.model != "candidate"]
    bubbles = {spot: _bubble(axes, spot) for spot in spots if spot.x is not None}
    written: list[_Box] = []
    for spot in sorted(labelled, key=lambda each: -each.y):
        width = max(_BOLD_CHARACTER * len(spot.name), _CHARACTER * len(spot.label) if numbers else 0.0)
        best = _place(axes, spot, bubbles, written, size=(width, lines * _LINE))
        written.append(best)
        texts = ((spot.name, "bold", INK, 12), (spot.label, "normal", MUTED, 11))[:lines]
        for line, (text, weight, color, size) in enumerate(texts):
            axes.annotate(
                text,
                xy=(best.left, best.high - _LINE * (line + 0.8)),
                xycoords="figure pixels",
                fontsize=size,
                fontweight=weight,
                color=color,
                annotation_clip=False,
            ).set_in_layout(False)


def _place(
    axes: Any, spot: Spot, bubbles: dict[Spot, _Box], written: Sequence[_Box], *, size: tuple[float, float]
) -> _Box:
    """The place that covers the least of labels, bubbles and frame and is nearest to no other bubble."""
    bounds = axes.get_window_extent()
    frame = _Box(bounds.x0, bounds.y0, bounds.x1, bounds.y1 + 4)
    if spot.x is None:
        y = axes.transData.transform((axes.get_xlim()[0], spot.y))[1] + 5
        starts = (frame.left + 6, (frame.left + frame.right - size[0]) / 2, frame.right - size[0])
        boxes = [_Box(x, y, x + size[0], y + size[1]) for x in starts]
        taken = [*written, *bubbles.values()]
        return min(boxes, key=lambda box: sum(map(box.overlap, taken)))
    own = bubbles[spot]

    def cost(box: _Box) -> float:
        apart = box.distance(own)
        covered = sum(map(box.overlap, written)) + box.outside(frame) + 8 * apart
        for other, bubble in bubbles.items():
            faint = other.model == "candidate"
            covered += box.overlap(bubble) * (0.4 if faint else 2.0)
            if not faint and other != spot and box.distance(bubble) < apart + 6:
                covered += 300.0
        return covered

    return min(_places(own, *size), key=cost)


def _bubble(axes: Any, spot: Spot) -> _Box:
    x, y = axes.transData.transform((spot.x, spot.y))
    radius = _area(spot.size_bytes) ** 0.5 / 2 + 2
    return _Box(x - radius, y - radius, x + radius, y + radius)


def _places(bubble: _Box, width: float, tall: float) -> list[_Box]:
    """Right, left, below, above; then further off."""
    middle_x, middle_y = (bubble.left + bubble.right) / 2, (bubble.low + bubble.high) / 2
    boxes = []
    for gap in (3.0, 12.0, 24.0):
        right, left = bubble.right + gap, bubble.left - gap - width
        for low in (middle_y - tall / 2, middle_y - tall, middle_y):
            boxes += [_Box(x, low, x + width, low + tall) for x in (right, left)]
        for start in (middle_x - width / 2, middle_x - width * 0.85, middle_x - width * 0.15):
            for low in (bubble.low - gap - tall, bubble.high + gap):
                boxes.append(_Box(start, low, start + width, low + tall))
    return boxes
