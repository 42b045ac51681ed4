"""How a graph is opened, here and in every measurement."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import onnxruntime as ort


def open_session(data: bytes) -> ort.InferenceSession:
    """An ONNX Runtime session of one thread with all graph optimisations, as every measurement uses it."""
    # Newer builds carry telemetry that is on by default; running a model is nobody else's business.
    os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")
    import onnxruntime as ort  # a fifth of a second, which those who only read a card need not spend

    options = ort.SessionOptions()
    options.intra_op_num_threads = 1
    options.inter_op_num_threads = 1
    options.execution_mode = ort.ExecutionMode.ORT_SEQUENTIAL
    options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_ENABLE_ALL
    options.log_severity_level = 3
    return ort.InferenceSession(data, options, providers=["CPUExecutionProvider"])
