"""The Card: an artifact's own account of itself, carried inside the file as JSON.

All that two runs with the same seed on the same machine must agree on is hashed by `content_hash`; what a
clock or a scale says, and so differs from run to run, is kept apart in one section, `Card.volatile`.
"""

from __future__ import annotations

import hashlib
from typing import Any, Literal

import msgspec

from potstill.artifact.calibration import Affine, Softmax
from potstill.artifact.reference import Reference
from potstill.artifact.wordpiece import WordPiece
from potstill.errors import ArtifactError, UserError
from potstill.types import Latency, Schema, Task

FORMAT_VERSION = 1
MAX_CARD_BYTES = 4_000_000
Contender = Literal["teacher", "best_member", "twin_raw", "twin_smoothed", "twin", "student"]


class Lineage(msgspec.Struct, frozen=True):
    """Where the model comes from.

    Parameters
    ----------
    members
        The teacher's members and their weights, non-negative, sum 1.
    student
        Family of the student, e.g. ``"gbdt"``.
    hyper_parameters
        Of the student, as JSON values.
    objective
        Name of the distillation loss.
    temperature
        At which the soft targets were taken.
    hard_weight
        Weight of the label against the soft target, in [0, 1]; 1 is the hard-label twin.
    generation
        Whose answers the soft targets are: from 1 on those of the teacher and of students of the generations
        before together; not there where they are the teacher's.
    transfer_rows
        Number of rows learned from by origin: ``real``, ``unlabeled``, ``synthetic``.
    seed
        The run's seed.
    data_hash
        Content hash of the training data, hex digits.
    versions
        Library to version.
    """

    members: dict[str, float] = {}
    student: str = ""
    hyper_parameters: dict[str, Any] = {}
    objective: str = ""
    temperature: float = 1.0
    hard_weight: float = 0.0
    generation: int | msgspec.UnsetType = msgspec.UNSET
    transfer_rows: dict[str, int] = {}
    seed: int = 0
    data_hash: str = ""
    versions: dict[str, str] = {}


class GapRecovered(msgspec.Struct, frozen=True):
    """(student − twin) / (teacher − twin) and its 95 % interval; None where there is no gap to divide by."""

    value: float | None = None
    low: float | None = None
    high: float | None = None


class Measured(msgspec.Struct, frozen=True):
    """What was measured, and on what.

    Parameters
    ----------
    rows
        Which rows the metrics were measured on, in words.
    n_rows
        How many.
    metrics
        Contender to metric to figure; None: undefined.
    gap_recovered
        Metric to the share of the gap between twin and teacher that the student recovers.
    """

    rows: str = ""
    n_rows: int = 0
    metrics: dict[str, dict[str, float | None]] = {}
    gap_recovered: dict[str, GapRecovered] = {}


class Volatile(msgspec.Struct, frozen=True):
    """What differs between two runs of the same seed; not part of `content_hash`.

    Parameters
    ----------
    created
        When the file was made, ISO 8601 in UTC.
    latency_us
        Contender to the latency of one raw row, one thread, in microseconds.
    size_bytes
        Contender to its size on disk. Here because the digits of the figures above are part of the file.
    """

    created: str = ""
    latency_us: dict[str, Latency] = {}
    size_bytes: dict[str, int] = {}


class Card(msgspec.Struct, frozen=True):
    """An artifact's account of itself.

    Parameters
    ----------
    name
        What the model is called.
    task, schema
        What is predicted, from which columns.
    calibration
        The last step of the graph.
    lineage, measured, volatile
        Where it comes from, what was measured, and what differs from run to run.
    shipped
        Which contender the graph is: the ``student``, or the ``twin`` where that won.
    reference
        What the rows it learned from looked like, in counts; not there in files of earlier versions, whose
        bytes and hash stay what they were.
    tokenizer
        Where the graph takes ids of word pieces, of the texts of all columns together: what makes them.
    graph_hash
        SHA-256, hex digits, of the file without its metadata; `seal` fills it in.
    potstill_version
        The version that wrote the file.
    format_version
        Of the artifact; a reader refuses newer ones. Unknown fields of the same version are ignored.
    """

    name: str
    task: Task
    schema: Schema
    calibration: Softmax | Affine
    lineage: Lineage = Lineage()
    measured: Measured = Measured()
    volatile: Volatile = Volatile()
    shipped: Literal["student", "twin"] = "student"
    reference: Reference | msgspec.UnsetType = msgspec.UNSET
    tokenizer: WordPiece | msgspec.UnsetType = msgspec.UNSET
    graph_hash: str = ""
    potstill_version: str = ""
    format_version: int = FORMAT_VERSION

    @property
    def content_hash(self) -> str:
        """SHA-256, hex digits, of everything but `volatile`; by `graph_hash` it covers the graph as well."""
        steady = msgspec.json.encode(msgspec.structs.replace(self, volatile=Volatile()))
        # there and back: a whole number given where a float belongs must hash as the float read from a file
        canonical = msgspec.json.encode(msgspec.json.decode(steady, type=Card), order="deterministic")
        return hashlib.sha256(canonical).hexdigest()


def encode_card(card: Card) -> str:
    """The card as JSON, keys sorted.

    Raises
    ------
    UserError
        When it is longer than `MAX_CARD_BYTES`.
    """
    encoded = msgspec.json.encode(card, order="deterministic")
    if len(encoded) > MAX_CARD_BYTES:
        raise UserError(
            f"The card of {card.name!r} is {len(encoded):,} bytes; at most {MAX_CARD_BYTES:,} are written.",
            hint="Its schema is the usual reason: drop categorical columns with very many levels.",
        )
    return encoded.decode()


def decode_card(text: str, *, source: str) -> Card:
    """The card out of its JSON.

    Raises
    ------
    ArtifactError
        When it is too long, of a newer format, or not a card.
    """
    if len(text) > MAX_CARD_BYTES:
        raise ArtifactError(f"The card in {source} is longer than {MAX_CARD_BYTES:,} bytes.")
    try:
        version = msgspec.json.decode(text, type=_Versioned).format_version
        if version <= FORMAT_VERSION:
            return msgspec.json.decode(text, type=Card)
    except msgspec.MsgspecError as error:
        raise ArtifactError(f"The card in {source} cannot be read: {error}.") from None
    raise ArtifactError(
        f"{source} has artifact format {version}; this potstill reads formats up to {FORMAT_VERSION}.",
        hint="Upgrade: pip install --upgrade potstill.",
    )


class _Versioned(msgspec.Struct):
    format_version: int = FORMAT_VERSION
