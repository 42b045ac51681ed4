"""Live traffic watched, shadowed and passed on: numpy alone.

`Watch` holds live rows against what the artifact knows of its training rows. `Shadow` shows a part of them to
the old ensemble. `Cascade` asks it where the student is not sure.
"""

from potstill.artifact.reference import Histogram, Reference
from potstill.monitoring.cascade import Cascade, CascadeCounts
from potstill.monitoring.ensemble import Ask, HttpEnsemble
from potstill.monitoring.estimate import AccuracyEstimate
from potstill.monitoring.reference import make_reference
from potstill.monitoring.shadow import Disagreement, Shadow, ShadowReport
from potstill.monitoring.threshold import (
    CascadePoint,
    Latencies,
    cascade_curve,
    cascade_point,
    choose_threshold,
)
from potstill.monitoring.watch import Past, Watch, WatchReport
from potstill.monitoring.window import Drift, Thresholds, Window

__all__ = [
    "AccuracyEstimate",
    "Ask",
    "Cascade",
    "CascadeCounts",
    "CascadePoint",
    "Disagreement",
    "Drift",
    "Histogram",
    "HttpEnsemble",
    "Latencies",
    "Past",
    "Reference",
    "Shadow",
    "ShadowReport",
    "Thresholds",
    "Watch",
    "WatchReport",
    "Window",
    "cascade_curve",
    "cascade_point",
    "choose_threshold",
    "make_reference",
]
