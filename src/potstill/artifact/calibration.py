"""The last step of a model: logits to probabilities, or standardised values to the target's unit."""

from __future__ import annotations

import msgspec
import numpy as np

from potstill.types import Floats


class Softmax(msgspec.Struct, frozen=True, tag_field="kind", tag="softmax"):
    """Probabilities ``softmax(logits / temperature)``.

    Parameters
    ----------
    temperature
        Above 1 softens, below 1 sharpens; 1 leaves the logits alone.
    """

    temperature: float = 1.0

    def apply(self, logits: Floats) -> Floats:
        """``(n, K)`` float32 probabilities of ``(n, K)`` logits."""
        scaled = logits / np.float32(self.temperature)
        exponentials = np.exp(scaled - scaled.max(axis=1, keepdims=True))
        return np.asarray(exponentials / exponentials.sum(axis=1, keepdims=True), dtype=np.float32)


class Affine(msgspec.Struct, frozen=True, tag_field="kind", tag="affine"):
    """Values ``logits * scale + shift``: undoes the standardisation of a regression target.

    Parameters
    ----------
    scale, shift
        In the target's own unit.
    """

    scale: float = 1.0
    shift: float = 0.0

    def apply(self, logits: Floats) -> Floats:
        """``(n, 1)`` float32 values of ``(n, 1)`` standardised values."""
        return np.asarray(logits * np.float32(self.scale) + np.float32(self.shift), dtype=np.float32)


Calibration = Softmax | Affine
