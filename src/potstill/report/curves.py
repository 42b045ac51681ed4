"""Charts of what a model says against what happens: reliability, predicted against true, residuals."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import numpy as np

from potstill.evaluation.calibration import ReliabilityCurve
from potstill.evaluation.evidence import Predictions
from potstill.report import words
from potstill.report.contenders import name_of
from potstill.report.svg import MUTED, Chart, color_of, marker_of
from potstill.types import Doubles

_RELIABILITY_TICKS = {0.0: 5, 0.5: 6, 0.8: 5, 0.9: 6}


def reliability_floor(curves: Iterable[ReliabilityCurve]) -> float:
    """Where the axes begin, the same for all models: nearly sure models would be all in one corner."""
    lowest = min(min(*curve.confidence, *curve.observed, 1.0) for curve in curves)
    return max(floor for floor in _RELIABILITY_TICKS if floor <= lowest)


def reliability_chart(model: str, curve: ReliabilityCurve, *, ece: float, floor: float) -> Chart:
    """One model's reliability curve with its intervals, on axes from ``floor`` to 1."""
    said = "Probability of the positive class" if curve.of == "positive" else "Confidence"
    happened = "Share that is positive" if curve.of == "positive" else "Share that is right"
    points = ", ".join(
        f"{confidence:.2f} → {observed:.2f}"
        for confidence, observed in zip(curve.confidence, curve.observed, strict=True)
    )

    def draw(figure: Any, _: int) -> None:
        axes = figure.subplots()
        x, y = np.array(curve.confidence), np.array(curve.observed)
        color = color_of(model)
        axes.plot([0, 1], [0, 1], color=MUTED, linewidth=1, linestyle=(0, (3, 3)))
        axes.vlines(x, curve.low, curve.high, color=color, linewidth=2, alpha=0.4)
        axes.plot(x, y, color=color, linewidth=1.5, marker=marker_of(model), markersize=5)
        axes.set_title(f"{name_of(model)}: ECE {words.score(ece, 'ece')}", loc="left", fontweight="bold")
        axes.set(xlim=(floor, 1), ylim=(floor, 1), xlabel=said, ylabel=happened)
        ticks = np.linspace(floor, 1, _RELIABILITY_TICKS[floor])
        axes.set_xticks(ticks, [f"{tick:.2g}" for tick in ticks])
        axes.set_yticks(ticks, [f"{tick:.2g}" for tick in ticks])

    return Chart(
        title=f"Reliability of the {name_of(model).lower()}",
        description=f"{said} → {happened.lower()}, {len(curve.counts)} bins of equal mass: {points}.",
        draw=draw,
        height=lambda width: width,
    )


def predicted_chart(model: str, predictions: Predictions, scores: dict[str, float]) -> Chart:
    """Predicted against true values of a regression, as hexagons of density."""
    truth, predicted = np.array(predictions.truth), np.array(predictions.predicted[model])

    def draw(figure: Any, _: int) -> None:
        axes = figure.subplots()
        low, high = _range(predictions)
        axes.plot([low, high], [low, high], color=MUTED, linewidth=1, linestyle=(0, (3, 3)))
        bins = axes.hexbin(
            truth, predicted, gridsize=26, mincnt=1, extent=(low, high, low, high), linewidths=0
        )
        counts = np.asarray(bins.get_array(), dtype=float)
        strength = 0.15 + 0.85 * np.log1p(counts) / np.log1p(counts.max(initial=1.0))
        bins.set_array(None)
        bins.set_facecolor([(color_of(model), round(each, 2)) for each in strength.tolist()])
        axes.set_title(f"{name_of(model)}: R² {scores['r2']:.4f}", loc="left", fontweight="bold")
        axes.set(xlim=(low, high), ylim=(low, high), xlabel="True", ylabel="Predicted")
        _plain_ticks(axes)

    return Chart(
        title=f"Predicted against true values of the {name_of(model).lower()}",
        description=f"{len(truth):,} test rows; R² {scores['r2']:.4f}, "
        f"RMSE {words.digits(scores['rmse'])}. The dashed line is where both are equal.",
        draw=draw,
        height=lambda width: width,
    )


def residual_chart(model: str, predictions: Predictions) -> Chart:
    """Median and 80 % band of what is left to explain, along the predicted value."""
    truth, predicted = np.array(predictions.truth), np.array(predictions.predicted[model])
    centre, low, middle, high = _residual_bands(truth, predicted)

    def draw(figure: Any, _: int) -> None:
        axes = figure.subplots()
        axes.axhline(0, color=MUTED, linewidth=1, linestyle=(0, (3, 3)))
        axes.vlines(centre, low, high, color=color_of(model), linewidth=4, alpha=0.35)
        axes.plot(centre, middle, color=color_of(model), linewidth=1.5, marker=marker_of(model), markersize=5)
        axes.set(xlabel="Predicted (tenths of the rows)", ylabel="True − predicted", xlim=_range(predictions))
        bound = 1.1 * max(
            float(np.abs(np.concatenate(_residual_bands(truth, np.array(each))[1:])).max())
            for each in predictions.predicted.values()
        )
        axes.set_ylim(-bound, bound)
        _plain_ticks(axes)

    told = ", ".join(
        f"{words.digits(x, 3)}: {words.digits(y, 3)}" for x, y in zip(centre, middle, strict=True)
    )
    return Chart(
        title=f"Residuals of the {name_of(model).lower()}",
        description=f"Median residual at the predicted value: {told}. Bars hold 80\u00a0% of the rows.",
        draw=draw,
        height=lambda width: int(width * 0.75),
    )


def _residual_bands(truth: Doubles, predicted: Doubles) -> tuple[Doubles, Doubles, Doubles, Doubles]:
    """Mean prediction and 10, 50, 90 percentile of the residual, in tenths of the rows by prediction."""
    parts = [part for part in np.array_split(np.argsort(predicted, kind="stable"), 10) if len(part)]
    residuals = [np.percentile(truth[part] - predicted[part], [10, 50, 90]) for part in parts]
    low, middle, high = np.array(residuals).T
    return np.array([predicted[part].mean() for part in parts]), low, middle, high


def _range(predictions: Predictions) -> tuple[float, float]:
    """One range for all models, from the true values: a wild prediction must not squeeze the rest."""
    low, high = min(predictions.truth), max(predictions.truth)
    margin = 0.05 * (high - low) or 1.0
    return low - margin, high + margin


def _plain_ticks(axes: Any) -> None:
    from matplotlib.ticker import EngFormatter, MaxNLocator

    for axis in (axes.xaxis, axes.yaxis):
        axis.set_major_locator(MaxNLocator(4))
        axis.set_major_formatter(EngFormatter(sep=""))
