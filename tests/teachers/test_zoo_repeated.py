"""Members fitted a few times on nearly all rows: who answers what, and when they are planned."""

from __future__ import annotations

from dataclasses import replace

import narwhals as nw
import numpy as np
import pandas as pd
import pytest

from potstill.teachers.zoo import default_members
from potstill.teachers.zoo_boosted import LightGBMMember
from potstill.teachers.zoo_forest import ForestMember
from potstill.teachers.zoo_network import NetworkMember
from potstill.teachers.zoo_repeated import PARTS, Repeated, parts_of
from potstill.types import BaggedTrainable, Column, Dataset, FeatureSpec, OutOfFoldTeacher, Schema, Task

N = 600


@pytest.fixture(scope="module")
def noise() -> Dataset:
    """Labels that follow from nothing: only a row that was learnt from can be answered."""
    rng = np.random.default_rng(0)
    frame = pd.DataFrame(rng.normal(size=(N, 4)), columns=list("abcd"))
    schema = Schema(tuple(Column(name, "numeric") for name in "abcd"))
    task = Task("multiclass", "y", tuple("xyz"))
    ids = rng.permutation(10 * N)[:N]
    return Dataset(nw.from_native(frame), task, schema, rng.integers(0, 3, N), ids=ids)


MEMOIRS = Repeated(ForestMember(name="memoirs", extra=True, trees=20, leaf_rows=(1,)), copies=2)


def accuracy(answers: np.ndarray, labels: np.ndarray) -> float:
    return float(np.mean(answers.argmax(axis=1) == labels))


def test_out_of_fold_a_row_is_answered_by_a_model_that_was_kept_off_it(noise: Dataset) -> None:
    assert isinstance(MEMOIRS, BaggedTrainable)
    teacher = MEMOIRS.fit_whole(noise, seed=3)
    assert isinstance(teacher, OutOfFoldTeacher)
    own, labels = teacher.predict_out_of_fold(noise), np.asarray(noise.labels)
    known = ~np.isnan(own[:, 0])
    assert np.isnan(own[~known]).all()
    np.testing.assert_array_equal(known, parts_of(noise) < 2)
    assert accuracy(own[known], labels[known]) < 0.5
    # All together have seen every row, each of these in one of two models.
    assert accuracy(teacher.predict(noise)[~known], labels[~known]) > 0.95
    # Asked in another order the rows are known by their ids.
    turned = np.arange(N)[::-1]
    np.testing.assert_array_equal(teacher.predict_out_of_fold(noise.take(turned)), own[turned])


def test_the_answer_is_the_mean_of_different_models(noise: Dataset) -> None:
    teacher = MEMOIRS.fit_whole(noise, seed=3)
    first, second = (model.predict(noise) for model in teacher.teacher.teachers)
    assert not np.allclose(first, second)
    np.testing.assert_allclose(teacher.predict(noise), (first + second) / 2, rtol=1e-6)
    again = MEMOIRS.fit_whole(noise, seed=3)
    np.testing.assert_array_equal(again.predict(noise), teacher.predict(noise))
    assert again.fingerprint == teacher.fingerprint
    assert MEMOIRS.fit_whole(noise, seed=4).fingerprint != teacher.fingerprint
    assert Repeated(MEMOIRS.member, 3).fingerprint != MEMOIRS.fingerprint != MEMOIRS.member.fingerprint


def test_parts_are_alike_and_the_same_for_all_members(noise: Dataset) -> None:
    parts = parts_of(noise)
    counts = np.array(
        [np.bincount(np.asarray(noise.labels)[parts == part], minlength=3) for part in range(PARTS)]
    )
    assert np.ptp(counts, axis=0).max() <= 1
    values = replace(noise, task=Task("regression", "y"), labels=np.random.default_rng(1).normal(size=N))
    assert np.bincount(parts_of(values)).tolist() == [N // PARTS] * PARTS


SPEC = FeatureSpec(numeric=tuple("abcdefgh"))


def planned(**changes: object) -> dict[str, object]:
    wanted = {"n_rows": 20_000, "time_s": 60.0, "folds": 5, "threads": 1, **changes}
    task = Task("multiclass", "y", tuple("klmno"))
    return {member.name: member for member in default_members(task, spec=SPEC, **wanted)}  # type: ignore[arg-type]


def test_networks_are_fitted_a_few_times_where_fits_a_fold_would_be_short() -> None:
    wide = planned()["network-wide"]
    assert isinstance(wide, Repeated)
    assert 2 <= wide.copies <= 4
    alone = planned(independent=False)["network-wide"]
    assert isinstance(alone, NetworkMember)
    assert isinstance(wide.member, NetworkMember)
    assert wide.member.epochs > 1.5 * alone.epochs
    assert isinstance(planned(time_s=5_000.0)["network-wide"], NetworkMember)
    assert isinstance(planned(n_rows=2_000)["network-wide"], NetworkMember)
    assert isinstance(planned(folds=2)["network-wide"], NetworkMember)


def test_trees_are_fitted_fold_by_fold_unless_they_would_be_very_few() -> None:
    assert isinstance(planned(time_s=200.0)["lightgbm"], LightGBMMember)
    many = Task("multiclass", "y", tuple("abcdefghijklmnopqr"))
    members = default_members(many, n_rows=100_000, spec=SPEC, time_s=20.0, folds=5, threads=1)
    assert not any(isinstance(member, LightGBMMember) for member in members)
    assert all(isinstance(member, Repeated | ForestMember) for member in members)
