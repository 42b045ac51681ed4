"""The search: what it tries, how it keeps a budget and a time, whom it chooses."""

from __future__ import annotations

import math
import time
from dataclasses import replace
from typing import Any, ClassVar

import msgspec
import numpy as np
import pytest

from potstill.objectives import KD
from potstill.students import GBDT, MLP
from potstill.training.candidates import Assessment, Candidate, choose, excess, pareto, under
from potstill.training.examples import LABELS_ONLY, Targets
from potstill.training.lesson import Fit, Lesson, Trial
from potstill.training.pace import Pace, expected_s
from potstill.training.search import SMOOTHINGS, Search
from potstill.types import Budget, Examples, FittedStudent, Floats, Latency, Tensors

TREES = GBDT(rounds=15, leaves=8, min_data_in_leaf=5)
KINDS = [Targets(hard_label_weight=0.5, real="in_sample"), Targets(hard_label_weight=0.0, real="in_sample")]


class Constant(msgspec.Struct, frozen=True):
    """A family that answers the class prior; its dial changes nothing but what `assess` weighs."""

    name: ClassVar[str] = "constant"
    keeps_monotone: ClassVar[bool] = False
    larger: ClassVar[tuple[float, ...]] = (2.0, 4.0)
    kin: ClassVar[str] = "constants"
    climbs: ClassVar[int] = 1
    size: float = 1.0

    def resized(self, size: float) -> Constant:
        return msgspec.structs.replace(self, size=size)

    def variants(self) -> tuple[Constant, ...]:
        return ()

    def fit(
        self, train: Examples, valid: Examples | None, *, time_limit_s: float | None, **_: Any
    ) -> tuple[FittedStudent, int]:
        if time_limit_s is not None:
            time.sleep(0.05)
        share = float(np.average(train.labels[train.labels >= 0]))
        return FittedConstant(self.size, math.log(share / (1 - share))), 1


class FittedConstant(msgspec.Struct, frozen=True):
    size: float
    score: float

    @property
    def n_parameters(self) -> int:
        return 1

    def logits(self, tensors: Tensors) -> Floats:
        return np.tile(np.array([0.0, self.score], dtype=np.float32), (len(tensors["numeric"]), 1))

    def build(self, *_: Any) -> str:
        raise NotImplementedError


def weighed(fitted: FittedStudent, loss: float = 0.5) -> Assessment:
    """A student of the constant family weighs 100 kB at size 1; the larger, the better, and the slower."""
    size = fitted.size if isinstance(fitted, FittedConstant) else fitted.n_parameters / 100
    return Assessment(loss / (1 + size), 1.0, round(100_000 * size), Latency(p50=50 * size, p99=100 * size))


def search(lesson: Lesson, budget: Budget, **more: Any) -> Search:
    return Search(lesson, assess=weighed, budget=budget, objectives=[KD()], **more)


def candidate(loss: float, *, size: int = 1000, p50: float = 10.0, targets: Targets = KINDS[0]) -> Candidate:
    trial = Trial(Constant(), targets, KD())
    assessment = Assessment(loss, 1.0, size, Latency(p50=p50, p99=2 * p50))
    return Candidate(trial, FittedConstant(1.0, 0.0), 1, 1.0, assessment, 0.5)


def test_a_student_too_large_for_the_budget_is_shrunk_to_it(lesson: Lesson) -> None:
    budget = Budget(size_kb=10)
    found = search(lesson, budget).run([Constant()], KINDS)
    assert found.student.fits_budget
    assert found.twin.fits_budget
    # Snug: most of what is allowed is used.
    assert 8_000 < found.student.assessment.size_bytes <= 10_000


def test_without_a_budget_larger_is_tried_too(lesson: Lesson) -> None:
    found = search(lesson, Budget()).run([Constant()], KINDS)
    assert found.student.student.size == 8.0
    assert min(one.student.size for one in found.candidates) < 0.3


def test_both_sides_get_every_family_at_the_same_sizes(lesson: Lesson) -> None:
    found = search(lesson, Budget(latency_ms=0.05)).run([Constant(), TREES], KINDS)
    for name in ("constant", "gbdt"):
        sizes = [
            {one.student.size for one in found.candidates if one.student.name == name and one.is_twin == twin}
            for twin in (True, False)
        ]
        assert sizes[0] & sizes[1], name


def test_a_part_that_was_named_is_taken_as_it_is(lesson: Lesson) -> None:
    found = search(lesson, Budget(size_kb=1)).run([TREES], KINDS, free_size=False)
    assert {one.student for one in found.candidates} == {TREES}
    taught = [one.targets for one in found.candidates if one.role == "student"]
    assert taught[0] == KINDS[0]
    assert {one.hard_label_weight for one in taught} == {one.hard_label_weight for one in KINDS}
    assert len([one for one in found.candidates if one.role == "twin_smoothed"]) == len(SMOOTHINGS)
    assert not found.student.fits_budget


def test_a_time_limit_is_used_and_kept(lesson: Lesson) -> None:
    begin = time.monotonic()
    running = search(lesson, Budget(), limit_s=3.0)
    found = running.run([Constant()], KINDS)
    running.refit([found.student, found.twin])
    took = time.monotonic() - begin
    assert took < 4.5
    assert len(found.candidates) > 9


def test_a_kin_that_there_is_no_time_for_is_left_out(lesson: Lesson) -> None:
    class Late(Constant, frozen=True):
        kin: ClassVar[str] = "latecomers"

    slow = search(lesson, Budget(), limit_s=0.05)
    found = slow.run([Constant(), Late()], KINDS)
    assert {one.student.kin for one in found.candidates} == {"constants"}


def test_where_fits_are_heavy_student_and_twin_end_with_equally_long_ones(lesson: Lesson) -> None:
    found = search(replace(lesson, heavy=True), Budget(), limit_s=4.0, short_share=0.2).run(
        [Constant()], KINDS[:1]
    )
    long = [one for one in found.candidates if one.trial.long]
    assert [one.role for one in long] == ["student", "twin"]
    assert any(one.role == "twin_smoothed" for one in found.candidates)


def test_what_answers_slowly_learns_last_and_longest_though_its_short_fits_were_quick(lesson: Lesson) -> None:
    class Bag(Constant, frozen=True):
        kin: ClassVar[str] = "bags"

        def fit(self, *args: Any, **more: Any) -> tuple[FittedStudent, int]:
            time.sleep(0.1)
            return super().fit(*args, **more)

    found = search(replace(lesson, heavy=True), Budget(), limit_s=5.0, short_share=0.3).run(
        [Bag(), Constant(size=3.0)], KINDS[:1]
    )
    short = {one.student.kin: one.seconds for one in found.candidates if not one.trial.long}
    assert short["bags"] > short["constants"]
    long = [one.student.kin for one in found.candidates if one.trial.long]
    assert list(dict.fromkeys(long)) == ["bags", "constants"]


def test_what_answering_takes_after_the_search_is_kept(lesson: Lesson) -> None:
    """50 µs a row: 20,000 rows take a second; of more than there is time for, half of the time at most."""

    class Timed(Constant, frozen=True):
        def fit(self, *args: Any, time_limit_s: float | None, **more: Any) -> tuple[FittedStudent, int]:
            given.append(time_limit_s or 0.0)
            return super().fit(*args, time_limit_s=time_limit_s, **more)

    longest = []
    for rows in (0, 20_000, 10_000_000):
        given: list[float] = []
        running = search(
            replace(lesson, heavy=True), Budget(), limit_s=6.0, short_share=0.1, answers_after=rows
        )
        running.run([Timed()], KINDS[:1])
        longest.append(max(given))
    assert longest[0] - longest[1] > 0.3
    assert 0.35 < longest[2] / longest[0] < 0.65


def test_the_best_kin_may_have_no_twin_where_time_was_short(
    lesson: Lesson, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Better(Constant):
        name: ClassVar[str] = "better"
        kin: ClassVar[str] = "better"

    running = search(replace(lesson, heavy=True), Budget(), limit_s=3.0, short_share=0.2)
    attempt = running._trials.attempt

    def without_twin(trials: list[Trial], **more: Any) -> None:
        attempt([one for one in trials if one.student.kin != "better" or one.targets != LABELS_ONLY], **more)

    monkeypatch.setattr(running._trials, "attempt", without_twin)
    found = running.run([Constant(), Better(size=2.0)], KINDS)
    assert found.student.student.kin == "better"
    assert {one.student.kin for one in found.candidates if one.is_twin} == {"constants"}


def test_a_student_is_never_told_labels_alone(lesson: Lesson) -> None:
    """Whatever is changed at random under a time limit: that would be a twin that counts as distilled."""
    kinds = [msgspec.structs.replace(kind, synthetic=0.0, unlabeled=False) for kind in KINDS]
    running = search(lesson, Budget(), limit_s=3.0)
    running._trials.attempt([running._trials.twin_of(Constant()), Trial(Constant(), kinds[0], KD())])
    rng = np.random.default_rng(0)
    for _ in range(50):
        assert not running._changed("student", kinds, rng).targets.labels_only


def test_a_refit_has_the_effort_of_the_search(lesson: Lesson) -> None:
    running = search(lesson, Budget())
    found = running.run([TREES], KINDS, free_size=False)
    again = running.refit([found.student])[0]
    assert again.effort == found.student.effort
    assert again.assessment == found.student.assessment
    assert again.fitted is not found.student.fitted


def test_of_equals_the_twin_wins() -> None:
    twin, student = candidate(0.3, targets=LABELS_ONLY), candidate(0.3)
    assert choose([student, twin]).student is twin
    better = candidate(0.29)
    assert choose([twin, student, better]).student is better
    smoothed = candidate(0.2, targets=msgspec.structs.replace(LABELS_ONLY, smoothing=0.1))
    found = choose([twin, student, smoothed])
    assert found.student is smoothed
    assert found.twin_ships


def test_where_nothing_fits_the_closest_is_taken() -> None:
    small, large = candidate(0.5, size=2_000), candidate(0.1, size=9_000)
    twin = candidate(0.6, size=3_000, targets=LABELS_ONLY)
    found = choose(under(Budget(size_kb=1), [small, large, twin]))
    assert found.student.assessment.size_bytes == 2_000
    assert choose(under(Budget(size_kb=10), [small, large, twin])).student.assessment.size_bytes == 9_000


@pytest.mark.parametrize(
    ("budget", "share"),
    [
        (Budget(), 0.0),
        (Budget(size_kb=2), 0.5),
        (Budget(size_kb=2, latency_ms=0.01), 2.0),
        (Budget(memory_mb=1), 3.0),
    ],
)
def test_excess_is_the_worst_of_all_limits(budget: Budget, share: float) -> None:
    measured = Assessment(0.1, 1.0, 1_000, Latency(p50=10, p99=20), memory_bytes=3_000_000)
    assert excess(budget, measured) == pytest.approx(share)


def test_leaders_that_were_cut_short_are_fitted_again_where_that_is_cheap() -> None:
    twin, student = candidate(0.3, targets=LABELS_ONLY), candidate(0.2)
    short = [replace(one, seconds=2.0, cut_short=True) for one in (twin, student)]
    long = [replace(one, seconds=30.0, cut_short=True) for one in (twin, student)]
    whole = [replace(one, seconds=30.0) for one in (twin, student)]
    pace = Pace(40.0, 2)
    assert pace.refits(short)
    assert not pace.refits(long)
    assert pace.refits(whole)
    # What only others were cut short of does not matter, and heavy fits are never repeated.
    assert pace.refits([*whole, replace(long[0], assessment=replace(twin.assessment, loss=9.0))])
    assert not Pace(40.0, 2, refits=False).refits(short)


def test_front_has_who_is_best_at_something() -> None:
    best, quick, small, beaten = (
        candidate(0.1, size=9, p50=9),
        candidate(0.2, size=9, p50=1),
        candidate(0.3, size=1, p50=9),
        candidate(0.4, size=9, p50=9),
    )
    assert pareto([beaten, small, quick, best]) == (best, quick, small)


def test_a_fit_is_expected_to_take_what_its_like_took() -> None:
    tried = [candidate(0.3), candidate(0.2, targets=LABELS_ONLY)]
    larger = replace(tried[0].trial, student=Constant(size=3.0))
    assert expected_s(larger, tried) == pytest.approx(1.3 * 3.0)
    assert expected_s(Trial(TREES, KINDS[0], KD()), tried) == pytest.approx(1.3)
    assert expected_s(Trial(TREES, KINDS[0], KD()), []) == 0.0
    assert Pace(None, 2).limits_s([larger] * 3, tried) == [None] * 3
    assert Pace(100.0, 2).limits_s([larger], tried) == [pytest.approx(1.3 * 3.0)]
    unseen = Pace(100.0, 1).limits_s([Trial(TREES, KINDS[0], KD())], tried)
    assert 13 < (unseen[0] or 0) < 17
    assert Pace(100.0, 2).affordable([larger] * 3, tried) == [larger] * 3
    assert Pace(6.0, 1).affordable([larger] * 3, tried) == []


def test_bytes_are_saved_before_the_network_is_made_smaller(lesson: Lesson) -> None:
    network = MLP(hidden=(64, 64), epochs=2)

    def weighed_by_bytes(fitted: FittedStudent) -> Assessment:
        storage = getattr(fitted, "storage", "float16")
        each = {"float16": 2, "int8": 1}[storage]
        return Assessment(0.5, 1.0, each * fitted.n_parameters, Latency(p50=1.0, p99=2.0))

    def found(size_kb: float) -> MLP:
        running = Search(lesson, assess=weighed_by_bytes, budget=Budget(size_kb=size_kb), objectives=[KD()])
        best = running.run([network], KINDS).candidates[0].student
        assert isinstance(best, MLP)
        return best

    assert found(1_000).weights == "float16"
    needs_kb = (
        weighed_by_bytes(lesson.fit([Fit(Trial(network, LABELS_ONLY, KD()))])[0].student).size_bytes / 1e3
    )
    narrow = found(0.7 * needs_kb)
    assert (narrow.weights, narrow.size) == ("int8", 1.0)
    assert found(0.2 * needs_kb).size < 1.0
