"""A cascade's curve: what the student may answer alone, and what that costs and keeps."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import msgspec
import numpy as np

from potstill.monitoring import CascadePoint
from potstill.report.facts import write_text
from potstill.report.svg import GRID, INK, MUTED, Chart, color_of, svg

_HERE = Path(__file__).parent


class CascadeFacts(msgspec.Struct, frozen=True):
    """A chosen cascade, and its alternatives.

    Parameters
    ----------
    name, content_hash
        Of the student's artifact.
    n_rows
        Labelled rows; one half of them chose ``threshold``, the other half measured ``chosen``.
    keep_accuracy
        Share of the ensemble's accuracy that was to be kept.
    student_accuracy, ensemble_accuracy
        Of each alone, on all rows.
    student_mean_us, ensemble_mean_us
        Mean latency of one row.
    curve
        From the student answering nothing to it answering everything, on all rows.
    """

    name: str
    content_hash: str
    n_rows: int
    keep_accuracy: float
    threshold: float
    chosen: CascadePoint
    student_accuracy: float
    ensemble_accuracy: float
    student_mean_us: float
    ensemble_mean_us: float
    curve: tuple[CascadePoint, ...]

    @property
    def in_words(self) -> str:
        """The choice in two sentences."""
        point = self.chosen
        faster = self.ensemble_mean_us / point.mean_us if point.mean_us else 1.0
        speed = (
            f"{faster:.1f} times as fast as the ensemble on average" if faster > 1 else "no faster on average"
        )
        return (
            f"With a threshold of {self.threshold:g} the student answers {point.share:.1%} of the rows, "
            f"{speed}. The accuracy is {point.accuracy:.2%}, {100 * point.difference:+.2f} points against "
            f"the ensemble alone (95 % interval {100 * point.difference_low:+.2f} to "
            f"{100 * point.difference_high:+.2f})."
        )


def save_cascade(facts: CascadeFacts, path: str | Path) -> None:
    """Render the page and write it, beside and renamed."""
    write_text(Path(path), render_cascade(facts))


def render_cascade(facts: CascadeFacts) -> str:
    """The page as text; the model's name is escaped."""
    import jinja2
    from markupsafe import Markup

    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(_HERE), autoescape=True, undefined=jinja2.StrictUndefined
    )
    page = environment.get_template("cascade.html.j2").render(
        css=Markup((_HERE / "style.css").read_text(encoding="utf-8")),
        facts=facts,
        charts=[
            Markup(svg(chart(facts), name, wide=640))
            for name, chart in (("accuracy", accuracy_chart), ("latency", latency_chart))
        ],
    )
    return page.encode("utf-8", "replace").decode("utf-8")


def accuracy_chart(facts: CascadeFacts) -> Chart:
    """Accuracy over the share of the rows that the student answers."""
    shares = np.array([point.share for point in facts.curve])

    def draw(figure: Any, _: int) -> None:
        axes = figure.subplots()
        low, high = ([getattr(point, name) for point in facts.curve] for name in ("low", "high"))
        axes.fill_between(shares, low, high, color=color_of("student"), alpha=0.15, linewidth=0)
        axes.plot(shares, [point.accuracy for point in facts.curve], color=color_of("student"), linewidth=2)
        axes.axhline(facts.ensemble_accuracy, color=color_of("teacher"), linewidth=1.5, linestyle=(0, (4, 3)))
        axes.annotate(
            "ensemble alone",
            (0, facts.ensemble_accuracy),
            xytext=(4, 4),
            textcoords="offset points",
            color=color_of("teacher"),
        )
        _mark_choice(axes, facts.chosen.share, facts.chosen.accuracy)
        _shares(axes, "accuracy")
        axes.yaxis.set_major_formatter(lambda value, _place: f"{100 * value:.1f} %")

    return Chart(
        title="Accuracy by the share that the student answers",
        description=_described(facts, "accuracy"),
        draw=draw,
        height=lambda width: round(width * 0.55),
    )


def latency_chart(facts: CascadeFacts) -> Chart:
    """Mean and p99 latency over the same share."""
    shares = np.array([point.share for point in facts.curve])

    def draw(figure: Any, _: int) -> None:
        axes = figure.subplots()
        for name, said, style in (("mean_us", "mean", "-"), ("p99_us", "p99", (0, (4, 3)))):
            values = [(getattr(point, name) or 0.0) / 1000 for point in facts.curve]
            axes.plot(shares, values, color=color_of("student"), linewidth=2, linestyle=style, label=said)
        axes.set_yscale("log")
        axes.legend(frameon=False, labelcolor=INK)
        _mark_choice(axes, facts.chosen.share, (facts.chosen.mean_us or 0.0) / 1000)
        _shares(axes, "one row, ms")
        axes.yaxis.set_major_formatter(lambda value, _place: f"{value:g}")

    return Chart(
        title="Latency by the share that the student answers",
        description=_described(facts, "mean_us"),
        draw=draw,
        height=lambda width: round(width * 0.45),
    )


def _shares(axes: Any, what: str) -> None:
    axes.set(xlim=(-0.02, 1.02), xlabel="share of the rows that the student answers", ylabel=what)
    ticks = np.linspace(0, 1, 6)
    axes.set_xticks(ticks, [f"{100 * tick:.0f} %" for tick in ticks])


def _mark_choice(axes: Any, share: float, value: float) -> None:
    axes.axvline(share, color=GRID, linewidth=1)
    axes.plot([share], [value], marker="o", markersize=8, color=color_of("student"), markeredgecolor=MUTED)


def _described(facts: CascadeFacts, name: str) -> str:
    points = facts.curve[:: max(len(facts.curve) // 10, 1)]
    said = "; ".join(f"{point.share:.0%}: {getattr(point, name) or 0:.4g}" for point in points)
    return f"Share of the rows and {name.replace('_us', ' in microseconds')}: {said}."
