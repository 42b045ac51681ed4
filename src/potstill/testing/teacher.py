"""The public contract check of teachers."""

from __future__ import annotations

import inspect
from typing import Any, cast

import numpy as np

from potstill.types import Dataset, Floats, Teacher, Trainable


def check_teacher(teacher: Teacher | Trainable, dataset: Dataset, *, tolerance: float = 1e-5) -> None:
    """Assert what `potstill.types` promises of a Teacher, or of a Trainable and the Teacher it fits.

    Name and fingerprint; shape, dtype and range of the answers; answers go with their rows (permuted rows get
    permuted answers, a part of the rows the same answers as in the whole); asking twice gives the same; a
    Trainable fitted twice with one seed answers the same.

    Parameters
    ----------
    teacher
        The part to check. A Trainable is fitted twice on all of ``dataset``.
    dataset
        A few dozen rows it can answer, with labels if it is a Trainable.
    tolerance
        Largest difference between two answers that should be equal, in units of the largest answer above 1.

    Raises
    ------
    AssertionError
        Naming the promise that was broken.
    """
    _check_identity(teacher)
    if inspect.getattr_static(teacher, "fit", None) is None:
        _check_fitted(cast(Teacher, teacher), dataset, tolerance)
        return
    trainable = cast(Trainable, teacher)
    before = trainable.fingerprint
    first, second = (trainable.fit(dataset, seed=7) for _ in range(2))
    assert trainable.fingerprint == before, f"{trainable.name}: fitting changed the fingerprint of the recipe"
    _check_identity(first)
    _check_fitted(first, dataset, tolerance)
    _assert_same(
        first.predict(dataset),
        second.predict(dataset),
        tolerance,
        f"{first.name}: one seed gave two teachers",
    )


def _check_identity(teacher: Teacher | Trainable) -> None:
    assert teacher.name, f"{type(teacher).__name__} has an empty name"
    fingerprint = teacher.fingerprint
    assert len(fingerprint) >= 16, f"{teacher.name}: wanted a hex digest as fingerprint, got {fingerprint!r}"
    assert set(fingerprint) <= set("0123456789abcdef"), (
        f"{teacher.name}: fingerprint {fingerprint!r} is not hex"
    )
    assert teacher.fingerprint == fingerprint, f"{teacher.name}: the fingerprint changes by itself"


def _check_fitted(teacher: Teacher, dataset: Dataset, tolerance: float) -> None:
    assert len(dataset) >= 4, "the check needs at least four rows"
    task, name, before = dataset.task, teacher.name, teacher.fingerprint
    answers = teacher.predict(dataset)
    wanted = (len(dataset), task.n_outputs)
    assert type(answers) is np.ndarray, f"{name}: wanted a numpy array, got {type(answers).__name__}"
    assert answers.shape == wanted, f"{name}: wanted shape {wanted}, got {answers.shape}"
    assert answers.dtype == np.float32, f"{name}: wanted float32, got {answers.dtype}"
    assert np.isfinite(answers).all(), f"{name}: some answers are not finite"
    if task.is_classification:
        assert (answers >= 0).all(), f"{name}: some probabilities are negative"
        sums = np.abs(answers.sum(axis=1, dtype=np.float64) - 1.0).max()
        assert sums <= 1e-5, f"{name}: rows sum to 1 only within {sums:.2g}"
    permutation = np.random.default_rng(0).permutation(len(dataset))
    permuted = teacher.predict(dataset.take(permutation))
    _assert_same(permuted, answers[permutation], tolerance, f"{name}: answers do not go with their rows")
    half = np.arange(len(dataset) // 2)
    _assert_same(
        teacher.predict(dataset.take(half)),
        answers[half],
        tolerance,
        f"{name}: answers depend on the other rows",
    )
    one = np.asarray([len(dataset) - 1])
    _assert_same(
        teacher.predict(dataset.take(one)), answers[one], tolerance, f"{name}: one row alone differs"
    )
    _assert_same(teacher.predict(dataset), answers, tolerance, f"{name}: asked twice, it answers differently")
    assert teacher.fingerprint == before, f"{name}: answering changed the fingerprint"


def _assert_same(got: Any, wanted: Floats, tolerance: float, broken: str) -> None:
    scale = max(1.0, float(np.abs(wanted).max(initial=0.0)))
    difference = float(np.abs(np.asarray(got) - wanted).max(initial=0.0))
    assert np.shape(got) == wanted.shape, f"{broken}: wanted shape {wanted.shape}, got {np.shape(got)}"
    assert difference <= tolerance * scale, f"{broken} (by {difference:.3g})"
