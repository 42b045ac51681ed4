"""Distillation losses: one a file, pure, unreduced, on torch tensors.

To add one, write its Struct in a file of its own and a line in `OBJECTIVES`.
"""

from __future__ import annotations

from potstill.objectives.blend import blended
from potstill.objectives.dist import DIST
from potstill.objectives.dkd import DKD
from potstill.objectives.jsd import JSD
from potstill.objectives.kd import KD
from potstill.objectives.logit_mse import LogitMSE
from potstill.objectives.mse import MSE
from potstill.types import Objective

OBJECTIVES: dict[str, type[Objective]] = {
    "kd": KD,
    "logit_mse": LogitMSE,
    "jsd": JSD,
    "dkd": DKD,
    "dist": DIST,
    "mse": MSE,
}
"""Objectives by name. `MSE` is for regression, all others for classification."""

__all__ = ["DIST", "DKD", "JSD", "KD", "MSE", "OBJECTIVES", "LogitMSE", "blended"]
