"""Members side by side in processes of their own: the same answers, the same rules as one after the other."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import msgspec
import narwhals as nw
import numpy as np
import pytest
from sklearn.datasets import load_breast_cancer

from potstill.errors import UserError
from potstill.modalities import TabularEncoder
from potstill.teachers.zoo import default_members
from potstill.transfer import Collected, Store, collect
from potstill.transfer.crew import Hours, interrupts_held
from potstill.types import Column, Dataset, Schema, Task, Teacher, Trainable

FOLDS = np.arange(569) % 2


class Failing(msgspec.Struct, frozen=True):
    """A member that cannot be fitted."""

    name: str = "failing"

    @property
    def fingerprint(self) -> str:
        return f"failing {self.name}"

    def fit(self, dataset: Dataset, *, seed: int) -> Teacher:
        raise ValueError("no such luck")


class Endless(msgspec.Struct, frozen=True):
    """A member whose fit takes far too long."""

    name: str = "endless"
    fingerprint: str = "endless"

    def fit(self, dataset: Dataset, *, seed: int) -> Teacher:
        time.sleep(60)
        raise AssertionError("it was waited for")


class Told:
    def __init__(self) -> None:
        self.advanced = 0
        self.notes: list[str] = []

    def start(self, stage: str, total: int | None = None) -> None:
        return

    def advance(self, amount: int = 1, note: str = "") -> None:
        self.advanced += amount

    def note(self, message: str) -> None:
        self.notes.append(message)


@pytest.fixture(scope="module")
def cancer() -> Dataset:
    X, y = load_breast_cancer(return_X_y=True, as_frame=True)
    columns = tuple(Column(name, "numeric") for name in X.columns)
    return Dataset(
        nw.from_native(X, eager_only=True), Task("binary", "y", (0, 1)), Schema(columns), y.to_numpy()
    )


@pytest.fixture(scope="module")
def members(cancer: Dataset) -> list[Trainable]:
    spec = TabularEncoder.fit(cancer).spec
    zoo = default_members(cancer.task, n_rows=569, spec=spec, time_s=1, folds=2, threads=2)
    chosen = [member for member in zoo if not member.name.startswith("network")]
    assert len(chosen) == 3
    return chosen


def asked(members: list[Any], cancer: Dataset, root: Path, **more: Any) -> Collected:
    return collect(members, {"train": cancer}, folds=FOLDS, store=Store(root), seed=0, **more)


def test_answers_are_those_of_one_after_the_other(
    members: list[Trainable], cancer: Dataset, tmp_path: Path
) -> None:
    told = Told()
    together = asked(members, cancer, tmp_path / "a", workers=2, progress=told)
    alone = asked(members, cancer, tmp_path / "b")
    assert together.members == alone.members
    np.testing.assert_array_equal(together.answers["train"], alone.answers["train"])
    np.testing.assert_array_equal(together.out_of_fold, alone.out_of_fold)
    assert together.fingerprint == alone.fingerprint
    assert (together.reused, told.advanced) == (0, 6)


def test_what_is_there_is_reused_and_said(members: list[Trainable], cancer: Dataset, tmp_path: Path) -> None:
    asked(members[:2], cancer, tmp_path)
    again = asked(members, cancer, tmp_path, workers=2)
    assert again.reused == 2
    assert again.notes == ("reused the soft targets of 2 members, computed earlier",)


def test_a_failing_member_is_left_out_and_named(
    members: list[Trainable], cancer: Dataset, tmp_path: Path
) -> None:
    told = Told()
    collected = asked([members[0], Failing()], cancer, tmp_path, workers=2, progress=told)
    assert collected.members == (members[0].name,)
    assert collected.notes == ("left out the member failing: it failed: ValueError: no such luck",)
    assert told.advanced == 4


def test_all_failing_is_an_error_in_a_sentence(cancer: Dataset, tmp_path: Path) -> None:
    with pytest.raises(UserError) as raised:
        asked([Failing("one"), Failing("two")], cancer, tmp_path, workers=2)
    assert raised.value.message == "Each of the 2 teachers failed; the first said: ValueError: no such luck"


def test_time_is_kept_and_a_second_run_chooses_the_same(
    members: list[Trainable], cancer: Dataset, tmp_path: Path
) -> None:
    first = asked(members, cancer, tmp_path, workers=2, time_limit_s=1e-3)
    assert 1 <= len(first.members) < 3
    assert all("was used up" in note for note in first.notes)
    second = asked(members, cancer, tmp_path, workers=2, time_limit_s=1e-3)
    assert second.members == first.members


def test_hours_count_the_clock_and_what_was_there_before() -> None:
    hours = Hours(limit_s=10.0, workers=2, begun_s=time.perf_counter() - 3.0)
    assert hours.affords_another()
    assert hours.patience_s() is None
    hours.took_s.append(6.0)
    assert hours.affords_another()
    assert hours.patience_s() == pytest.approx(7.5, abs=0.1)
    hours.stored_s = 10.0
    assert not hours.affords_another()


def test_a_member_that_does_not_end_in_time_is_given_up(
    members: list[Trainable], cancer: Dataset, tmp_path: Path
) -> None:
    begin = time.perf_counter()
    collected = asked([members[0], Endless()], cancer, tmp_path, workers=2, time_limit_s=8.0)
    assert collected.members == (members[0].name,)
    assert collected.notes == ("left out the member endless: the time for teachers (8 s) was used up",)
    assert time.perf_counter() - begin < 50


@pytest.mark.skipif(os.name != "posix", reason="only there are signals held back")
def test_workers_begun_inside_do_not_see_ctrl_c() -> None:
    deaf = "import os, signal; os.kill(os.getpid(), signal.SIGINT); print('still here')"
    before = signal.pthread_sigmask(signal.SIG_BLOCK, [])
    with interrupts_held():
        said = subprocess.run([sys.executable, "-c", deaf], capture_output=True, text=True, check=True)
    assert said.stdout == "still here\n"
    assert signal.pthread_sigmask(signal.SIG_BLOCK, []) == before
