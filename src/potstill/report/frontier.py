"""The search as pictures: loss against latency and size, where each Pareto point can be picked; loss against
the number of columns."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from math import log10
from typing import Any, NamedTuple

from potstill.report import words
from potstill.report.contenders import name_of
from potstill.report.facts import CandidateFacts, ColumnFacts, ReportFacts
from potstill.report.svg import INK, MUTED, PAPER, Chart, Mark, color_of

POINT = "point-"
"""Start of the id of a Pareto point's line in the table; its number follows."""

_DISC = 15.0
_SAME_LINE = 0.01
"""Losses that differ by less than this part are drawn as one line."""
_FARTHEST_LIMIT = 1.5
"""Decades beyond the last point up to which a budget's limit is still drawn; farther off it is only named."""


class Axis(NamedTuple):
    """One of the two costs: what it is called, what it is of a candidate, how ticks are said, its limit."""

    title: str
    of: Callable[[CandidateFacts], float | None]
    tick: Callable[[float], str]
    limit: float | None
    limit_said: str


def frontier_charts(facts: ReportFacts, metric: str) -> list[Chart]:
    """Validation loss against latency and against size; none where fewer than two candidates have them."""
    budget = facts.budget
    latency = None if budget.latency_ms is None else 1e3 * budget.latency_ms
    size = None if budget.size_kb is None else 1e3 * budget.size_kb
    axes = (
        Axis(
            "Latency of one row, median",
            lambda each: each.latency.p50 if each.latency else None,
            words.tick_micros,
            latency,
            f"budget: p99 up to {words.micros(latency)}",
        ),
        Axis(
            "Size on disk",
            lambda each: each.size_bytes,
            words.tick_size,
            size,
            f"budget: up to {words.size(size)}",
        ),
    )
    drawn = (_chart(facts, axis, metric) for axis in axes)
    return [chart for chart in drawn if chart is not None]


def _chart(facts: ReportFacts, axis: Axis, metric: str) -> Chart | None:
    shown = [each for each in facts.candidates if axis.of(each) is not None]
    if len(shown) < 2:
        return None
    name = words.METRICS[metric]
    front = [each for each in shown if each.number is not None]
    told = "; ".join(f"{each.number}: {point_words(each, metric)}" for each in sorted(front, key=_number))
    lines = [
        f"{name_of(model).lower()} {words.score(loss, metric)}"
        for model, loss in facts.validation_losses.items()
    ]
    return Chart(
        title=f"Validation {words.in_text(metric)} against {axis.title[0].lower()}{axis.title[1:]}",
        description=f"{len(shown)} candidates. Pareto points: {told}."
        + (f" Lines: {', '.join(lines)}." if lines else ""),
        draw=lambda figure, width: _draw(figure, width, facts, shown, axis, name),
        height=lambda width: 380 if width > 400 else 340,
        marks={mark_of(facts, each): _mark(each, metric) for each in shown},
    )


def mark_of(facts: ReportFacts, each: CandidateFacts) -> str:
    """Where a candidate's point leads: to its line in the table, or nowhere under a name of its own."""
    if each.number is not None:
        return f"{POINT}{each.number}"
    return f"candidate-{facts.candidates.index(each)}"


def _mark(each: CandidateFacts, metric: str) -> Mark:
    number = "" if each.number is None else f"{each.number}: "
    return Mark(number + point_words(each, metric), leads=each.number is not None)


def point_words(each: CandidateFacts, metric: str) -> str:
    """A candidate in one line: name, loss, size, latency, and what is to be known of it."""
    parts = [words.one_line(each.name, 60), f"{words.in_text(metric)} {words.score(each.loss, metric)}"]
    if each.size_bytes is not None:
        parts.append(words.size(each.size_bytes))
    if each.latency is not None:
        parts.append(f"{words.micros(each.latency.p50)} (p99 {words.micros(each.latency.p99)})")
    if not each.fits_budget:
        parts.append("over the budget")
    if each.chosen:
        parts.append("in the artifact")
    return ", ".join(parts)


def _number(each: CandidateFacts) -> int:
    return each.number or 0


def _draw(
    figure: Any, width: int, facts: ReportFacts, shown: Sequence[CandidateFacts], axis: Axis, name: str
) -> None:
    axes = figure.subplots()
    costs = {id(each): float(axis.of(each) or 1.0) for each in shown}
    _scales(axes, list(costs.values()), [each.loss for each in shown], facts, axis, width)
    if axis.limit is not None:
        _shade(axes, axis)
    _steps(axes, sorted((costs[id(each)], each.loss) for each in shown))
    _references(axes, facts.validation_losses)
    for each in sorted(shown, key=lambda one: (one.number is not None, -_number(one))):
        is_latency = each.latency is not None and costs[id(each)] == each.latency.p50
        _point(axes, each, costs[id(each)], f"#{mark_of(facts, each)}", whisker=is_latency)
    axes.set_xlabel(f"{axis.title} (log scale)")
    axes.set_title(f"{name} on {facts.judged_by}, lower is better", loc="left", color=MUTED)


def _references(axes: Any, losses: Mapping[str, float]) -> None:
    """A line for each model's loss; one name for lines that lie on each other."""
    names: dict[float, list[str]] = {}
    for model, loss in losses.items():
        axes.axhline(loss, color=color_of(model), linestyle=(0, (4, 3)), linewidth=1.5, zorder=1)
        near = next((each for each in names if abs(each - loss) <= _SAME_LINE * abs(each)), loss)
        names.setdefault(near, []).append(model)
    for loss, models in names.items():
        # On the left: where the loss is low, the candidates are on the right.
        axes.text(
            0.01,
            loss,
            " and ".join(name_of(model) for model in models),
            transform=axes.get_yaxis_transform(),
            ha="left",
            va="bottom",
            fontsize=11,
            color=color_of(models[0]),
        )


def _steps(axes: Any, spots: Sequence[tuple[float, float]]) -> None:
    """The least loss there is up to each cost; points of the front may lie above it in one picture."""
    least: list[tuple[float, float]] = []
    for cost, loss in spots:
        if not least or loss < least[-1][1]:
            least.append((cost, loss))
    costs, losses = zip(*least, strict=True)
    axes.step(costs, losses, where="post", color=color_of("candidate"), linewidth=1.5, alpha=0.6)


def _point(axes: Any, each: CandidateFacts, x: float, url: str, *, whisker: bool) -> None:
    """A numbered disc on the front, a small ring elsewhere; a cross where the budget is broken."""
    if each.number is None:
        kind = "student" if each.chosen else "candidate"
        axes.plot(
            [x],
            [each.loss],
            marker="D" if each.chosen else "o" if each.fits_budget else "x",
            color=color_of(kind),
            markersize=9 if each.chosen else 7,
            fillstyle="full" if each.chosen else "none",
            linestyle="none",
            alpha=1.0 if each.chosen else 0.8,
            url=url,
            zorder=3,
        )
        return
    color = color_of("student") if each.chosen else color_of("candidate")
    if whisker and each.latency is not None:
        axes.plot([x, each.latency.p99], [each.loss] * 2, color=color, linewidth=1.5, alpha=0.35, zorder=2)
    axes.plot(
        [x],
        [each.loss],
        marker="o",
        markersize=_DISC,
        color=color,
        markeredgecolor=PAPER,
        markeredgewidth=1.5,
        linestyle="none",
        url=url,
        zorder=4,
    )
    axes.annotate(
        str(each.number),
        (x, each.loss),
        ha="center",
        va="center_baseline",
        fontsize=10,
        fontweight="bold",
        color=PAPER,
        zorder=5,
    )


def _scales(
    axes: Any, costs: list[float], losses: list[float], facts: ReportFacts, axis: Axis, width: int
) -> None:
    from matplotlib.ticker import FixedLocator, FuncFormatter, MaxNLocator, NullLocator

    low, high = log10(min(costs)), log10(max(costs))
    if axis.limit is not None and low < log10(axis.limit) < high + _FARTHEST_LIMIT:
        high = max(high, log10(axis.limit))
    pad = max(0.1 * (high - low), 0.12)
    axes.set_xscale("log")
    axes.set_xlim(10 ** (low - pad), 10 ** (high + pad))
    steps = (1, 2, 5) if high - low < 1.5 else (1, 3) if high - low < 2.5 else (1,)
    ticks = [step * 10.0**k for k in range(-1, 12) for step in steps]
    ticks = [tick for tick in ticks if low - pad <= log10(tick) <= high + pad]
    axes.xaxis.set_major_locator(FixedLocator(ticks[:: 1 + len(ticks) // (8 if width > 400 else 6)]))
    axes.xaxis.set_minor_locator(NullLocator())
    axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: axis.tick(value)))
    every = [*losses, *facts.validation_losses.values()]
    least, most = min(every), max(every)
    if least > 0.0:
        axes.set_yscale("log")
        room = (most / least) ** 0.1 if most > least else 1.05
        axes.set_ylim(least / room, most * room)
        axes.yaxis.set_major_locator(FixedLocator(MaxNLocator(5).tick_values(least / room, most * room)))
        axes.yaxis.set_minor_locator(NullLocator())
    axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:,.6g}".replace("-", "−")))
    axes.grid(False, axis="x")


def _shade(axes: Any, axis: Axis) -> None:
    """What keeps the budget, up to its limit where that is on the picture."""
    assert axis.limit is not None
    low, high = axes.get_xlim()
    edge = min(axis.limit, high)
    if edge > low:
        axes.axvspan(low, edge, color=color_of("student"), alpha=0.08, linewidth=0, zorder=0)
    if low < axis.limit < high:
        axes.axvline(axis.limit, color=color_of("student"), linewidth=1, alpha=0.5, zorder=1)
    axes.text(
        0.01,
        0.985,
        axis.limit_said,
        transform=axes.transAxes,
        ha="left",
        va="top",
        fontsize=11,
        color=MUTED,
    )


def columns_chart(columns: Sequence[ColumnFacts], metric: str) -> Chart | None:
    """Validation loss against the number of columns, with intervals; None where nothing was measured."""
    if not columns:
        return None
    ordered = sorted(columns, key=lambda each: each.n_columns)
    name = words.METRICS[metric]

    def draw(figure: Any, _: int) -> None:
        from matplotlib.ticker import MaxNLocator

        axes = figure.subplots()
        color = color_of("student")
        for each in ordered:
            if each.low is not None and each.high is not None:
                axes.vlines(each.n_columns, each.low, each.high, color=color, linewidth=3, alpha=0.35)
        axes.plot(
            [each.n_columns for each in ordered],
            [each.loss for each in ordered],
            color=color,
            linewidth=1.5,
            marker="o",
            markersize=5,
        )
        for each in ordered:
            if each.chosen:
                axes.plot([each.n_columns], [each.loss], marker="D", markersize=10, color=color)
                axes.annotate(
                    "in the artifact",
                    (each.n_columns, each.loss),
                    xytext=(8, 8),
                    textcoords="offset points",
                    fontsize=11,
                    color=INK,
                )
        axes.xaxis.set_major_locator(MaxNLocator(8, integer=True))
        axes.set_xlabel("Columns the model asks for")
        axes.set_title(f"{name} on validation rows, lower is better", loc="left", color=MUTED)

    told = "; ".join(f"{each.n_columns}: {words.score(each.loss, metric)}" for each in ordered)
    return Chart(
        title=f"Validation {words.in_text(metric)} against the number of columns",
        description=f"Columns and loss: {told}.",
        draw=draw,
        height=lambda _: 280,
    )
