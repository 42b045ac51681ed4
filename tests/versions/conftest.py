"""Artifacts of one small linear student with different figures in their Cards."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import msgspec
import pytest

from potstill.artifact import Card, GapRecovered, Measured, Volatile
from potstill.artifact.card import decode_card, encode_card
from potstill.artifact.envelope import CARD_KEY, PROBES_KEY, open_envelope, with_metadata
from potstill.types import Latency

GOLDEN = Path(__file__).parents[1] / "artifact" / "golden" / "small_v1.onnx"
Make = Callable[..., Path]


def _remade(data: bytes, change: Callable[[Card], Card], *, probes: str | None = None) -> bytes:
    """The artifact with another card, sealed anew."""
    metadata = open_envelope(data, source="golden").metadata
    card = change(decode_card(metadata[CARD_KEY], source="golden"))
    return with_metadata(data, {CARD_KEY: encode_card(card), PROBES_KEY: probes or metadata[PROBES_KEY]})


@pytest.fixture
def make(tmp_path: Path) -> Make:
    """``make(name, log_loss, recovery)`` writes an artifact beside the test's other files."""

    def write(name: str = "income", *, log_loss: float = 0.3, recovery: float | None = 0.6) -> Path:
        def change(card: Card) -> Card:
            measured = Measured(
                metrics={"student": {"log_loss": log_loss, "roc_auc": None}, "teacher": {"log_loss": 0.1}},
                gap_recovered={"log_loss": GapRecovered(recovery, 0.2, 0.9)},
            )
            volatile = Volatile(latency_us={"student": Latency(12.5, 40.0)}, size_bytes={"student": 5000})
            return msgspec.structs.replace(card, measured=measured, volatile=volatile)

        path = tmp_path / f"{name}.onnx"
        path.write_bytes(_remade(GOLDEN.read_bytes(), change))
        return path

    return write


@pytest.fixture
def remade() -> Callable[..., bytes]:
    return _remade
