"""Live traffic held against what the artifact knows of its training rows: numpy alone."""

from potstill.artifact.reference import Histogram, Reference
from potstill.monitoring.estimate import AccuracyEstimate
from potstill.monitoring.reference import make_reference
from potstill.monitoring.watch import Past, Watch, WatchReport
from potstill.monitoring.window import Drift, Thresholds, Window

__all__ = [
    "AccuracyEstimate",
    "Drift",
    "Histogram",
    "Past",
    "Reference",
    "Thresholds",
    "Watch",
    "WatchReport",
    "Window",
    "make_reference",
]
