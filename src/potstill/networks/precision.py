"""Whether networks train in bfloat16: twice as fast where the processor has it, slower where not."""

from __future__ import annotations

import contextlib

import torch


def training_precision(device: str = "cpu") -> contextlib.AbstractContextManager[object]:
    """Inside, convolutions and products of matrices are computed in bfloat16 if the processor can."""
    supported = getattr(torch.cpu, "_is_avx512_bf16_supported", None)  # younger than the oldest torch we take
    if device == "cpu" and supported is not None and supported():
        return torch.autocast("cpu", dtype=torch.bfloat16)
    return contextlib.nullcontext()
