"""Encoder + student + calibration → one ONNX file that answers as they do."""

from potstill.export.calibrate import Told, fit_temperature
from potstill.export.compose import carried_tokenizer, compose
from potstill.export.inputs import graph_inputs, input_batches
from potstill.export.parity import ParityReport, check_parity
from potstill.export.write import artifact_bytes, write_artifact

__all__ = [
    "ParityReport",
    "Told",
    "artifact_bytes",
    "carried_tokenizer",
    "check_parity",
    "compose",
    "fit_temperature",
    "graph_inputs",
    "input_batches",
    "write_artifact",
]
