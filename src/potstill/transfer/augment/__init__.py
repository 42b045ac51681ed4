"""Synthetic rows out of real ones: one augmenter a file, listed here."""

from __future__ import annotations

from potstill.transfer.augment.neighbours import Neighbours
from potstill.transfer.augment.none import NoRows
from potstill.types import Augmenter

AUGMENTERS: dict[str, type[Augmenter]] = {"neighbours": Neighbours, "none": NoRows}

__all__ = ["AUGMENTERS", "Neighbours", "NoRows"]
