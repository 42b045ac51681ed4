"""The best student under a budget, and the best twin: same families, same sizes, the same time for each fit.

Students are fitted for other kinds of target and other temperatures too. A twin has neither: it is tried with
more settings and with smoothed labels instead, which need not come to as many fits.

The search narrows by stages, as successive halving does, but every candidate is fitted to the end. First each
kin's first family, at a size the budget allows, as a student and as a twin: kins far behind the best are left
at that. Of the others, kin by kin, the quick one first:

1. where time has cut these fits short, other kinds of target and other twins as short, then the best student
   and twin again for most of the time there is;
2. the student with the other kinds of target, the twin with other settings, then each with the other's;
3. both larger, then the other families of the kin;
4. the best of them with other settings, for quick families again and again while that helps;
5. and smaller, for the small end of the frontier.

Then the leaders of all: with other temperatures, at other sizes, the twin smoothed.

Before each kin and at the end, what was found so far may label the rows together with the teacher, if it
knows the validation rows better (`generations.py`): what comes after learns from that. At the end the leaders
do, again and again while that helps, and the twins are tried with other settings as often. Under a time limit
the leaders are changed at random until it is used up.

Where a fit takes minutes (pictures, texts) few are tried: `Search.run` then does `_run_few`, short fits to
choose by and then the leaders for as long as there is time.

Every candidate is exported and measured by the caller's `assess`; one that breaks the budget is shrunk until
it fits. All choices are made on validation rows.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from typing import final

import msgspec
import numpy as np

from potstill.training.candidates import Assessment, Candidate, Found, choose, order
from potstill.training.examples import LABELS_ONLY, Targets
from potstill.training.generations import kinds_of_generation, next_generation
from potstill.training.lesson import REFIT_ORIGINS, SEARCH_ORIGINS, Fit, Lesson, Trial
from potstill.training.pace import Pace
from potstill.training.sizing import SMALLEST_SIZE
from potstill.training.trials import SIDES, Side, Trials
from potstill.types import Budget, FittedStudent, Objective, Origin, Progress, Silent, Student

CLIMBS = 4
"""Times that the settings of one kin are changed at most."""

VARIANTS: dict[Side, int] = {"student": 2, "twin": 3}
"""Other settings tried for the best of each kin; a twin has no other targets to try, so it gets more."""

SMOOTHINGS = (0.03, 0.1)
"""Weights of the uniform distribution in the labels of smoothed twins."""

SIZES, SMALLER = (2.0, 0.5), (0.3, 0.09, 0.03)
"""Sizes tried beside their own: for the leaders, and for the small end of the frontier."""

GENERATIONS = 1
"""Generations brought up after all else at most, where no time limit decides."""

BETTER = 0.97
"""A generation is worth while if the loss of what it learns from is at most so many times the last one's."""

BROUGHT_UP = 2
"""Leaders that learn in each generation."""

LONG_SHARE = 0.75
"""Part of the time left that the long fits of a kin may take whose first ones were cut short."""

KIN_SHARE = 0.4
"""Part of the time left that a kin may take while others wait."""

LEAST_CHANGE = 0.15
"""Sizes closer than this, relatively, are not worth another fit."""

SHORT_SHARE = 0.4
"""Part of the time of a search of few fits in which they are short and many things are tried, by default."""

QUICK_SHARE = 0.15
"""Part of the time left that the long fits of a kin may take while a slower one waits."""

PUT_ASIDE = 0.05
"""Part of the time left that is kept for measuring what the long fits give."""

CHANGED = 3
"""Leaders of each side that a search under a time limit goes on changing."""


@final
class Search:
    """Runs the plan. One instance a run; `run` once.

    Parameters
    ----------
    lesson
        What every candidate learns from and is chosen by.
    assess
        Exports, times and scores a fitted student on the validation rows.
    budget
        What the artifact may cost.
    objectives
        Distillation losses: all students learn by the first, the leader by the others too. Twins use their
        labels only.
    limit_s
        Seconds for `run` and the refits after it; None for the plan alone, whatever it takes.
    short_share
        Where fits are heavy: part of the time in which they are short and many things are tried.
    answers_after
        Where fits are heavy: rows that will be answered after the search, one model after the other, in
        the time there is too.
    """

    def __init__(
        self,
        lesson: Lesson,
        *,
        assess: Callable[[FittedStudent], Assessment],
        budget: Budget,
        objectives: Sequence[Objective],
        limit_s: float | None = None,
        short_share: float = SHORT_SHARE,
        answers_after: int = 0,
        progress: Progress | None = None,
    ) -> None:
        self._objectives = objectives
        self._short_share = short_share
        self._answers_after = answers_after
        self._pace = Pace(limit_s, lesson.workers, refits=not lesson.heavy)
        self._progress = progress or Silent()
        self._trials = Trials(lesson, assess=assess, budget=budget, pace=self._pace, progress=self._progress)
        self._told: list[Targets] = []
        self._told_loss: float | None = None
        self._asking_s = 0.0

    def run(self, families: Sequence[Student], kinds: Sequence[Targets], *, free_size: bool = True) -> Found:
        """Search over ``families`` and ``kinds`` of target.

        Parameters
        ----------
        families
            Parts to try; each as a student and as a twin.
        kinds
            Kinds of target to try; every family gets the first, those near the best the others too.
        free_size
            Whether sizes and settings may be changed; False takes the parts as they are.
        """
        self._trials.resizes = free_size
        self._progress.start("searching the student")
        parts = [self._trials.fitting(family) for family in families] if free_size else list(families)
        kins = list(dict.fromkeys(part.kin for part in parts))
        if self._trials.lesson.heavy:
            self._run_few(parts, kins, kinds)
            return choose(self._trials.tried)
        self._run_plan(parts, kins, kinds)
        if free_size:
            self._go_on([*kinds, *self._told])
        return choose(self._trials.tried)

    def _run_plan(self, parts: Sequence[Student], kins: Sequence[str], kinds: Sequence[Targets]) -> None:
        """All stages but the last."""
        for kin in kins:
            first = next(part for part in parts if part.kin == kin)
            self._trials.attempt([self._trials.twin_of(first), Trial(first, kinds[0], self._objectives[0])])
        near = [kin for kin in kins if self._trials.near(kin)]
        for left, kin in zip(range(len(near), 0, -1), near, strict=True):
            self._renew(kinds)
            with self._pace.sharing(1.0 if left == 1 else KIN_SHARE):
                self._search_kin([part for part in parts if part.kin == kin], kinds)
        self._trials.attempt(
            [replace(self._trials.leader("student").trial, objective=other) for other in self._objectives[1:]]
        )
        if self._trials.resizes:
            self._trials.attempt(list(self._sizes(SIZES, self._trials.best())))
        if self._trials.lesson.task.is_classification:
            smoothed = [msgspec.structs.replace(LABELS_ONLY, smoothing=amount) for amount in SMOOTHINGS]
            self._trials.attempt(
                [replace(self._trials.leader("twin").trial, targets=each) for each in smoothed]
            )
        brought_up = 0
        while (self._pace.limited or brought_up < GENERATIONS) and self._renew(kinds):
            brought_up += 1
            self._bring_up()

    def _renew(self, kinds: Sequence[Targets]) -> bool:
        """Begin the next generation, with its ``kinds`` of target, if it has better answers to learn from.

        Not where there is less time left than asking for the last one's answers took, on one core.
        """
        lesson = self._trials.lesson
        if self._pace.left_s(self._trials.tried) <= lesson.workers * self._asking_s:
            return False
        begin = time.monotonic()
        made = next_generation(lesson, self._trials.tried)
        self._asking_s = time.monotonic() - begin
        if made is None:
            return False
        before = made.teacher_loss if self._told_loss is None else self._told_loss
        if made.loss > BETTER * before:
            return False
        self._told_loss = made.loss
        self._trials.lesson = replace(lesson, generations=(*lesson.generations, made.transfer))
        self._told = kinds_of_generation(len(self._trials.lesson.generations), kinds)
        return True

    def _bring_up(self) -> None:
        """The leaders learn what a generation is told; twins are fitted as often."""
        objective = self._objectives[0]
        parts = list(dict.fromkeys(one.student for one in sorted(self._trials.tried, key=order)))
        students = [Trial(parts[0], targets, objective) for targets in self._told]
        students += [Trial(part, self._told[0], objective) for part in parts[1:BROUGHT_UP]]
        twin = self._trials.leader("twin")
        twins = [*self._sizes((), [twin]), *self._variants([twin])] if self._trials.resizes else []
        twins = [trial for trial in twins if not self._trials.was_tried(trial)]
        for at in range(max(len(students), len(twins))):
            self._trials.attempt([*students[at : at + 1], *twins[at : at + 1]])

    def _run_few(self, parts: Sequence[Student], kins: Sequence[str], kinds: Sequence[Targets]) -> None:
        """Short fits of every family, of other targets and settings; then the best of each kin, long ones."""
        objective = self._objectives[0]
        with self._pace.sharing(self._short_share):
            for part in parts:
                told = kinds[0] if part.kin == parts[0].kin else self._trials.leader("student").targets
                self._trials.attempt([self._trials.twin_of(part), Trial(part, told, objective)])
            best = self._trials.leader("student").student.kin
            self._trials.attempt(list(self._other_targets(best, kinds)))
            if self._trials.lesson.task.is_classification:
                smoothed = msgspec.structs.replace(LABELS_ONLY, smoothing=SMOOTHINGS[-1])
                twins = self._trials.leaders("twin", best)[:1]  # there may have been no time for one
                self._trials.attempt([replace(one.trial, targets=smoothed) for one in twins])
            self._trials.attempt(
                [
                    replace(self._trials.leader("student", best).trial, objective=o)
                    for o in self._objectives[1:]
                ]
            )
            if self._trials.resizes:
                self._trials.attempt(list(self._variants(self._trials.best(best))))
        if self._pace.limited:
            self._go_long(kins)

    def _go_long(self, kins: Sequence[str]) -> None:
        """The best student and twin of each kin again, the quick kins first, in all the time that is left.

        Quick is what answers quickly: short fits say little of how long it takes to learn all there is, since
        the clock ends those of slow kins. The twin is one of labels alone, even where smoothed ones were
        better: the gap is measured against it.
        """

        def answers_in(kin: str) -> float:
            latencies = [one.assessment.latency_us.p50 for one in self._trials.best(kin)]
            return max(latencies, default=0.0)

        quickest = sorted(kins, key=answers_in)
        self._pace.put_aside(self._answers_after * answers_in(quickest[-1]) / 1e6)
        for at, kin in enumerate(quickest):
            leaders = [one for side in SIDES for one in self._trials.leaders(side, kin)]
            first = {one.role: one for one in reversed(leaders) if one.role in SIDES}
            trials = [replace(first[side].trial, long=True) for side in SIDES if side in first]
            with self._pace.sharing(1 - PUT_ASIDE if at + 1 == len(quickest) else QUICK_SHARE):
                limit_s = self._pace.rest_s(len(trials))
            fits = [Fit(trial, time_limit_s=limit_s) for trial in trials]
            self._trials.fit(fits)

    def _search_kin(self, parts: Sequence[Student], kinds: Sequence[Targets]) -> None:
        """Families of one kin, the first of which was tried as student and twin: the whole plan."""
        kin, objective = parts[0].kin, self._objectives[0]
        kinds = [*kinds, *self._told]
        if any(one.cut_short for one in self._trials.best(kin)):
            self._go_far(kin, kinds)
        near = self._trials.near(kin)
        others = list(self._other_targets(kin, kinds)) if any(not one.is_twin for one in near) else []
        variants = list(self._variants([one for one in near if one.is_twin])) if self._trials.resizes else []
        self._trials.attempt([*others, *variants])
        if len(self._trials.near(kin)) == len(SIDES):
            self._exchange(kin)
        if self._trials.resizes:
            self._trials.attempt(list(self._sizes((), self._trials.near(kin))))
        told = self._trials.leader("student", kin).targets
        # A few families at a time: under a time limit, what these leave over is for the next.
        for part in parts[1:]:
            self._trials.attempt([self._trials.twin_of(part), Trial(part, told, objective)])
        if self._trials.resizes:
            self._climb(kin, kinds)
            self._trials.attempt(list(self._sizes(SMALLER, self._trials.near(kin))))

    def _exchange(self, kin: str, *, limit_s: float | None = None) -> None:
        """The best student and the best twin, each with the settings of the other."""
        student, twin = (self._trials.leader(side, kin) for side in SIDES)
        if student.student != twin.student:
            told = replace(student.trial, student=twin.student)
            self._trials.attempt([told, self._trials.twin_of(student.student)], limit_s=limit_s)

    def _go_far(self, kin: str, kinds: Sequence[Targets]) -> None:
        """After fits that were cut short: labels and synthetic rows, by the teacher and by the generation,
        and twins of other settings, as short; then the best student and twin for most of the time there is.
        """
        student, twin = (self._trials.leader(side, kin) for side in SIDES)
        by_labels = [kind for kind in kinds if kind.hard_label_weight == 1.0][:2]
        others = list(self._variants([twin])) if self._trials.resizes else []
        for at, kind in enumerate(by_labels):
            self._trials.attempt(
                [replace(student.trial, targets=kind), *others[at : at + 1]], limit_s=student.seconds
            )
        self._exchange(kin, limit_s=student.seconds)
        student, twin = (self._trials.leader(side, kin) for side in SIDES)
        pair = [replace(student.trial, long=True)]
        # The same again would give a twin that was not cut short nothing.
        pair += [replace(twin.trial, long=True)] if twin.cut_short else others[len(by_labels) :][:1]
        with self._pace.sharing(LONG_SHARE):
            limit_s = self._pace.rest_s(len(pair))
        self._trials.attempt(pair, limit_s=limit_s)

    def _climb(self, kin: str, kinds: Sequence[Targets]) -> None:
        """Other settings of the best of ``kin``; where that is quick, of what is then best, and so on."""
        for step in range(CLIMBS):
            leaders = [one for one in self._trials.near(kin) if step < one.student.climbs]
            trials = list(self._variants(leaders))
            if step and any(not one.is_twin for one in leaders):
                trials += self._other_targets(kin, kinds)
            trials = [trial for trial in trials if not self._trials.was_tried(trial)]
            if not trials:
                break
            self._trials.attempt(trials)

    @property
    def final_origins(self) -> tuple[Origin, ...]:
        """The origins of the rows that what `refit` gives has learned from."""
        return REFIT_ORIGINS if self._refits else SEARCH_ORIGINS

    @property
    def _refits(self) -> bool:
        return self._pace.refits(self._trials.tried)

    def refit(self, candidates: Sequence[Candidate]) -> list[Candidate]:
        """The candidates fitted again with the held-out rows too, for as long as was best.

        Where fits are heavy, or the leaders' were cut short, all stay as they are.
        """
        if not self._refits:
            return list(candidates)
        fits = [Fit(one.trial, effort=one.effort) for one in candidates]
        return [
            replace(one, fitted=again.student, effort=again.effort, seconds=again.seconds)
            for one, again in zip(candidates, self._trials.lesson.fit(fits), strict=True)
        ]

    def _other_targets(self, kin: str, kinds: Sequence[Targets]) -> Iterator[Trial]:
        trial = self._trials.leader("student", kin).trial
        yield from (replace(trial, targets=kind) for kind in kinds if kind != trial.targets)

    def _variants(self, leaders: Sequence[Candidate]) -> Iterator[Trial]:
        for leader in leaders:
            most = VARIANTS["twin" if leader.is_twin else "student"]
            for part in leader.student.variants()[: None if leader.student.climbs > 1 else most]:
                yield replace(leader.trial, student=part)

    def _sizes(self, factors: Sequence[float], leaders: Sequence[Candidate]) -> Iterator[Trial]:
        """``leaders`` at other sizes, by default at their larger ones."""
        for leader in leaders:
            room = self._trials.sizing.room(leader.student, leader.assessment)
            for factor in factors or leader.student.larger:
                change = min(factor, room) if factor > 1 else factor
                size = leader.student.size * float(change)
                if abs(change - 1) > LEAST_CHANGE and size >= SMALLEST_SIZE:
                    part = leader.student.resized(size)
                    yield replace(leader.trial, student=part)

    def _go_on(self, kinds: Sequence[Targets]) -> None:
        """Change the leaders, a few at a time, until the time is used up."""
        rng = np.random.default_rng([self._trials.lesson.seed, 0x5EA])
        fruitless = 0
        while self._pace.limited and fruitless < 10:
            before = len(self._trials.tried)
            sides = [side for side in SIDES for _ in range(self._trials.lesson.workers)]
            self._trials.attempt([self._changed(side, kinds, rng) for side in sides])
            fruitless = 0 if len(self._trials.tried) > before else fruitless + 1

    def _changed(self, side: Side, kinds: Sequence[Targets], rng: np.random.Generator) -> Trial:
        """One of the leaders with its size, its settings or its targets changed."""
        leaders = self._trials.leaders(side)[:CHANGED]
        trial = leaders[rng.integers(len(leaders))].trial
        parts = [trial.student.resized(trial.student.size * factor) for factor in (0.7, 1.4)]
        changes = [replace(trial, student=part) for part in (*parts, *trial.student.variants())]
        if side == "student":
            weights = [min(max(trial.targets.hard_label_weight + step, 0.0), 1.0) for step in (-0.25, 0.25)]
            told = [msgspec.structs.replace(trial.targets, hard_label_weight=weight) for weight in weights]
            told = [targets for targets in (*told, *kinds) if not targets.labels_only]
            changes += [replace(trial, targets=targets) for targets in told]
            changes += [replace(trial, objective=objective) for objective in self._objectives]
        return changes[rng.integers(len(changes))]
