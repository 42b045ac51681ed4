"""The transfer set: rows, and what the teachers say of them."""

from __future__ import annotations

from potstill.transfer.collect import Collected, collect
from potstill.transfer.combine import Evidence, best_member, select_weights, soften
from potstill.transfer.member import MemberCost
from potstill.transfer.store import Store
from potstill.transfer.stream import CollectedFile, collect_file

__all__ = [
    "Collected",
    "CollectedFile",
    "Evidence",
    "MemberCost",
    "Store",
    "best_member",
    "collect",
    "collect_file",
    "select_weights",
    "soften",
]
