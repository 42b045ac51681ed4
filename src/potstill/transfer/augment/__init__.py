"""Synthetic rows out of real ones: one augmenter a file, listed here."""

from __future__ import annotations

from potstill.transfer.augment.conditional import Conditional
from potstill.transfer.augment.mixup import Mixup
from potstill.transfer.augment.neighbours import Neighbours
from potstill.transfer.augment.none import NoRows
from potstill.transfer.augment.views import Views
from potstill.transfer.augment.words import WordSwaps
from potstill.types import Augmenter

AUGMENTERS: dict[str, type[Augmenter]] = {
    "conditional": Conditional,
    "mixup": Mixup,
    "neighbours": Neighbours,
    "none": NoRows,
    "views": Views,
    "words": WordSwaps,
}

__all__ = ["AUGMENTERS", "Conditional", "Mixup", "Neighbours", "NoRows", "Views", "WordSwaps"]
