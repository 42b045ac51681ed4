"""A graph, its card and its probe rows → the bytes of an artifact."""

from __future__ import annotations

import msgspec

from potstill.artifact.calibration import Affine
from potstill.artifact.card import Card, encode_card
from potstill.artifact.columns import Feeds
from potstill.artifact.envelope import CARD_KEY, PROBES_KEY, graph_hash, with_metadata
from potstill.artifact.model import Model
from potstill.artifact.probes import Probes, probe_feeds, probe_rows
from potstill.artifact.session import open_session
from potstill.types import Schema

_FIXED_POINT_ROUNDS = 8


def seal(graph: bytes, card: Card, rows: Feeds) -> bytes:
    """The artifact: the graph with its card, probe rows and hash.

    Parameters
    ----------
    graph
        A serialised ``ModelProto``; metadata it has is replaced.
    card
        ``graph_hash``, ``potstill_version`` and the size of the shipped contender are filled in here.
    rows
        Some real rows as inputs of the graph, of which a dozen are carried along as probes.

    Raises
    ------
    UserError
        When the card is too long.
    """
    probes = msgspec.json.encode(_answered(graph, card, rows), order="deterministic").decode()
    card = msgspec.structs.replace(card, graph_hash=graph_hash(graph), potstill_version=_version())
    size, previous = 0, -1
    sealed = b""
    for _ in range(_FIXED_POINT_ROUNDS):  # the card says the file's size, and is part of it
        if size == previous:
            break
        previous = size
        sized = {**card.volatile.size_bytes, card.shipped: size}
        card = msgspec.structs.replace(
            card, volatile=msgspec.structs.replace(card.volatile, size_bytes=sized)
        )
        sealed = with_metadata(graph, {CARD_KEY: encode_card(card), PROBES_KEY: probes})
        size = len(sealed)
    return sealed


def _answered(graph: bytes, card: Card, rows: Feeds) -> Probes:
    schema: Schema = card.schema
    asked = probe_feeds(rows, schema)
    answers = Model(open_session(graph), card, probes="", source="the new artifact").outputs(asked)
    match card.calibration:
        case Affine(scale=scale) if scale:
            unit = abs(scale)
        case _:
            unit = 1.0
    return Probes(probe_rows(asked, schema), answers.astype(float).tolist(), atol=1e-4 * unit)


def _version() -> str:
    from potstill import __version__

    return __version__
