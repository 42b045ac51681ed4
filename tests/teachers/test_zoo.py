"""The default ensemble: its table, its sizes, its members on small data of every kind."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import msgspec
import narwhals as nw
import numpy as np
import pandas as pd
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from potstill.teachers import zoo_member
from potstill.teachers.zoo import ZOO, default_members
from potstill.teachers.zoo_boosted import CatBoostMember, LightGBMMember, XGBoostMember
from potstill.teachers.zoo_encoding import Encoding
from potstill.teachers.zoo_forest import ForestMember
from potstill.teachers.zoo_member import Fold, Shape, set_aside
from potstill.teachers.zoo_network import NetworkMember
from potstill.teachers.zoo_repeated import Repeated
from potstill.types import Column, Dataset, FeatureSpec, Schema, Task

TINY = (
    LightGBMMember(name="lightgbm", rounds=8, learning_rate=0.2),
    LightGBMMember(name="lightgbm-ranked", rounds=8, learning_rate=0.2, categories="ranked"),
    XGBoostMember(name="xgboost", rounds=8, learning_rate=0.2, max_depth=3),
    XGBoostMember(name="xgboost-vector", rounds=8, learning_rate=0.2, max_depth=3, vector_leaves=True),
    CatBoostMember(name="catboost", rounds=8, learning_rate=0.2, depth=3),
    CatBoostMember(name="catboost-ranked", rounds=8, learning_rate=0.2, depth=3, categories="ranked"),
    ForestMember(name="extra-trees", extra=True, trees=10),
    ForestMember(name="random-forest", extra=False, trees=10),
    NetworkMember(name="network-periodic", numbers="periodic", width=16, depth=1, epochs=6),
    NetworkMember(name="network-binned", numbers="binned", width=16, depth=1, epochs=6),
    NetworkMember(name="network-heads", numbers="binned", width=8, depth=1, heads=3, epochs=6),
)
each_member = pytest.mark.parametrize("member", TINY, ids=lambda member: member.name)

LEVELS = ("b", "a", "10", "9")


def make_rows(n: int, *, kind: str, numbers: bool = True, categories: bool = True, seed: int = 0) -> Dataset:
    """``n`` rows whose target follows a number and a category; with missing, infinite and unseen values."""
    rng = np.random.default_rng(seed)
    number = rng.normal(size=(n, 3))
    level = rng.integers(0, len(LEVELS), n)
    signal = number[:, 0] * numbers + 1.5 * (level - 1.5) * categories
    frame = pd.DataFrame()
    columns: list[Column] = []
    if numbers:
        number[rng.random((n, 3)) < 0.05] = np.nan
        number[0, 1], number[1, 1] = np.inf, -np.inf
        for j in range(3):
            frame[f"number {j}"] = number[:, j]
            columns.append(Column(f"number {j}", "numeric"))
    if categories:
        texts = np.array(LEVELS, dtype=object)[level]
        texts[rng.random(n) < 0.05] = None
        texts[-1] = "unseen"
        frame["level"] = texts
        columns.append(Column("level", "categorical", levels=LEVELS))
    schema = Schema(tuple(columns))
    rows = nw.from_native(frame)
    if kind == "regression":
        return Dataset(rows, Task("regression", "y"), schema, 1000.0 + 50.0 * signal)
    n_classes = 2 if kind == "binary" else 3
    edges = np.quantile(signal, np.linspace(0, 1, n_classes + 1)[1:-1])
    task = Task("binary" if n_classes == 2 else "multiclass", "y", tuple("xyz"[:n_classes]))
    return Dataset(rows, task, schema, np.searchsorted(edges, signal).astype(np.int64))


def loss(dataset: Dataset, answers: np.ndarray) -> float:
    if not dataset.task.is_classification:
        return float(np.sqrt(np.mean((answers[:, 0] - dataset.labels) ** 2)) / np.std(dataset.labels))
    return float(-np.log(np.maximum(answers[np.arange(len(answers)), dataset.labels], 1e-6)).mean())


@each_member
@pytest.mark.parametrize("kind", ["binary", "multiclass", "regression"])
def test_learns_and_answers_every_row(member, kind):
    train, asked = make_rows(400, kind=kind), make_rows(101, kind=kind, seed=1)
    answers = member.fit(train, seed=0).predict(asked)
    assert answers.shape == (101, train.task.n_outputs)
    assert answers.dtype == np.float32
    assert np.isfinite(answers).all()
    knows_nothing = np.log(train.task.n_outputs) if train.task.is_classification else 1.0
    assert loss(asked, answers) < 0.9 * knows_nothing
    if train.task.is_classification:
        np.testing.assert_allclose(answers.sum(axis=1), 1, atol=1e-4)


@each_member
@pytest.mark.parametrize("numbers", [True, False], ids=["numbers only", "categories only"])
def test_takes_columns_of_one_kind(member, numbers):
    train = make_rows(150, kind="binary", numbers=numbers, categories=not numbers)
    assert np.isfinite(member.fit(train, seed=0).predict(train)).all()


@each_member
def test_a_seed_gives_the_same_answers_and_another_others(member):
    member = msgspec.structs.replace(member, threads=2)
    train, asked = make_rows(200, kind="multiclass"), make_rows(1200, kind="multiclass", seed=1)
    first, again, other = (member.fit(train, seed=seed) for seed in (3, 3, 4))
    np.testing.assert_array_equal(first.predict(asked), again.predict(asked))
    assert first.fingerprint == again.fingerprint != other.fingerprint
    assert not np.array_equal(first.predict(asked), other.predict(asked))


@each_member
def test_members_fitted_at_the_same_time_are_the_same(member):
    train = make_rows(200, kind="binary")
    with ThreadPoolExecutor(2) as pool:
        fitted = list(pool.map(lambda seed: member.fit(train, seed=seed), [0, 1, 0, 1]))
    answers = [teacher.predict(train) for teacher in fitted]
    np.testing.assert_array_equal(answers[0], answers[2])
    np.testing.assert_array_equal(answers[1], answers[3])


def test_networks_leave_the_global_generator_alone():
    before = torch.random.get_rng_state()
    TINY[-1].fit(make_rows(150, kind="multiclass"), seed=0)
    assert torch.equal(before, torch.random.get_rng_state())


@each_member
def test_a_class_the_fold_lacks_gets_no_probability(member):
    train = make_rows(300, kind="multiclass")
    without = train.take(np.flatnonzero(train.labels != 1))
    answers = member.fit(without, seed=0).predict(train)
    assert answers.shape == (300, 3)
    assert (answers[:, 1] == 0).all()
    np.testing.assert_allclose(answers.sum(axis=1), 1, atol=1e-4)
    assert loss(without, answers[train.labels != 1]) < np.log(2)


@each_member
def test_a_single_class_is_answered_with_certainty(member):
    train = make_rows(150, kind="binary")
    answers = member.fit(train.take(np.flatnonzero(train.labels == 1)), seed=0).predict(train)
    np.testing.assert_array_equal(answers, np.tile(np.float32([0, 1]), (150, 1)))


@each_member
def test_respects_weights(member):
    train = make_rows(300, kind="binary")
    heavy = replace(train, weight=np.where(train.labels == 1, 20.0, 1.0))
    plain, weighted = (member.fit(rows, seed=0).predict(train)[:, 1].mean() for rows in (train, heavy))
    assert weighted > plain + 0.03


@each_member
def test_few_rows_and_many_classes(member):
    rng = np.random.default_rng(0)
    classes = tuple(f"class {k:02}" for k in range(77))
    frame = nw.from_native(pd.DataFrame({"a": rng.normal(size=150), "b": rng.normal(size=150)}))
    schema = Schema((Column("a", "numeric"), Column("b", "numeric")))
    train = Dataset(frame, Task("multiclass", "y", classes), schema, np.arange(150, dtype=np.int64) % 77)
    answers = member.fit(train, seed=0).predict(train)
    assert answers.shape == (150, 77)
    assert np.isfinite(answers).all()


@each_member
def test_rows_to_stop_on_are_not_learnt_from(member):
    train, stop_on = make_rows(300, kind="binary"), make_rows(400, kind="binary", seed=1)
    drawn = np.random.default_rng(2).integers(0, 2, 400)
    teacher = member.fit_until(train, replace(stop_on, labels=drawn), seed=0)
    assert np.mean(teacher.predict(stop_on).argmax(axis=1) == drawn) < 0.58


@pytest.mark.parametrize("kind", ["binary", "multiclass", "regression"])
@pytest.mark.parametrize("extra", [True, False])
def test_a_forest_fitted_once_answers_its_own_rows_out_of_bag(kind, extra):
    train, asked = make_rows(500, kind=kind), make_rows(300, kind=kind, seed=1)
    train = replace(train, ids=np.random.default_rng(3).permutation(500).astype(np.int64))
    forest = ForestMember(name="forest", extra=extra, trees=60, leaf_rows=(1,))
    teacher = forest.fit_whole(train, seed=0)
    own, unseen = teacher.predict_out_of_fold(train), loss(asked, teacher.predict(asked))
    assert own.shape == (500, train.task.n_outputs)
    assert loss(train, teacher.predict(train)) < 0.6 * loss(train, own)
    assert loss(train, own) == pytest.approx(unseen, rel=0.35)
    some = np.array([400, 3, 77])
    np.testing.assert_array_equal(teacher.predict_out_of_fold(train.take(some)), own[some])


def test_few_trees_answer_even_the_rows_all_of_them_have_seen():
    train = replace(make_rows(200, kind="multiclass"), ids=np.arange(200))
    own = (
        ForestMember(name="forest", extra=False, trees=2).fit_whole(train, seed=0).predict_out_of_fold(train)
    )
    assert np.isfinite(own).all()
    np.testing.assert_allclose(own.sum(axis=1), 1, atol=1e-4)


def test_boosting_stops_where_the_loss_on_the_given_rows_is_lowest():
    member = LightGBMMember(name="lightgbm", rounds=60, learning_rate=0.3)
    train, stop_on = make_rows(300, kind="binary"), make_rows(300, kind="binary", seed=1)
    turned = replace(stop_on, labels=1 - stop_on.labels)
    sensible, shy = (member.fit_until(train, rows, seed=0).predict(stop_on) for rows in (stop_on, turned))
    assert loss(stop_on, sensible) < 0.6
    assert shy.std() < 0.5 * sensible.std()


def test_rows_to_stop_on_of_a_class_the_fold_lacks_do_not_count():
    train, stop_on = make_rows(400, kind="multiclass"), make_rows(400, kind="multiclass", seed=1)
    without = train.take(np.flatnonzero(train.labels != 1))
    fold = Fold.of(without, Encoding.fit(without), seed=0, stop_on=stop_on)
    assert len(fold.check) == np.sum(stop_on.labels != 1)
    np.testing.assert_array_equal(fold.labels[fold.check], stop_on.labels[stop_on.labels != 1] // 2)
    assert (len(fold.learn), fold.n_own) == (len(without), len(without))


def test_too_few_rows_to_stop_on_are_not_used():
    train, stop_on = make_rows(400, kind="regression"), make_rows(40, kind="regression", seed=1)
    fold = Fold.of(train, Encoding.fit(train), seed=0, stop_on=stop_on)
    assert len(fold.table) == fold.n_own == 400
    assert len(fold.check) == 80


def test_the_table_has_twelve_members_of_six_kinds():
    names = [place.member.name for place in ZOO]
    assert len(names) == len(set(names)) == 12
    assert {type(place.member) for place in ZOO[:5]} == {type(place.member) for place in ZOO}


shapes = st.builds(
    Shape,
    n_rows=st.integers(150, 300_000),
    n_numeric=st.integers(0, 60),
    n_categorical=st.integers(1, 30),
    n_outputs=st.sampled_from([1, 3, 7, 26, 77]),
)
each_in_table = pytest.mark.parametrize("member", [place.member for place in ZOO], ids=lambda m: m.name)


@each_in_table
@settings(max_examples=30, deadline=None)
@given(shape=shapes)
def test_costs_grow_with_the_data(member, shape):
    cost = member.cost_s(shape)
    assert cost > 0
    for field in ("n_numeric", "n_categorical", "n_outputs"):
        assert member.cost_s(shape._replace(**{field: getattr(shape, field) * 2})) >= cost
    assert member.cost_s(shape._replace(n_rows=shape.n_rows * 4)) >= cost


@each_in_table
@settings(max_examples=30, deadline=None)
@given(shape=shapes, seconds=st.floats(2.0, 500.0))
def test_more_time_is_never_less_work(member, shape, seconds):
    short, long = member.within(seconds, shape), member.within(2 * seconds, shape)
    assert short.cost_s(shape) <= long.cost_s(shape) + 1e-9
    assert long.cost_s(shape) <= member.cost_s(shape) + 1e-9


def members(**changes):
    wanted = {"n_rows": 20_000, "time_s": 100.0, "folds": 5, "threads": 2, **changes}
    spec = FeatureSpec(numeric=tuple("abcdefgh"), categorical=("i", "j"), cardinalities=(9, 30))
    return default_members(Task("multiclass", "y", tuple("klmno")), spec=spec, **wanted)


def test_sizes_follow_from_the_numbers_alone():
    assert members() == members()
    assert [member.name for member in members()] == [place.member.name for place in ZOO]
    assert {getattr(member, "member", member).threads for member in members()} == {1}


def test_the_whole_ensemble_is_planned_within_its_time():
    shape = Shape(16_000, 8, 2, 5)
    for time_s in (80.0, 150.0, 400.0):
        planned = members(time_s=time_s, threads=1)
        one_core_s = sum(cost_s(member, shape) for member in planned)
        assert 0.2 * time_s < one_core_s < time_s


def cost_s(member, shape):
    """Of all of a member's fits: of a forest one, of what is repeated its copies on all rows, else five."""
    if isinstance(member, Repeated):
        return member.copies * member.member.cost_s(shape._replace(n_rows=20_000))
    return member.cost_s(shape) * (1 if isinstance(member, ForestMember) else 5)


def test_fingerprints_tell_recipes_apart_and_ignore_threads():
    prints = {member.fingerprint for member in members()}
    assert len(prints) == 12
    assert prints == {
        msgspec.structs.replace(member, member=msgspec.structs.replace(member.member, threads=4)).fingerprint
        if isinstance(member, Repeated)
        else msgspec.structs.replace(member, threads=4).fingerprint
        for member in members()
    }
    assert prints.isdisjoint(
        member.fingerprint for member in members(time_s=30.0) if not isinstance(member, ForestMember)
    )


def test_short_of_time_the_first_members_are_planned():
    assert [member.name for member in members(time_s=2.0)] == [place.member.name for place in ZOO[:4]]
    assert 4 < len(members(time_s=20.0)) < 12


def test_rows_set_aside_are_a_share_of_every_class():
    labels = np.repeat(np.arange(4), [3000, 900, 100, 3])
    held = set_aside(labels, None, stratify=True, seed=0)
    np.testing.assert_array_equal(np.bincount(labels[held], minlength=4), [300, 90, 10, 0])
    assert not np.array_equal(held, set_aside(labels, None, stratify=True, seed=1))


def test_rows_set_aside_never_split_a_group():
    groups = np.random.default_rng(0).integers(0, 80, 1000)
    held = set_aside(np.zeros(1000), groups, stratify=False, seed=0)
    assert set(groups[held]).isdisjoint(groups[~held])
    assert 100 < held.sum() <= 200


def test_below_a_hundred_rows_none_is_set_aside():
    assert not set_aside(np.zeros(99), None, stratify=True, seed=0).any()


def test_levels_are_ranked_in_their_natural_order():
    text = Column("text", "categorical", levels=("b", "c", "a"))
    schema = Schema((text, Column("count", "categorical", levels=("10", "9"))))
    frame = pd.DataFrame({"text": ["a", "b", "c", None, "?"], "count": ["9", "10", "9", "11", "9"]})
    rows = Dataset(nw.from_native(frame), Task("regression", "y"), schema)
    ranked = Encoding.fit(rows).table(rows).ranked
    np.testing.assert_array_equal(ranked[:, 0], np.float32([0, 1, 2, np.nan, np.nan]))
    np.testing.assert_array_equal(ranked[:, 1], np.float32([0, 1, 0, np.nan, 0]))


def test_rows_are_encoded_once_for_all_members(monkeypatch):
    rows = make_rows(150, kind="binary")
    first, second = Encoding.fit(rows), Encoding.fit(rows)
    assert first.table(rows) is second.table(rows)
    other_schema = replace(rows, schema=Schema(rows.schema.columns[:2]))
    assert Encoding.fit(other_schema).table(rows) is not first.table(rows)


def test_regression_labels_are_standardised_and_come_back():
    rows = make_rows(200, kind="regression")
    fold = Fold.of(rows, Encoding.fit(rows), seed=0)
    assert abs(fold.labels.mean()) < 1e-9
    assert abs(fold.labels.std() - 1) < 1e-9
    np.testing.assert_allclose(fold.scale.align(fold.labels)[:, 0], rows.labels, rtol=1e-6)


def test_the_version_is_part_of_every_fingerprint(monkeypatch):
    before = TINY[0].fingerprint
    monkeypatch.setattr(zoo_member, "VERSION", "other")
    assert TINY[0].fingerprint != before
