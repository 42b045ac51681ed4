"""Dot plots: one line a class or a slice, one dot a model."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

from potstill.evaluation.parts import ClassScores, SliceScores
from potstill.report import words
from potstill.report.contenders import contender, name_of
from potstill.report.svg import GRID, INK, Chart, color_of, marker_of

MAX_CLASSES = 30
MAX_SLICES = 14
_NARROW = 400
_LABEL = 38


class Line(NamedTuple):
    """A line of a dot plot: what it is of, how many rows stand behind it, and each model's score."""

    label: str
    n: int
    scores: dict[str, float]


def class_chart(table: Sequence[ClassScores], models: tuple[str, ...]) -> Chart:
    """Recall of each class; of many classes, those where the student is furthest below the teacher."""
    lines = [Line(each.label, each.n, each.recall) for each in table]
    reference = "teacher" if "teacher" in models else "twin"
    if len(lines) > MAX_CLASSES:
        worst = sorted(lines, key=lambda line: line.scores["student"] - line.scores.get(reference, 0.0))
        lines = worst[:MAX_CLASSES]
    return _dots("Recall by class", "Recall", lines, _shown(models))


def slice_chart(table: Sequence[SliceScores], models: tuple[str, ...], metric: str) -> Chart:
    """Loss on the slices where the student loses most against the teacher."""
    lines = [Line(_slice_name(each), each.n, _of(each, metric)) for each in table[:MAX_SLICES]]
    return _dots(f"{words.METRICS[metric]} by slice", words.METRICS[metric], lines, _shown(models))


def _thousands() -> Any:
    from matplotlib.ticker import FuncFormatter

    return FuncFormatter(lambda value, _: f"{value:,.6g}".replace("-", "−"))


def _shown(models: tuple[str, ...]) -> tuple[str, ...]:
    return tuple(model for model in models if contender(model).by_part)


def _slice_name(each: SliceScores) -> str:
    """Column and level, the longer of the two cut so that the other stays whole."""
    room = _LABEL - 2 - min(len(each.level), _LABEL // 2)
    return f"{words.one_line(each.column, room)}: {each.level}"


def _of(each: SliceScores, metric: str) -> dict[str, float]:
    return {model: scores[metric] for model, scores in each.scores.items() if metric in scores}


def _dots(title: str, axis: str, lines: Sequence[Line], models: tuple[str, ...]) -> Chart:
    told = "; ".join(
        f"{words.one_line(line.label)} ({line.n} rows): "
        + ", ".join(f"{name_of(m).lower()} {line.scores[m]:.3f}" for m in models if m in line.scores)
        for line in lines
    )
    return Chart(
        title=title,
        description=told + ".",
        draw=lambda figure, width: _draw(figure, width, axis, lines, models),
        height=lambda width: 60 + (24 if width >= _NARROW else 42) * len(lines),
    )


def _draw(figure: Any, width: int, axis: str, lines: Sequence[Line], models: tuple[str, ...]) -> None:
    axes = figure.subplots()
    for row, line in enumerate(lines):
        values = [line.scores[model] for model in models if model in line.scores]
        axes.plot([min(values), max(values)], [row, row], color=GRID, linewidth=3, solid_capstyle="round")
    for model in models:
        rows = [row for row, line in enumerate(lines) if model in line.scores]
        axes.plot(
            [lines[row].scores[model] for row in rows],
            rows,
            marker=marker_of(model),
            color=color_of(model),
            markersize=7,
            linestyle="none",
            alpha=0.9,
            clip_on=False,
        )
    labels = [f"{words.one_line(line.label, _LABEL)}  ({words.count(line.n)})" for line in lines]
    if width < _NARROW:
        # Names beside the dots would leave no room for the dots.
        axes.set_yticks([])
        for row, label in enumerate(labels):
            axes.text(0, row - 0.2, label, transform=axes.get_yaxis_transform(), fontsize=11)
    else:
        axes.set_yticks(range(len(lines)), labels)
        axes.tick_params(axis="y", labelcolor=INK)
    axes.set_ylim(len(lines) - 0.5, -0.5 if width >= _NARROW else -0.8)
    axes.grid(False, axis="y")
    axes.spines["left"].set_visible(False)
    axes.locator_params(axis="x", nbins=4 if width < _NARROW else 7)
    axes.xaxis.set_major_formatter(_thousands())
    axes.set_xlabel(f"{axis} (rows in brackets)")
