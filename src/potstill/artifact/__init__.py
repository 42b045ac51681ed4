"""The artifact: one ONNX file with its Card inside. To load and ask it takes numpy and ONNX Runtime."""

from potstill.artifact.calibration import Affine, Calibration, Softmax
from potstill.artifact.card import Card, GapRecovered, Lineage, Measured, Volatile
from potstill.artifact.columns import feeds
from potstill.artifact.model import Model, Verification, load
from potstill.artifact.reference import Reference
from potstill.artifact.verify import inspect, verify_file

__all__ = [
    "Affine",
    "Calibration",
    "Card",
    "GapRecovered",
    "Lineage",
    "Measured",
    "Model",
    "Reference",
    "Softmax",
    "Verification",
    "Volatile",
    "feeds",
    "inspect",
    "load",
    "verify_file",
]
