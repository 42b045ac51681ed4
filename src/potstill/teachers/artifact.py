"""Artifacts of Potstill: the student of one run is the teacher of a smaller one."""

from __future__ import annotations

from dataclasses import dataclass

import narwhals as nw
import numpy as np

from potstill.artifact import Model
from potstill.teachers.answers import checked, speaking_for
from potstill.teachers.digests import digest
from potstill.types import Dataset, Floats

ROWS_AT_ONCE = 4_096


@dataclass(frozen=True, eq=False)
class ArtifactTeacher:
    """An opened artifact, asked with raw rows; columns that it does not know are left aside.

    Parameters
    ----------
    name, fingerprint
        See `potstill.types.Teacher`.
    model
        What `potstill.load` gives.
    """

    name: str
    fingerprint: str
    model: Model

    def predict(self, dataset: Dataset) -> Floats:
        """Probabilities ``(n, K)`` in the order of the task's classes, or values ``(n, 1)``."""
        known = self.model.task
        ask = self.model.predict_proba if known.is_classification else self.model.predict
        found = [np.empty((0, known.n_outputs))]
        with speaking_for(self.name, "answer the rows"):
            for start in range(0, len(dataset), ROWS_AT_ONCE):
                some = dataset.rows[start : start + ROWS_AT_ONCE, :]
                found.append(np.reshape(ask(nw.to_native(some)), (len(some), -1)))
        labels = known.classes if known.is_classification else None
        values = np.concatenate(found)
        return checked(values, task=dataset.task, n_rows=len(dataset), teacher=self.name, labels=labels)


def artifact_teacher(model: Model, name: str | None = None) -> ArtifactTeacher:
    """The teacher that answers as ``model`` does, called as its Card says where no name is given."""
    return ArtifactTeacher(name or model.card.name, digest("artifact", model.card.content_hash), model)
