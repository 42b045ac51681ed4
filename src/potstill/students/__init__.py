"""Families of small models: one a file.

To add one, write its Struct in a file of its own and a line in `STUDENTS`.
"""

from __future__ import annotations

from potstill.students.additive import Additive
from potstill.students.depthwise import DepthwiseCNN
from potstill.students.gbdt import GBDT
from potstill.students.mlp import MLP
from potstill.students.ngram import NGram
from potstill.students.residual import ResidualCNN
from potstill.students.static import Static
from potstill.students.tabm import TabM
from potstill.students.transformer import Transformer
from potstill.types import Student

STUDENTS: dict[str, type[Student]] = {
    "gbdt": GBDT,
    "additive": Additive,
    "mlp": MLP,
    "tabm": TabM,
    "residual": ResidualCNN,
    "depthwise": DepthwiseCNN,
    "static": Static,
    "ngram": NGram,
    "transformer": Transformer,
}
"""Families by name."""

__all__ = [
    "GBDT",
    "MLP",
    "STUDENTS",
    "Additive",
    "DepthwiseCNN",
    "NGram",
    "ResidualCNN",
    "Static",
    "TabM",
    "Transformer",
]
