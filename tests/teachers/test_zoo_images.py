"""The default ensemble for pictures."""

from __future__ import annotations

import dataclasses
import itertools

import msgspec
import narwhals as nw
import numpy as np
import pyarrow as pa
import pytest
from sklearn.datasets import load_digits

from potstill.artifact.pictures import pnm_bytes
from potstill.teachers.zoo_convolution import Courses
from potstill.teachers.zoo_images import (
    ZOO_OF_IMAGES,
    ConvolutionalMember,
    default_image_members,
    measured_pace,
)
from potstill.testing.teacher import check_teacher
from potstill.types import BaggedTrainable, Column, Dataset, OutOfFoldTeacher, Schema, Task

SMALL = {"stem": 4, "widths": (8, 16), "blocks": (1, 1), "batch_size": 16, "epochs": 20}
TINY = (
    ConvolutionalMember(name="residual", **SMALL),
    ConvolutionalMember(name="cutout", mixing="cutout", **SMALL),
    ConvolutionalMember(name="cutmix", mixing="cutmix", **SMALL),
    ConvolutionalMember(name="mixup", mixing="mixup", **SMALL),
    ConvolutionalMember(name="depthwise", expansion=2, **SMALL),
)


def digits(kind: str, n: int = 300) -> Dataset:
    images, digit = load_digits(return_X_y=True)
    files = [pnm_bytes((image * 15).astype(np.uint8).reshape(8, 8, 1)) for image in images[:n]]
    labels = {"binary": digit > 4, "multiclass": digit, "regression": digit * 100.0 + 7}[kind][:n]
    classes = () if kind == "regression" else tuple(range(int(labels.max()) + 1))
    rows = nw.from_native(pa.table({"photo": files}), eager_only=True)
    schema = Schema((Column("photo", "image", shape=(8, 8, 1)),))
    labels = labels if kind == "regression" else labels.astype(np.int64)
    return Dataset(rows, Task(kind, "y", classes=classes), schema, labels=labels, ids=np.arange(n))  # type: ignore[arg-type]


@pytest.mark.parametrize("member", TINY, ids=lambda member: member.name)
def test_members_learn(member: ConvolutionalMember) -> None:
    train = digits("multiclass")
    teacher = member.fit(train, seed=0)
    check_teacher(teacher, train)
    right = teacher.predict(train).argmax(axis=1) == train.labels
    assert right.mean() > 0.5
    assert teacher.n_parameters > 1_000


def test_the_seed_decides() -> None:
    train, member = digits("multiclass", 120), msgspec.structs.replace(TINY[3], epochs=4)
    first, again, other = (member.fit(train, seed=seed).predict(train) for seed in (0, 0, 1))
    assert np.array_equal(first, again)
    assert np.abs(first - other).max() > 0.01


@pytest.mark.parametrize("kind", ["binary", "regression"])
def test_members_of_other_tasks(kind: str) -> None:
    train = digits(kind)
    teacher = TINY[0].fit_whole(train, seed=0)
    answers = teacher.predict(train)
    assert train.labels is not None
    if kind == "binary":
        assert answers.shape == (300, 2)
        assert (answers.argmax(axis=1) == train.labels).mean() > 0.7
    else:
        assert np.corrcoef(answers[:, 0], train.labels)[0, 1] > 0.6
        assert np.abs(answers.mean() - train.labels.mean()) < 100


def test_out_of_fold_they_know_nothing() -> None:
    member = TINY[0]
    assert isinstance(member, BaggedTrainable)
    teacher = member.fit_whole(digits("multiclass"), seed=0)
    assert isinstance(teacher, OutOfFoldTeacher)
    assert np.isnan(teacher.predict_out_of_fold(digits("multiclass"))).all()


def test_weights_count() -> None:
    train = digits("binary")
    assert train.labels is not None
    light = Dataset(
        train.rows, train.task, train.schema, train.labels, weight=np.where(train.labels == 1, 1e-3, 1.0)
    )
    assert (TINY[0].fit(light, seed=0).predict(train)[:, 1] > 0.5).mean() < 0.1


def test_the_recipe_is_the_fingerprint() -> None:
    member = TINY[0]
    prints = {each.fingerprint for each in (*TINY, msgspec.structs.replace(member, epochs=9))}
    assert len(prints) == len(TINY) + 1
    assert member.fingerprint == msgspec.structs.replace(member).fingerprint


@pytest.mark.parametrize("shape", [(32, 32, 3), (28, 28, 1), (64, 64, 3), (8, 8, 1)])
def test_time_decides_the_epochs_and_then_the_members(shape: tuple[int, int, int]) -> None:
    def planned(n_rows: int, time_s: float) -> list[ConvolutionalMember]:
        members = default_image_members(
            n_rows=n_rows, n_answers=2 * n_rows, shape=shape, time_s=time_s, threads=2
        )
        assert all(isinstance(member, ConvolutionalMember) for member in members)
        return members  # type: ignore[return-value]

    full = planned(10_000, 30_000)
    assert [each.name for each in full] == [each.name for each in ZOO_OF_IMAGES]
    assert {each.snapshots for each in full} == {1}
    short_s = 400_000 * full[0].training_s(shape)
    fewer = planned(10_000, short_s)
    assert len(fewer) < len(full)
    assert sum(each.snapshots for each in fewer) >= 5
    assert len(planned(10_000, 3 * short_s)) == len(full)
    assert all(few.epochs <= many.epochs for few, many in zip(fewer, full, strict=False))
    assert {each.mixing for each in planned(60_000, 20)} == {"none"}
    assert {each.mixing for each in planned(500, 30_000)} == {each.mixing for each in ZOO_OF_IMAGES}
    for members, time_s in ((full, 30_000), (fewer, short_s)):
        assert sum(each.training_s(shape) * each.epochs * 10_000 for each in members) < 2 * time_s


def test_nothing_is_mixed_in_short_courses_and_many_labels_are_not_smoothed() -> None:
    shape = (28, 28, 1)
    member = msgspec.structs.replace(ZOO_OF_IMAGES[0], snapshots=3)
    for n_rows, epochs, mixing, smoothing in (
        (50_000, 16, "none", 0.0),
        (15_000, 16, "none", 0.1),
        (10_000, 40, "cutmix", 0.0),
    ):
        seconds = member.cost_s(shape, (epochs + 0.5) * n_rows, 0)
        planned = member.within(seconds, n_rows, 0, shape)
        assert (planned.epochs, planned.snapshots) == (epochs, 3 if n_rows * epochs >= 300_000 else 2)
        assert (planned.mixing, planned.smoothing) == (mixing, smoothing)
        part = 1.0 if mixing == "cutmix" else 1 / 3
        assert planned.learning_rate == pytest.approx(part * member.learning_rate)
        assert (planned.shift == member.shift) == (mixing == "cutmix")


@pytest.mark.parametrize("n_rows", [10_000, 60_000])
def test_where_time_is_short_members_are_narrower_and_see_more(n_rows: int) -> None:
    shape = (28, 28, 1)

    def planned(pace: float) -> ConvolutionalMember:
        members = default_image_members(
            n_rows=n_rows, n_answers=n_rows, shape=shape, time_s=1_260, threads=2, pace=pace
        )
        return members[0]  # type: ignore[return-value]

    assert planned(1.0).widths == ZOO_OF_IMAGES[0].widths
    assert planned(8.0).widths < ZOO_OF_IMAGES[0].widths
    assert planned(8.0).epochs * n_rows > 400_000 if n_rows == 60_000 else planned(8.0).epochs >= 30


def test_a_slower_machine_gets_less_to_do() -> None:
    def learnt_s(pace: float) -> float:
        members = default_image_members(
            n_rows=10_000, n_answers=20_000, shape=(32, 32, 3), time_s=1_000, threads=2, pace=pace
        )
        return sum(each.training_s((32, 32, 3)) * each.epochs * 10_000 for each in members)  # type: ignore[attr-defined]

    assert learnt_s(3.0) == pytest.approx(learnt_s(1.0) / 3, rel=0.2)


def test_the_pace_is_measured() -> None:
    assert 0.01 < measured_pace((8, 8, 1)) < 1_000


def test_snapshots_answer_together() -> None:
    train, one = digits("multiclass"), TINY[0]
    several = msgspec.structs.replace(one, snapshots=3)
    teacher, alone = several.fit(train, seed=0), one.fit(train, seed=0)
    assert len(teacher.network.snapshots) == 3
    assert teacher.n_parameters == 3 * alone.n_parameters
    check_teacher(teacher, train)
    pixels = teacher.encoder.encode(train.rows)["pixels"]
    each = [
        np.exp(dataclasses.replace(teacher.network, snapshots=[kept]).logits(pixels).astype(np.float64))
        for kept in teacher.network.snapshots
    ]
    mean = np.mean([some / some.sum(axis=1, keepdims=True) for some in each], axis=0)
    np.testing.assert_allclose(teacher.predict(train), mean, atol=1e-5)
    assert np.abs(each[0] - each[2]).max() > 0.01


@pytest.mark.parametrize(("epochs", "count", "ends"), [(80, 3, [67, 74, 80]), (7, 1, [7]), (2, 3, [2])])
def test_courses_begin_anew(epochs: int, count: int, ends: list[int]) -> None:
    courses = Courses(epochs, count)
    assert courses.ends == ends
    for begin, end in itertools.pairwise([0, *ends]):
        rates = [courses.rate(epoch) for epoch in np.linspace(begin, end - 1e-9, 101)]
        assert rates[-1] < 0.001
        assert max(rates) == pytest.approx(0.25 if begin else 1.0, rel=0.01)
