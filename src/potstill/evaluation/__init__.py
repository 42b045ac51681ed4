"""Scores, calibration, recovery and cost, on rows neither teacher nor student was trained on. numpy only.

metrics.py      accuracy, log-loss, AUC, ..., operating points; R², RMSE, MAE
calibration.py  reliability curves
recovery.py     gap recovered, with its bootstrap interval
pooled.py       the same over several data sets at once
fidelity.py     where student and teacher differ
parts.py        the same scores by class and by slice
evidence.py     all of the above, gathered once
cost.py         latency, throughput, size, energy and money
memory.py       what an open artifact holds
"""

from potstill.evaluation.calibration import ReliabilityCurve, reliability_curve
from potstill.evaluation.cost import Throughput, cost_of_million, file_size, measure_batch, measure_latency
from potstill.evaluation.evidence import Disagreement, Evidence, Predictions, gather
from potstill.evaluation.fidelity import agreement, disagreements, distance
from potstill.evaluation.memory import measure_memory
from potstill.evaluation.metrics import (
    OperatingPoint,
    classification_scores,
    operating_points,
    regression_scores,
)
from potstill.evaluation.parts import ClassScores, SliceScores, per_class, slices
from potstill.evaluation.pooled import Pooled, SetLosses, SetShare, pooled_gap
from potstill.evaluation.recovery import (
    Interval,
    Recovered,
    advantages,
    bootstrap_gap,
    difference_interval,
    gap_recovered,
    gaps_recovered,
)

__all__ = [
    "ClassScores",
    "Disagreement",
    "Evidence",
    "Interval",
    "OperatingPoint",
    "Pooled",
    "Predictions",
    "Recovered",
    "ReliabilityCurve",
    "SetLosses",
    "SetShare",
    "SliceScores",
    "Throughput",
    "advantages",
    "agreement",
    "bootstrap_gap",
    "classification_scores",
    "cost_of_million",
    "difference_interval",
    "disagreements",
    "distance",
    "file_size",
    "gap_recovered",
    "gaps_recovered",
    "gather",
    "measure_batch",
    "measure_latency",
    "measure_memory",
    "operating_points",
    "per_class",
    "pooled_gap",
    "regression_scores",
    "reliability_curve",
    "slices",
]
