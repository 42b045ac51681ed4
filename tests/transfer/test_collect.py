"""Cross-fitting, reuse, what happens when a member fails or time runs out."""

from __future__ import annotations

import importlib
import re
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import narwhals as nw
import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
import pytest

from potstill.errors import StoreError, UserError
from potstill.transfer import Store, collect
from potstill.transfer.fingerprint import hash_dataset
from potstill.types import Column, Dataset, Floats, Schema, Task

BINARY = Task("binary", "y", classes=(0, 1))
FOLDS = np.arange(12) % 3


def dataset_of_ids(ids: np.ndarray, labelled: bool = True, maker: Any = pa.table) -> Dataset:
    frame = nw.from_native(maker({"x": ids.astype(float)}), eager_only=True)
    labels = ids.astype(np.int64) % 2 if labelled else None
    return Dataset(frame, BINARY, Schema((Column("x", "numeric"),)), labels=labels, ids=ids.astype(np.int64))


def two_parts() -> dict[str, Dataset]:
    return {
        "train": dataset_of_ids(np.arange(12)),
        "test": dataset_of_ids(np.arange(100, 107), labelled=False),
    }


@dataclass
class Remembering:
    """Answers .9 for rows it was fitted on and .5 for others; with its size."""

    name: str
    seen: frozenset[float]
    seed: int = 0
    size_bytes: int = 1000

    @property
    def fingerprint(self) -> str:
        return f"{self.name} {sorted(self.seen)}"

    def predict(self, dataset: Dataset) -> Floats:
        x = dataset.rows["x"].to_numpy()
        known = np.where(np.isin(x, list(self.seen)), 0.9, 0.5)
        return np.column_stack([known, 1 - known]).astype(np.float32)


@dataclass
class RememberingRecipe:
    name: str = "memory"
    fits: list[tuple[frozenset[float], int]] = field(default_factory=list)
    make: Callable[[Dataset], Any] | None = None
    recipe: str = "1"

    @property
    def fingerprint(self) -> str:
        return f"remember {self.recipe}"

    def fit(self, dataset: Dataset, *, seed: int) -> Any:
        seen = frozenset(dataset.rows["x"].to_list())
        self.fits.append((seen, seed))
        return self.make(dataset) if self.make else Remembering(self.name, seen, seed)


@dataclass
class Fails:
    error: Exception
    name: str = "broken"
    fingerprint: str = "broken"

    def fit(self, dataset: Dataset, *, seed: int) -> Any:
        raise self.error


@dataclass
class OwnOutOfFold(Remembering):
    """Has its own out-of-fold answers for even rows."""

    def predict_out_of_fold(self, dataset: Dataset) -> Floats:
        assert dataset.ids is not None
        answers = np.full((len(dataset), 2), 0.25, dtype=np.float32)
        answers[:, 1] = 0.75
        answers[dataset.ids % 2 == 1] = np.nan
        return answers


class Heard:
    """A Progress that keeps what it is told."""

    def __init__(self) -> None:
        self.total: int | None = None
        self.steps = 0
        self.notes: list[str] = []

    def start(self, stage: str, total: int | None = None) -> None:
        self.total = total

    def advance(self, amount: int = 1, note: str = "") -> None:
        self.steps += amount

    def note(self, message: str) -> None:
        self.notes.append(message)


@pytest.mark.parametrize("chunk_rows", [5, 100])
def test_each_training_row_is_answered_by_the_model_that_excluded_it(tmp_path: Path, chunk_rows: int) -> None:
    recipe, heard = RememberingRecipe(), Heard()
    collected = collect(
        [recipe],
        two_parts(),
        folds=FOLDS,
        store=Store(tmp_path),
        seed=0,
        chunk_rows=chunk_rows,
        progress=heard,
    )
    assert [sorted(seen) for seen, _ in recipe.fits] == [sorted(np.flatnonzero(f != FOLDS)) for f in range(3)]
    assert len({seed for _, seed in recipe.fits}) == 3
    assert collected.members == ("memory",)
    assert collected.out_of_fold[0, :, 0] == pytest.approx(0.5)
    assert collected.out_of_fold_mask.all()
    # In sample, two of three fold models have seen the row.
    assert collected.answers["train"][0, :, 0] == pytest.approx((0.9 + 0.9 + 0.5) / 3)
    assert collected.answers["test"].shape == (1, 7, 2)
    assert collected.answers["test"][0, :, 0] == pytest.approx(0.5)
    assert collected.costs[0].size_bytes == 3000
    assert 0 < collected.latency_us[0].p50 <= collected.latency_us[0].p99
    assert (heard.steps, heard.total) == (3, 3)


@dataclass
class StoppingRecipe(RememberingRecipe):
    """A recipe that is also told which rows to stop on; with those it was told."""

    stopped_on: list[frozenset[float]] = field(default_factory=list)

    def fit_until(self, dataset: Dataset, stop_on: Dataset, *, seed: int) -> Any:
        self.stopped_on.append(frozenset(stop_on.rows["x"].to_list()))
        return self.fit(dataset, seed=seed)


def test_what_can_stop_early_stops_on_the_rows_it_is_kept_from(tmp_path: Path) -> None:
    recipe = StoppingRecipe()
    collected = collect([recipe], two_parts(), folds=FOLDS, store=Store(tmp_path), seed=0)
    every = frozenset(float(i) for i in range(12))
    assert [len(rows) for rows in recipe.stopped_on] == [4, 4, 4]
    assert all(seen == every - rows for (seen, _), rows in zip(recipe.fits, recipe.stopped_on, strict=True))
    assert (collected.out_of_fold[0, :, 0] == 0.5).all()


@dataclass
class BaggedTeacher(Remembering):
    """Answers out of bag with .7."""

    def predict_out_of_fold(self, dataset: Dataset) -> Floats:
        return np.tile(np.float32([0.7, 0.3]), (len(dataset), 1))


@dataclass
class BaggedRecipe(RememberingRecipe):
    """A recipe whose one fit answers its own rows out of bag."""

    def fit_whole(self, dataset: Dataset, *, seed: int) -> Any:
        self.fits.append((frozenset(dataset.rows["x"].to_list()), seed))
        return BaggedTeacher(self.name, self.fits[-1][0], seed)


def test_what_answers_out_of_bag_is_fitted_once_on_all_rows(tmp_path: Path) -> None:
    recipe = BaggedRecipe()
    collected = collect([recipe], two_parts(), folds=FOLDS, store=Store(tmp_path), seed=0)
    assert [len(seen) for seen, _ in recipe.fits] == [12]
    assert (collected.out_of_fold[0, :, 0] == np.float32(0.7)).all()
    assert (collected.answers["train"][0, :, 0] == np.float32(0.9)).all()
    assert collected.out_of_fold_mask.all()
    again = collect([recipe], two_parts(), folds=FOLDS, store=Store(tmp_path), seed=0)
    assert (again.reused, len(recipe.fits)) == (1, 1)


def test_rows_of_one_group_may_share_a_bag_so_they_are_cross_fitted(tmp_path: Path) -> None:
    recipe = BaggedRecipe()
    parts = two_parts()
    parts["train"] = replace(parts["train"], groups=np.arange(12) % 3)
    collected = collect([recipe], parts, folds=FOLDS, store=Store(tmp_path), seed=0)
    assert [len(seen) for seen, _ in recipe.fits] == [8, 8, 8]
    assert (collected.out_of_fold[0, :, 0] == 0.5).all()


def test_second_run_reuses_everything_and_says_so(tmp_path: Path) -> None:
    first_recipe, again_recipe, heard = RememberingRecipe(), RememberingRecipe(), Heard()
    run = {"folds": FOLDS, "store": Store(tmp_path), "seed": 0}
    first = collect([first_recipe, Remembering("given", frozenset())], two_parts(), **run)
    again = collect([again_recipe, Remembering("given", frozenset())], two_parts(), **run, progress=heard)
    assert again_recipe.fits == []
    assert again.notes == ("reused the soft targets of 2 members, computed earlier",)
    assert heard.notes == list(again.notes)
    assert again.costs == first.costs
    assert again.fingerprint == first.fingerprint
    for part in first.answers:
        assert np.array_equal(again.answers[part], first.answers[part])


def test_another_member_another_part_or_another_order_does_not_refit_the_rest(tmp_path: Path) -> None:
    run = {"folds": FOLDS, "store": Store(tmp_path), "seed": 0}
    first = collect([RememberingRecipe()], two_parts(), **run)
    old, new = RememberingRecipe(), RememberingRecipe("new", recipe="2")
    both = collect([new, old], two_parts(), **run)
    assert (len(old.fits), len(new.fits)) == (0, 3)
    assert np.array_equal(both.answers["test"][1], first.answers["test"][0])
    # A part that is new is asked of models fitted once more, from the same seeds.
    more = {**two_parts(), "synthetic": dataset_of_ids(np.arange(200, 205), labelled=False)}
    refitted = RememberingRecipe()
    collect([refitted], more, **run)
    assert len(refitted.fits) == 3


@pytest.mark.parametrize(
    "change", [{"seed": 1}, {"folds": np.arange(12) % 2}, {"folds": (np.arange(12) + 1) % 3}]
)
def test_other_seed_or_folds_are_computed_anew(tmp_path: Path, change: dict[str, Any]) -> None:
    run = {"folds": FOLDS, "store": Store(tmp_path), "seed": 0}
    collect([RememberingRecipe()], two_parts(), **run)
    recipe = RememberingRecipe()
    collect([recipe], two_parts(), **{**run, **change})
    assert recipe.fits


def test_same_recipe_twice_gets_other_seeds_and_another_name(tmp_path: Path) -> None:
    first, second = RememberingRecipe(), RememberingRecipe()
    collected = collect([first, second], two_parts(), folds=FOLDS, store=Store(tmp_path), seed=0)
    assert collected.members == ("memory", "memory (2)")
    assert {seed for _, seed in first.fits}.isdisjoint({seed for _, seed in second.fits})


def test_fitted_teacher_is_not_out_of_fold(tmp_path: Path) -> None:
    teacher = Remembering("given", frozenset(range(12)))
    collected = collect(
        [teacher, RememberingRecipe()], two_parts(), folds=FOLDS, store=Store(tmp_path), seed=0
    )
    assert not collected.out_of_fold_mask.any()
    assert collected.out_of_fold[:, :, 0] == pytest.approx(np.repeat([[0.9], [0.5]], 12, axis=1))


def test_own_out_of_fold_answers_are_used_where_there_are_any(tmp_path: Path) -> None:
    teacher = OwnOutOfFold("own", frozenset(range(12)))
    for _ in range(2):
        collected = collect([teacher], two_parts(), folds=FOLDS, store=Store(tmp_path), seed=0, chunk_rows=5)
        assert collected.out_of_fold_mask.tolist() == [True, False] * 6
        assert collected.out_of_fold[0, :, 0] == pytest.approx([0.25, 0.9] * 6)
        assert collected.answers["train"][0, :, 0] == pytest.approx(0.9)


def test_failing_member_is_left_out_with_its_reason(tmp_path: Path) -> None:
    members = [Fails(ValueError("no trees")), RememberingRecipe()]
    collected = collect(members, two_parts(), folds=FOLDS, store=Store(tmp_path), seed=0)
    assert collected.members == ("memory",)
    assert collected.notes == ("left out the member broken: it failed: ValueError: no trees",)


def test_only_member_fails(tmp_path: Path) -> None:
    run = {"folds": FOLDS, "store": Store(tmp_path), "seed": 0}
    with pytest.raises(UserError, match=re.escape("the user's own sentence")):
        collect([Fails(UserError("the user's own sentence"))], two_parts(), **run)
    with pytest.raises(UserError) as raised:
        collect([Fails(ValueError("no trees"))], two_parts(), **run)
    assert raised.value.message == "The only teacher failed: ValueError: no trees"
    with pytest.raises(UserError) as raised:
        collect([Fails(ValueError("a")), Fails(ValueError("b"))], two_parts(), **run)
    assert raised.value.message == "Each of the 2 teachers failed; the first said: ValueError: a"


def test_interrupt_propagates_and_leaves_finished_folds(tmp_path: Path) -> None:
    run = {"folds": FOLDS, "store": Store(tmp_path), "seed": 0}
    recipe = RememberingRecipe()

    def interrupt_third(dataset: Dataset) -> Any:
        if len(recipe.fits) == 3:
            raise KeyboardInterrupt
        return Remembering("memory", frozenset(dataset.rows["x"].to_list()))

    recipe.make = interrupt_third
    with pytest.raises(KeyboardInterrupt):
        collect([recipe], two_parts(), **run)
    resumed = RememberingRecipe()
    collect([resumed], two_parts(), **run)
    assert len(resumed.fits) == 1


@pytest.mark.parametrize(
    ("answer", "message"),
    [
        (np.zeros((2, 2)), "Wanted answers of shape (12, 2) from the teacher 'odd', got (2, 2)."),
        (np.full((12, 2), np.nan), "Wanted finite answers from the teacher 'odd', got [nan, nan] in row 0."),
        (
            np.full((12, 2), 3.0),
            "Wanted probabilities that sum to 1 from the teacher 'odd', got [3.0, 3.0] in row 0.",
        ),
    ],
)
def test_unsound_answers(tmp_path: Path, answer: np.ndarray, message: str) -> None:
    @dataclass
    class Odd:
        name: str = "odd"
        fingerprint: str = "odd"

        def predict(self, dataset: Dataset) -> Floats:
            return answer.astype(np.float32)

    with pytest.raises(UserError) as raised:
        collect([Odd()], {"train": two_parts()["train"]}, folds=FOLDS, store=Store(tmp_path), seed=0)
    assert raised.value.message == message


def test_time_limit_leaves_out_members_and_chooses_alike_the_second_time(tmp_path: Path) -> None:
    members = [RememberingRecipe(str(i), recipe=str(i)) for i in range(4)]
    run = {"folds": FOLDS, "store": Store(tmp_path), "seed": 0, "time_limit_s": 1e-9}
    heard = Heard()
    collected = collect(members, two_parts(), **run, progress=heard)
    assert collected.members == ("0",)
    assert collected.notes[0] == (
        "left out the members 1, 2, 3: the time for teachers (1e-09 s) would not have sufficed"
    )
    assert heard.steps == heard.total == 12
    again = collect(members, two_parts(), **run)
    assert again.members == ("0",)
    assert [len(member.fits) for member in members] == [3, 0, 0, 0]
    assert len(collect(members, two_parts(), **{**run, "time_limit_s": 1e9}).members) == 4


def test_input_that_cannot_be_cross_fitted(tmp_path: Path) -> None:
    run = {"store": Store(tmp_path), "seed": 0}
    with pytest.raises(UserError) as raised:
        collect([RememberingRecipe()], two_parts(), folds=np.zeros(12, dtype=np.int64), **run)
    assert raised.value.message == "Wanted at least two folds to cross-fit 'memory', got 1."
    with pytest.raises(UserError) as raised:
        collect([RememberingRecipe()], two_parts(), folds=np.arange(3), **run)
    assert raised.value.message == "Wanted a fold for each of the 12 training rows, got (3,)."
    with pytest.raises(UserError) as raised:
        collect([], two_parts(), folds=FOLDS, **run)
    assert raised.value.message == "Wanted at least one teacher, got none."


def test_large_answers_are_mapped_files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run = {"folds": FOLDS, "store": Store(tmp_path), "seed": 0}
    in_memory = collect([RememberingRecipe()], two_parts(), **run)
    # The package's name `collect` is the function, not the module.
    monkeypatch.setattr(importlib.import_module("potstill.transfer.collect"), "IN_MEMORY_BYTES", 0)
    mapped = collect([RememberingRecipe()], two_parts(), **run)
    assert isinstance(mapped.answers["test"], np.memmap)
    assert np.array_equal(mapped.answers["test"], in_memory.answers["test"])
    assert np.array_equal(mapped.out_of_fold, in_memory.out_of_fold)


def test_store_failure_is_not_taken_for_a_failing_member(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("os.fsync", full)
    with pytest.raises(StoreError) as raised:
        collect(
            [RememberingRecipe(), RememberingRecipe()],
            two_parts(),
            folds=FOLDS,
            store=Store(tmp_path),
            seed=0,
        )
    assert raised.value.message.startswith(
        f"The disk is full: no room for the teachers' answers in {tmp_path}"
    )
    assert not list(tmp_path.rglob("shard-*"))
    monkeypatch.undo()
    assert collect([RememberingRecipe()], two_parts(), folds=FOLDS, store=Store(tmp_path), seed=0).reused == 0


@pytest.mark.parametrize("maker", [pa.table, pd.DataFrame, pl.DataFrame])
def test_dataset_hash_sees_every_value(maker: Any) -> None:
    base = dataset_of_ids(np.arange(12), maker=maker)
    assert hash_dataset(base) == hash_dataset(dataset_of_ids(np.arange(12), maker=maker))
    other = np.arange(12)
    other[11] = 99
    assert hash_dataset(base) != hash_dataset(dataset_of_ids(other, maker=maker))
    assert hash_dataset(base) != hash_dataset(dataset_of_ids(np.arange(12), labelled=False, maker=maker))
    backwards = dataset_of_ids(np.arange(12)[::-1].copy(), maker=maker)
    assert hash_dataset(base) == hash_dataset(backwards.take(np.arange(12)[::-1]))


def test_dataset_hash_of_mixed_objects() -> None:
    mixed = Dataset(
        nw.from_native(pd.DataFrame({"x": pd.Series([1, "a", None], dtype=object)}), eager_only=True),
        BINARY,
        Schema((Column("x", "categorical"),)),
    )
    assert hash_dataset(mixed) == hash_dataset(mixed)
    assert hash_dataset(mixed) != hash_dataset(mixed.take(np.array([0, 1])))


@dataclass
class KeepingRecipe(RememberingRecipe):
    """What it makes has an encoder to keep."""

    keeps_encoder: bool = True

    def fit(self, dataset: Dataset, *, seed: int) -> Any:
        fitted = super().fit(dataset, seed=seed)
        fitted.write_encoder = lambda path: path.write_bytes(b"weights")
        return fitted


def test_an_encoder_is_kept_in_the_store_and_found_again(tmp_path: Path) -> None:
    store = Store(tmp_path)
    first = collect([KeepingRecipe()], two_parts(), folds=FOLDS, store=store, seed=0)
    assert first.encoder is not None
    assert first.encoder.read_bytes() == b"weights"
    again = KeepingRecipe()
    second = collect([again], two_parts(), folds=FOLDS, store=store, seed=0)
    assert not again.fits
    assert second.encoder == first.encoder
    first.encoder.unlink()
    mended = collect([again], two_parts(), folds=FOLDS, store=store, seed=0)
    assert mended.encoder is not None
    assert mended.encoder.read_bytes() == b"weights"
    assert collect([RememberingRecipe()], two_parts(), folds=FOLDS, store=store, seed=1).encoder is None
