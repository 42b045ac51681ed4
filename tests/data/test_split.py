"""Splits without leaks, and folds."""

from __future__ import annotations

from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from potstill.data import fold_ids, load_dataset, read_rows, split
from potstill.errors import UserError
from potstill.types import Column, Dataset, Schema, Task


def dataset_of(labels: Any, groups: Any = None, *, classes: tuple[Any, ...] | None = None) -> Dataset:
    labels = np.asarray(labels)
    classes = classes if classes is not None else tuple(range(int(labels.max()) + 1))
    task = Task(kind="multiclass", target="y", classes=classes) if classes else Task("regression", "y")
    return Dataset(
        rows=read_rows(pa.table({"a": np.arange(len(labels))})),
        task=task,
        schema=Schema((Column("a", "numeric"),)),
        labels=labels,
        groups=None if groups is None else np.asarray(groups),
    )


def check_partition(parts: Any, n_rows: int) -> None:
    assert sorted([*parts.train, *parts.valid, *parts.test]) == list(range(n_rows))
    for part in (parts.train, parts.valid, parts.test):
        assert part.dtype == np.int64
        assert (np.diff(part) > 0).all()


@settings(deadline=None, max_examples=60)
@given(
    counts=st.lists(st.integers(1, 40), min_size=2, max_size=6).filter(lambda counts: sum(counts) >= 12),
    test=st.sampled_from([0.0, 0.1, 0.2, 0.4]),
    valid=st.sampled_from([0.0, 0.2, 0.3]),
    seed=st.integers(0, 1000),
)
def test_random_splits_are_partitions_with_every_class_in_train(
    counts: list[int], test: float, valid: float, seed: int
) -> None:
    labels = np.random.default_rng(seed).permutation(np.repeat(np.arange(len(counts)), counts))
    parts = split(dataset_of(labels), test_fraction=test, valid_fraction=valid, seed=seed)
    check_partition(parts, len(labels))
    assert set(labels[parts.train]) == set(labels)
    assert len(parts.test) == (max(round(test * len(labels)), 1) if test else 0)
    assert len(parts.valid) == (max(round(valid * len(labels)), 1) if valid else 0)


def test_classes_are_spread_evenly_and_the_seed_decides() -> None:
    labels = np.random.default_rng(0).permutation(np.repeat([0, 1, 2], [700, 250, 50]))
    dataset = dataset_of(labels)
    parts = split(dataset, test_fraction=0.2, valid_fraction=0.2, seed=0)
    for part, share in ((parts.train, 0.6), (parts.valid, 0.2), (parts.test, 0.2)):
        assert np.abs(np.bincount(labels[part]) - share * np.array([700, 250, 50])).max() <= 1.5
    again = split(dataset, test_fraction=0.2, valid_fraction=0.2, seed=0)
    other = split(dataset, test_fraction=0.2, valid_fraction=0.2, seed=1)
    assert (parts.test == again.test).all()
    assert len(set(parts.test) & set(other.test)) < 100


def test_every_row_can_come_into_every_part() -> None:
    dataset = dataset_of(np.repeat([0, 1], [20, 10]))
    chosen = [split(dataset, test_fraction=0.2, valid_fraction=0.2, seed=seed).test for seed in range(200)]
    times = np.bincount(np.concatenate(chosen), minlength=30)
    assert times.min() > 15
    assert times.max() < 75


def test_numbers_are_spread_evenly() -> None:
    values = np.random.default_rng(0).lognormal(size=1000)
    parts = split(dataset_of(values, classes=()), test_fraction=0.2, valid_fraction=0.2, seed=0)
    high = values > np.quantile(values, 0.9)
    assert [int(high[part].sum()) for part in (parts.train, parts.valid, parts.test)] == [60, 20, 20]


@settings(deadline=None, max_examples=30)
@given(seed=st.integers(0, 1000), n_groups=st.integers(6, 40))
def test_groups_are_never_split(seed: int, n_groups: int) -> None:
    rng = np.random.default_rng(seed)
    groups = np.concatenate([np.arange(n_groups), rng.integers(0, n_groups, 100)])
    labels = rng.integers(0, 2, len(groups))
    dataset = dataset_of(labels, groups)
    parts = split(dataset, test_fraction=0.2, valid_fraction=0.2, seed=seed)
    check_partition(parts, len(groups))
    held = [set(groups[part]) for part in (parts.train, parts.valid, parts.test)]
    assert all(held)
    assert not (held[0] & held[1])
    assert not (held[0] & held[2])
    assert not (held[1] & held[2])
    folds = fold_ids(dataset, 5, seed)
    assert all(len(np.unique(folds[groups == group])) == 1 for group in range(n_groups))
    assert sorted(set(folds)) == list(range(folds.max() + 1))


def test_group_splits_are_even() -> None:
    rng = np.random.default_rng(0)
    groups = rng.integers(0, 100, 2000)
    labels = (rng.random(2000) < 0.2).astype(int)
    parts = split(dataset_of(labels, groups), test_fraction=0.2, valid_fraction=0.2, seed=0)
    assert 340 <= len(parts.test) <= 460
    assert 0.15 <= labels[parts.test].mean() <= 0.25


def test_time_splits_put_the_latest_rows_last() -> None:
    time = np.random.default_rng(0).permutation(100).astype(float)
    parts = split(dataset_of([0, 1] * 50), test_fraction=0.2, valid_fraction=0.2, seed=0, time=time)
    check_partition(parts, 100)
    assert sorted(time[parts.test]) == list(range(80, 100))
    assert sorted(time[parts.valid]) == list(range(60, 80))


def test_rows_of_one_moment_stay_together() -> None:
    time = np.repeat([1.0, 2.0, 3.0, 4.0], [10, 1, 30, 9])
    parts = split(dataset_of([0, 1] * 25), test_fraction=0.2, valid_fraction=0.2, seed=0, time=time)
    held = [set(time[part]) for part in (parts.train, parts.valid, parts.test)]
    assert held == [{1.0, 2.0}, {3.0}, {4.0}]


@pytest.mark.parametrize(
    ("labels", "options", "said"),
    [
        (
            [0, 1] * 4,
            {"test_fraction": 0.6, "valid_fraction": 0.4},
            "Wanted fractions for test and validation",
        ),
        ([0, 1], {}, "Wanted at least 6 rows to divide into 3 parts, got 2."),
        ([0, 1] * 4, {"time": np.zeros(8)}, "Wanted at least 3 different moments in the time column, got 1."),
        (
            [0] * 6 + [1] * 2,
            {"time": np.arange(8.0)},
            "Wanted every class among the rows to train on, "
            "but all rows of '1' fall into validation or test.",
        ),
    ],
)
def test_splits_that_cannot_be(labels: list[int], options: dict[str, Any], said: str) -> None:
    with pytest.raises(UserError) as caught:
        split(dataset_of(labels), **{"test_fraction": 0.2, "valid_fraction": 0.2, "seed": 0, **options})
    assert caught.value.message.startswith(said)
    assert caught.value.hint


def test_too_few_groups() -> None:
    with pytest.raises(UserError) as caught:
        split(dataset_of([0, 1] * 4, [0, 0, 0, 0, 1, 1, 1, 1]), test_fraction=0.2, valid_fraction=0.2, seed=0)
    assert caught.value.message == "Wanted at least 3 groups to divide, got 2."


def test_folds_are_even_and_stratified() -> None:
    labels = np.random.default_rng(0).permutation(np.repeat([0, 1, 2], [60, 37, 2]))
    folds = fold_ids(dataset_of(labels), 5, 0)
    assert np.bincount(folds).tolist() == [20, 20, 20, 20, 19]
    for label, count in ((0, 60), (1, 37)):
        assert np.abs(np.bincount(folds[labels == label]) - count / 5).max() < 1
    assert len(set(folds[labels == 2])) == 2
    assert (folds == fold_ids(dataset_of(labels), 5, 0)).all()
    assert (folds != fold_ids(dataset_of(labels), 5, 1)).any()


@pytest.mark.parametrize(("n_rows", "k"), [(4, 2), (25, 2), (30, 3), (100, 5)])
def test_fewer_folds_for_few_rows(n_rows: int, k: int) -> None:
    assert fold_ids(dataset_of(np.arange(n_rows) % 2), 5, 0).max() + 1 == k


def test_folds_of_regression_and_of_groups_with_rare_classes() -> None:
    assert np.bincount(fold_ids(dataset_of(np.arange(50.0), classes=()), 5, 0)).tolist() == [10] * 5
    folds = fold_ids(dataset_of(np.arange(40), np.repeat(np.arange(4), 10)), 5, 0)
    assert np.bincount(folds).tolist() == [10] * 4


def test_splits_of_loaded_rows_keep_labels_and_ids() -> None:
    dataset = load_dataset((np.arange(40.0).reshape(20, 2), [0, 1] * 10)).dataset
    parts = split(dataset, test_fraction=0.2, valid_fraction=0.2, seed=0)
    test = dataset.take(parts.test)
    assert test.ids is not None
    assert test.labels is not None
    assert test.ids.tolist() == parts.test.tolist()
    assert (test.labels == parts.test % 2).all()
