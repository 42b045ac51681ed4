"""What the training rows looked like, in counts: what live rows are later held against.

The Card carries it, so it must hold nothing of a single row: edges between bins and counts. An edge lies
between two neighbouring values; the levels of a category are those the schema names anyway.
"""

from __future__ import annotations

import msgspec


class Histogram(msgspec.Struct, frozen=True, omit_defaults=True):
    """How many rows had which value of one column, or which answer.

    Parameters
    ----------
    counts
        ``(B,)`` rows of each bin. Of numbers: the first bin ends with ``edges[0]``. Of categories: the levels
        in the order of the schema (of labels: the classes in that of the task); where there are more levels
        than bins the last holds all further ones.
    edges
        ``(B - 1,)`` rising; an edge belongs to the bin below it. Empty for categories.
    n_missing, n_unseen
        Rows without a value, and rows whose category is none of the schema's levels; in no bin.
    """

    counts: tuple[int, ...]
    edges: tuple[float, ...] = ()
    n_missing: int = 0
    n_unseen: int = 0


class Confidence(msgspec.Struct, frozen=True):
    """How often the most probable class was right, by how probable the model called it.

    Parameters
    ----------
    edges
        ``(B - 1,)`` of the most probable class's probability, rising.
    counts, right
        ``(B,)`` rows of each bin, and those of them where the class was the label.
    said
        ``(B,)`` mean probability of each bin; 0 where it is empty.
    """

    edges: tuple[float, ...]
    counts: tuple[int, ...]
    right: tuple[int, ...]
    said: tuple[float, ...]


class Reference(msgspec.Struct, frozen=True, omit_defaults=True):
    """What live rows and answers are held against.

    Parameters
    ----------
    columns
        Column name to its values in the rows learned from; ``n_rows`` of them.
    answers
        What the model answers to rows it has not learned from: ``label`` (classes by their count, and
        ``probability`` of the second class where there are two, ``confidence`` where there are more), or
        ``value``; ``n_answers`` of them.
    confidence
        How often it was right; None for regression and where no labels were known.
    """

    n_rows: int = 0
    columns: dict[str, Histogram] = {}
    n_answers: int = 0
    answers: dict[str, Histogram] = {}
    confidence: Confidence | None = None
