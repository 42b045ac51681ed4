"""What a tuned encoder makes of each text, for all students that are drawn to it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
from joblib import Parallel, delayed

from potstill.networks.bert_folder import begun_with
from potstill.training.lesson import Lesson
from potstill.types import Progress, Student

VECTORS_SHARE = 0.1
"""Part of the search's time in which the encoder is asked at most."""


def with_vectors(
    lesson: Lesson, families: Sequence[Student], tuned: str, limit_s: float | None, progress: Progress
) -> Lesson:
    """``lesson`` with the vectors that the tuned encoder gives its texts, as far as there is time.

    They are asked for once: every student that is drawn to them would ask again.
    """
    from potstill.students.text_vectors import text_vectors

    matched = [one for one in families if getattr(one, "matching", 0.0)]
    drawn = [begun_with(getattr(one, "checkpoint", None), tuned) for one in matched]
    texts = {origin: each["pieces"] for origin, each in lesson.tensors.items() if "pieces" in each}
    if not texts or not drawn or drawn[0] is None:
        return lesson
    progress.start("asking the tuned encoder about the texts")
    pieces = np.concatenate(list(texts.values()))
    shares = [slice(at, None, lesson.workers) for at in range(lesson.workers)]
    asking_s = None if limit_s is None else VECTORS_SHARE * limit_s
    answered = Parallel(n_jobs=lesson.workers)(
        delayed(text_vectors)(drawn[0], tuned, pieces[share], lesson.spec, asking_s) for share in shares
    )
    found = np.empty((len(pieces), answered[0].shape[1]), dtype=answered[0].dtype)
    for share, some in zip(shares, answered, strict=True):
        found[share] = some
    ends = np.cumsum([len(each) for each in texts.values()])[:-1]
    vectors = dict(zip(texts, np.split(found, ends), strict=True))
    tensors = {
        origin: {**each, "vectors": vectors[origin]} if origin in vectors else each
        for origin, each in lesson.tensors.items()
    }
    return replace(lesson, tensors=tensors)
