"""What the Card of a file will say, before it is known: a budget in bytes must hold for the whole file."""

from __future__ import annotations

import platform
from collections.abc import Iterable, Sequence
from datetime import UTC, datetime
from importlib.metadata import version
from typing import get_args

import msgspec
import numpy as np

from potstill.artifact import Card, GapRecovered, Lineage, Measured, Volatile
from potstill.artifact.card import Contender
from potstill.evaluation.metrics import classification_scores, regression_scores
from potstill.types import Latency, Student

ROWS_MEASURED = "test rows that neither teacher nor student learned from or was chosen by"

_VERSIONED = ("numpy", "torch", "lightgbm", "onnx", "onnxruntime", "scikit-learn", "xgboost", "catboost")
_FIGURE = -0.12345678901234567
_MANY = 1_234_567


def library_versions() -> dict[str, str]:
    """Libraries to the versions that are at work."""
    return {"python": platform.python_version()} | {name: version(name) for name in _VERSIONED}


def foreseen(card: Card, members: Iterable[str], families: Sequence[Student], *, measured: bool) -> Card:
    """``card`` with an account as long as that of the finished file, of figures that stand in for others.

    Parameters
    ----------
    card
        Of a candidate: its name, task and schema.
    members
        Names of the teacher's members.
    families
        The students that may ship: the account lists the settings of one.
    measured
        Whether there are test rows to measure on.
    """
    settings = [msgspec.to_builtins(family) for family in families]
    account = msgspec.structs.replace(
        card,
        lineage=Lineage(
            members=dict.fromkeys(members, 0.123456),
            student=max((family.name for family in families), key=len, default=""),
            hyper_parameters=max(settings, key=lambda each: len(msgspec.json.encode(each)), default={}),
            objective="kd",
            hard_weight=0.5,
            generation=1,
            transfer_rows=dict.fromkeys(("real", "held_out", "unlabeled", "synthetic"), _MANY),
            data_hash="0" * 64,
            versions=library_versions(),
        ),
        volatile=Volatile(created=datetime.now(UTC).isoformat(timespec="seconds")),
    )
    return _measured(account) if measured else account


def _measured(card: Card) -> Card:
    if card.task.is_classification:
        probs = np.eye(card.task.n_outputs)
        metrics, gaps = list(classification_scores(probs, np.arange(len(probs)))), ("log_loss", "accuracy")
    else:
        metrics, gaps = list(regression_scores(np.arange(2.0), np.arange(2.0))), ("rmse", "r2")
    contenders = get_args(Contender)
    gap = GapRecovered(value=_FIGURE, low=_FIGURE, high=_FIGURE)
    figures: dict[str, dict[str, float | None]] = {}
    for contender in contenders:
        figures[contender] = dict.fromkeys(metrics, _FIGURE)
    return msgspec.structs.replace(
        card,
        measured=Measured(
            rows=ROWS_MEASURED, n_rows=_MANY, metrics=figures, gap_recovered=dict.fromkeys(gaps, gap)
        ),
        volatile=msgspec.structs.replace(
            card.volatile,
            latency_us=dict.fromkeys(contenders, Latency(_FIGURE, _FIGURE)),
            size_bytes=dict.fromkeys(contenders, _MANY),
        ),
    )
