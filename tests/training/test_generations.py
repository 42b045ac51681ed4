"""The next generation: who answers for it, what it is told, and that it is brought up."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from potstill.objectives import KD, MSE
from potstill.students import GBDT
from potstill.training.candidates import Assessment, Candidate
from potstill.training.examples import LABELS_ONLY, Targets, make_examples
from potstill.training.generations import Generation, next_generation
from potstill.training.lesson import Fit, Lesson, Trial
from potstill.training.search import GENERATIONS, Search
from potstill.types import Budget, FittedStudent, Floats, Latency, SoftTargets, Task

SMALL = GBDT(rounds=30, leaves=4, min_data_in_leaf=5)
KINDS = [
    Targets(hard_label_weight=0.5, real="in_sample", synthetic=0.0),
    Targets(hard_label_weight=1.0, real="in_sample", synthetic=0.0),
]


def log_loss(probs: Floats, labels: Floats) -> float:
    return float(-np.log(np.clip(probs[np.arange(len(labels)), labels.astype(int)], 1e-12, 1)).mean())


def candidates(lesson: Lesson) -> list[Candidate]:
    """Trees of several sizes that learned the labels, each with its loss on the validation rows."""
    objective = KD() if lesson.task.is_classification else MSE()
    trials = [Trial(SMALL.resized(size), LABELS_ONLY, objective) for size in (0.3, 1.0, 3.0)]
    fitted = lesson.fit([Fit(trial) for trial in trials])
    cost = Latency(p50=1.0, p99=2.0)
    return [
        Candidate(trial, one.student, one.effort, 1.0, Assessment(loss, 1.0, 1_000, cost), 0.5)
        for loss, trial, one in zip((0.3, 0.2, 0.1), trials, fitted, strict=True)
    ]


def test_the_teacher_and_the_candidates_are_better_together(lesson: Lesson) -> None:
    made = next_generation(lesson, candidates(lesson))
    assert made is not None
    assert made.loss < made.teacher_loss
    together = made.transfer.soft_targets["held_out"].probs[0]
    np.testing.assert_allclose(together.sum(axis=1), 1.0, rtol=1e-5)
    teacher = lesson.transfer.soft_targets["held_out"].probs[0]
    assert log_loss(together, lesson.valid.labels) == pytest.approx(made.loss, rel=1e-5)
    assert log_loss(teacher, lesson.valid.labels) == pytest.approx(made.teacher_loss, rel=1e-5)
    assert made.transfer.rows is lesson.transfer.rows
    for origin, soft in made.transfer.soft_targets.items():
        assert len(soft) == len(lesson.transfer.rows[origin])


def test_on_few_rows_the_teacher_has_a_say_in_who_answers(lesson: Lesson) -> None:
    alone, together = (
        next_generation(each, candidates(lesson)) for each in (lesson, replace(lesson, trust=0.5))
    )
    assert alone is not None
    assert together is not None
    teacher = lesson.transfer.soft_targets["held_out"].probs[0]

    def disagreement(made: Generation) -> float:
        sure = np.log(made.transfer.soft_targets["held_out"].probs[0])
        return float(-(teacher * sure).sum(axis=1).mean())

    assert disagreement(together) < disagreement(alone)
    by_labels = log_loss(together.transfer.soft_targets["held_out"].probs[0], lesson.valid.labels)
    assert together.loss == pytest.approx(0.5 * by_labels + 0.5 * disagreement(together), rel=1e-5)


def test_where_the_teacher_is_best_alone_there_is_no_generation(lesson: Lesson) -> None:
    labels = lesson.valid.labels.astype(int)
    knowing = np.eye(2, dtype=np.float32)[labels] * np.float32(0.98) + np.float32(0.01)
    before = lesson.transfer.soft_targets["held_out"]
    soft = {**lesson.transfer.soft_targets, "held_out": replace(before, probs=knowing[None])}
    knows = replace(lesson, transfer=replace(lesson.transfer, soft_targets=soft))
    assert next_generation(knows, candidates(lesson)) is None


def test_a_teacher_that_does_not_know_the_validation_rows_has_no_generation(lesson: Lesson) -> None:
    soft = {o: each for o, each in lesson.transfer.soft_targets.items() if o != "held_out"}
    partial = replace(lesson, transfer=replace(lesson.transfer, soft_targets=soft))
    assert next_generation(partial, candidates(lesson)) is None


def of_values(lesson: Lesson) -> Lesson:
    """The same rows with values to predict, in a unit of their own, and a teacher that knows half of them."""
    scale = (50.0, 1_000.0)
    task = Task("regression", "y")
    rows, soft = {}, {}
    for origin, dataset in lesson.transfer.rows.items():
        values = lesson.tensors[origin]["numeric"][:, 0].astype(np.float64) * 10 + 900
        rows[origin] = replace(dataset, task=task, labels=None if dataset.labels is None else values)
        n = len(values)
        probs: Floats = (1_000 + 0.5 * (values - 1_000)).astype(np.float32)[None, :, None]
        nowhere = np.full(n, -1, dtype=np.int64)
        soft[origin] = SoftTargets(("half",), probs, np.ones(1), np.ones(n, dtype=np.bool_), nowhere)
    transfer = replace(lesson.transfer, rows=rows, soft_targets=soft, cross_fitted=soft["real"])
    valid = make_examples(
        transfer, lesson.tensors, LABELS_ONLY, temperature=1.0, origins=("held_out",), scale=scale
    )
    return replace(lesson, transfer=transfer, valid=valid, task=task, scale=scale)


def test_values_keep_their_unit(lesson: Lesson) -> None:
    values = of_values(lesson)
    made = next_generation(values, candidates(values))
    assert made is not None
    truth = values.transfer.rows["held_out"].labels
    assert truth is not None
    together = made.transfer.soft_targets["held_out"].probs[0, :, 0]
    assert np.abs(together - truth).mean() < 0.5 * np.abs(truth - 1_000).mean()


def loss_of(fitted: FittedStudent, lesson: Lesson) -> Assessment:
    logits = fitted.logits(lesson.valid.tensors)
    powers = np.exp(logits - logits.max(axis=1, keepdims=True))
    loss = log_loss(powers / powers.sum(axis=1, keepdims=True), lesson.valid.labels)
    return Assessment(loss, 1.0, 1_000, Latency(p50=1.0, p99=2.0))


def searched(lesson: Lesson, **more: Any) -> tuple[Candidate, ...]:
    search = Search(
        lesson,
        assess=lambda fitted: loss_of(fitted, lesson),
        budget=Budget(),
        objectives=[KD()],
        **more,
    )
    found = search.run([SMALL], KINDS)
    again = search.refit([found.student])[0]
    assert again.trial == found.student.trial
    return found.candidates


def test_where_time_is_up_nobody_is_asked(lesson: Lesson, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("potstill.training.search.next_generation", lambda *_: pytest.fail("asked"))
    assert {one.targets.generation for one in searched(lesson, limit_s=0.0)} == {0}


def test_generations_are_brought_up_and_told_by_labels_first(lesson: Lesson) -> None:
    tried = searched(lesson)
    later = [one for one in tried if one.targets.generation]
    assert later
    assert max(one.targets.generation for one in later) <= 1 + GENERATIONS
    assert later[0].targets.hard_label_weight == 1.0
    assert later[0].told.endswith("generation 1")
    assert {one.targets.real for one in later} == {"in_sample"}
    # Twins get as many fits as the students of a generation do.
    begin = tried.index(later[0])
    assert any(one.is_twin for one in tried[begin:])


def test_two_searches_without_a_time_limit_are_the_same(lesson: Lesson) -> None:
    first, second = searched(lesson), searched(lesson)
    assert [one.trial for one in first] == [one.trial for one in second]
    assert [one.assessment.loss for one in first] == [one.assessment.loss for one in second]
