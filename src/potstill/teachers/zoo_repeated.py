"""Members of the default ensemble fitted a few times on nearly all rows, where time is short."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import msgspec
import numpy as np

from potstill.teachers.digests import digest
from potstill.teachers.zoo_member import Bagged
from potstill.types import Dataset, Floats, Ints, OutOfFoldTeacher, StoppingTrainable, Teacher

PARTS = 10
"""Equal parts of the rows: each model stops early on one of its own and learns from the others."""


class Repeated(msgspec.Struct, frozen=True):
    """Fits of one member that differ in their seed and in the tenth of the rows that each is kept off.

    With a model for each of k folds, every model has a k-th of the member's time. Where that is too little to
    learn what there is, fewer models learn longer, and from more rows. What they give up is that only the
    rows of ``copies`` tenths are answered out of fold.

    Parameters
    ----------
    member
        What is fitted, with the size that each of the models is to have.
    copies
        Models, at most `PARTS`.
    """

    member: StoppingTrainable
    copies: int

    @property
    def name(self) -> str:
        return self.member.name

    @property
    def fingerprint(self) -> str:
        return digest(type(self).__name__, self.member.fingerprint, str(self.copies))

    def fit(self, dataset: Dataset, *, seed: int) -> Teacher:
        """Fit one model."""
        return self.member.fit(dataset, seed=seed)

    def fit_whole(self, dataset: Dataset, *, seed: int) -> OutOfFoldTeacher:
        """Fit the models; out of fold a row is answered by the one that was kept off it, if there is one."""
        parts = parts_of(dataset)
        own = np.full((len(dataset), dataset.task.n_outputs), np.nan, dtype=np.float32)
        teachers = []
        for copy in range(self.copies):
            held = dataset.take(np.flatnonzero(parts == copy))
            kept = dataset.take(np.flatnonzero(parts != copy))
            teacher = self.member.fit_until(kept, held, seed=int(digest(str(seed), str(copy))[:7], 16))
            own[parts == copy] = teacher.predict(held)
            teachers.append(teacher)
        return Bagged.of(MeanTeacher(self.name, tuple(teachers)), dataset, own)


@dataclass(frozen=True, eq=False)
class MeanTeacher:
    """The mean of some models."""

    name: str
    teachers: Sequence[Teacher]

    @property
    def fingerprint(self) -> str:
        return digest(*(teacher.fingerprint for teacher in self.teachers))

    def predict(self, dataset: Dataset) -> Floats:
        """Mean probabilities ``(n, K)``, or values ``(n, 1)``."""
        total: Floats = sum(teacher.predict(dataset) for teacher in self.teachers)  # type: ignore[assignment]
        return total / np.float32(len(self.teachers))


def parts_of(dataset: Dataset) -> Ints:
    """``(n,)`` which of the `PARTS` a row is in, the same for all members; every class is in all alike."""
    assert dataset.ids is not None
    order = np.random.default_rng(0x9A7).permutation(np.argsort(dataset.ids, kind="stable"))
    if dataset.task.is_classification:
        assert dataset.labels is not None
        order = order[np.argsort(dataset.labels[order], kind="stable")]
    parts = np.empty(len(dataset), dtype=np.int64)
    parts[order] = np.arange(len(dataset)) % PARTS
    return parts
