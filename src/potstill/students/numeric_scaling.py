"""Numbers made fit for a network: no missing values, no infinities, no long tails."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from potstill.graph import GraphBuilder
from potstill.types import Bools, Floats, Ints

SKEWED = 3.0
"""A column counts as skewed when its upper tail is this many times as long as its lower one."""

LOG_REACH = 10.0
"""Values down to a tenth of the typical one are on a logarithmic scale, smaller ones on a linear one."""

BEND = 3.0
"""Scaled values much smaller than this stay as they are; larger ones approach it."""


@dataclass(frozen=True)
class NumericScaling:
    """Right-skewed columns to logarithms, then median to 0, interquartile range to 1, tails bent towards ±3.

    A missing value becomes the median; so that it can be told from one, columns with missing values in
    training have an indicator. Infinities become the smallest or largest finite value seen in training.

    Parameters
    ----------
    low, high
        ``(F,)`` smallest and largest finite value of each column in training.
    is_skewed, steepness
        ``(F,)`` where True, ``x`` becomes ``log(1 + steepness (x − low))``. Products and ratios of such
        columns are then sums and differences.
    stand_in
        ``(F,)`` raw median, which a missing value becomes.
    median, scale
        ``(F,)`` of the values so far; ``scale`` is 0 for a constant column.
    indicated
        ``(M,)`` columns that have a missing-value indicator.
    detailed
        ``(E,)`` columns of more than two values in training: a number with two says all there is to say.

    References
    ----------
    Holzmüller, Grinsztajn, Steinwart (2024), Better by Default (robust scaling and smooth clipping).
    """

    low: Floats
    high: Floats
    is_skewed: Bools
    steepness: Floats
    stand_in: Floats
    median: Floats
    scale: Floats
    indicated: Ints
    detailed: Ints

    @property
    def width(self) -> int:
        """Columns of the result: ``F + M``."""
        return len(self.median) + len(self.indicated)

    def encode(self, numeric: Floats) -> tuple[Floats, Floats]:
        """Scaled values ``(n, F)`` and indicators ``(n, M)`` of raw values ``(n, F)``, all float32."""
        missing = np.isnan(numeric)
        present = np.where(missing, self.stand_in, numeric)
        within = np.minimum(np.maximum(present, self.low), self.high)
        if self.is_skewed.any():
            logs = np.log((within - self.low) * self.steepness + np.float32(1))
            within = np.where(self.is_skewed, logs, within)
        scaled = (within - self.median) * self.scale
        bent = scaled / np.sqrt(scaled * scaled * np.float32(BEND**-2) + np.float32(1))
        return bent, missing[:, self.indicated].astype(np.float32)

    def build(self, graph: GraphBuilder, numeric: str) -> tuple[str, str | None]:
        """Add the nodes of `encode`; return the names of both results, None for no indicators."""
        missing = graph.node("IsNaN", numeric)
        present = graph.node("Where", missing, graph.constant(self.stand_in), numeric)
        above = graph.node("Max", present, graph.constant(self.low))
        within = graph.node("Min", above, graph.constant(self.high))
        if self.is_skewed.any():
            raised = graph.node("Sub", within, graph.constant(self.low))
            stretched = graph.node("Mul", raised, graph.constant(self.steepness))
            logs = graph.node(
                "Log", graph.node("Add", stretched, graph.constant(np.ones(1, dtype=np.float32)))
            )
            within = graph.node("Where", graph.constant(self.is_skewed), logs, within)
        centred = graph.node("Sub", within, graph.constant(self.median))
        scaled = graph.node("Mul", centred, graph.constant(self.scale))
        square = graph.node("Mul", scaled, scaled)
        shrunk = graph.node("Mul", square, graph.constant(np.array([BEND**-2], dtype=np.float32)))
        norm = graph.node("Sqrt", graph.node("Add", shrunk, graph.constant(np.ones(1, dtype=np.float32))))
        bent = graph.node("Div", scaled, norm)
        if not len(self.indicated):
            return bent, None
        picked = graph.node("Gather", missing, graph.constant(self.indicated), axis=1)
        return bent, graph.node("Cast", picked, to=1)


def fit_numeric_scaling(numeric: Floats) -> NumericScaling:
    """Learn the scaling of ``(n, F)`` raw training values; NaN is missing, infinities are allowed."""
    columns = [_fit_column(numeric[:, column]) for column in range(numeric.shape[1])]
    low, high, steepness, stand_in, median, scale = (
        np.array(columns, dtype=np.float32).reshape(-1, 6).T.copy()
    )
    return NumericScaling(
        low=low,
        high=high,
        is_skewed=steepness > 0,
        steepness=steepness,
        stand_in=stand_in,
        median=median,
        scale=scale,
        indicated=np.flatnonzero(np.isnan(numeric).any(axis=0)),
        detailed=np.flatnonzero([_has_detail(column) for column in numeric.T]),
    )


def _has_detail(values: Floats) -> bool:
    present = values[~np.isnan(values)]
    between = (present != present.min(initial=np.inf)) & (present != present.max(initial=-np.inf))
    return bool(between.any())


def _fit_column(values: Floats) -> tuple[float, float, float, float, float, float]:
    """Low, high, steepness, stand-in, median and scale; a steepness of 0 for no logarithm."""
    finite = values[np.isfinite(values)].astype(np.float64)
    if not len(finite) or finite.min() == finite.max():
        constant = finite[0] if len(finite) else 0.0
        return constant, constant, 0.0, constant, constant, 0.0
    low, lower_tail, stand_in, upper_tail, high = np.quantile(finite, [0, 0.01, 0.5, 0.99, 1])
    steepness = 0.0
    if upper_tail - stand_in > SKEWED * (stand_in - lower_tail):
        steepness = LOG_REACH / float(np.median(finite[finite > low] - low))
        finite = np.log(steepness * (finite - low) + 1)
    smallest, lower, median, upper, largest = np.quantile(finite, [0, 0.25, 0.5, 0.75, 1])
    # Where most values are one and the same, half the range serves.
    spread = upper - lower if upper > lower else (largest - smallest) / 2
    return low, high, steepness, stand_in, median, 1 / spread
