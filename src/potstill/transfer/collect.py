"""Teachers' answers for every part of the data: the verb `collect`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import median

import numpy as np

from potstill.errors import StoreError, UserError
from potstill.transfer.crew import Shift, compute_ahead, said
from potstill.transfer.fingerprint import digest, hash_dataset
from potstill.transfer.member import Member, MemberCost, Plan
from potstill.transfer.store import Job, Store
from potstill.types import (
    Bools,
    Dataset,
    Doubles,
    Floats,
    Ints,
    Latency,
    Progress,
    Silent,
    Teacher,
    Trainable,
)

IN_MEMORY_BYTES = 500_000_000
"""Arrays of answers above this size are mapped files."""


@dataclass(frozen=True)
class Collected:
    """What the members answered.

    Parameters
    ----------
    members
        Names of the M members that answered everything, in the order given.
    answers
        Part to ``(M, n, K)`` float32: each member whole, that is the mean of its fold models. For ``train``
        these are the in-sample answers.
    out_of_fold
        ``(M, n_train, K)`` float32: for each training row the answer of the model that was fitted without it;
        the whole member's answer where there is none.
    out_of_fold_mask
        ``(n_train,)`` whether every member was asked by a model fitted without the row.
    folds
        ``(n_train,)`` fold of each training row.
    costs
        What each member took and takes.
    reused
        How many members' answers were all computed earlier.
    left_out
        A sentence for each member that was left out.
    notes
        What happened that a reader should know: members left out and why, answers reused.
    fingerprint
        Hex digest of all these answers' origin: data, folds, members and seeds.
    encoder
        File in the store of a member's fine-tuned encoder; None where none keeps one.
    """

    members: tuple[str, ...]
    answers: Mapping[str, Floats]
    out_of_fold: Floats
    out_of_fold_mask: Bools
    folds: Ints
    costs: tuple[MemberCost, ...]
    reused: int
    left_out: tuple[str, ...]
    notes: tuple[str, ...]
    fingerprint: str
    encoder: Path | None = None

    @property
    def latency_us(self) -> tuple[Latency, ...]:
        """Of each member, one row through all its models."""
        return tuple(cost.latency for cost in self.costs)

    @property
    def fit_seconds(self) -> Doubles:
        """``(M,)`` wall-clock seconds."""
        return np.array([cost.fit_seconds for cost in self.costs])


def collect(
    members: Sequence[Teacher | Trainable],
    parts: Mapping[str, Dataset],
    *,
    folds: Ints,
    store: Store,
    seed: int,
    time_limit_s: float | None = None,
    chunk_rows: int = 65_536,
    workers: int = 1,
    progress: Progress | None = None,
) -> Collected:
    """Ask every member about every row, cross-fitting those that are not fitted yet.

    A trainable member is fitted once for each fold, on the rows of the other folds, with a seed of its own;
    its fold models together are the member. Each model's answers go to the store as soon as they are there
    and the model is let go, so memory does not grow with members, and a killed run is taken up where it
    stopped.

    Parameters
    ----------
    members
        Fitted teachers and trainables.
    parts
        ``train`` with labels, and any others (``valid``, ``test``, ``unlabeled``, ``synthetic``).
    folds
        ``(n_train,)`` fold of each training row.
    store
        Where answers are kept and looked for.
    seed
        From it, the member's fingerprint and the fold comes each fit's seed: other members do not matter.
    time_limit_s
        Seconds that fits and answers may take. Members are begun in the order given while the time, judged by
        the members before, suffices; at least one is completed. What stored answers took when they were made
        counts as well, so a second run makes the same choice as the first.
    chunk_rows
        Rows asked at a time.
    workers
        Trainable members at work side by side, each in its own process on one core. Those that are still at
        work when the time is over are given up.
    progress
        Told of each fold of each member.

    Raises
    ------
    UserError
        No member could answer; the training rows have no labels; the folds do not match them.
    StoreError
        The disk is full or cannot be written.
    """
    progress = progress or Silent()
    plan = _plan(parts, folds, seed=seed, chunk_rows=chunk_rows)
    queue = _members(members, plan)
    progress.start("asking the teachers", total=sum(len(member.models) for member in queue))
    gathering = _Gathering(plan, store, progress, n_members=len(queue), time_limit_s=time_limit_s)
    if workers > 1 and len(queue) > 1 and all(member.trainable for member in queue):
        _ahead(queue, gathering, store, workers=workers, time_limit_s=time_limit_s, progress=progress)
    for member in queue:
        gathering.visit(member)
    return gathering.result()


def _ahead(
    queue: Sequence[Member],
    gathering: _Gathering,
    store: Store,
    *,
    workers: int,
    time_limit_s: float | None,
    progress: Progress,
) -> None:
    """Let a crew complete the members; what it did not complete is left out, what it did is then there."""

    def told(member: Member) -> None:
        progress.advance(len(member.models), note=member.name)

    gathering.crewed(
        compute_ahead(queue, store, workers=workers, limit_s=time_limit_s, told=told, noted=progress.note)
    )


def _plan(parts: Mapping[str, Dataset], folds: Ints, *, seed: int, chunk_rows: int) -> Plan:
    train = parts["train"]
    if train.labels is None:
        raise UserError("Wanted labelled training rows to cross-fit on, got rows without labels.")
    if folds.shape != (len(train),):
        raise UserError(f"Wanted a fold for each of the {len(train)} training rows, got {folds.shape}.")
    filled = {name: rows for name, rows in parts.items() if len(rows)}
    hashes = {name: hash_dataset(rows) for name, rows in filled.items()}
    return Plan(filled, hashes, folds, seed, chunk_rows)


def _members(sources: Sequence[Teacher | Trainable], plan: Plan) -> list[Member]:
    members: list[Member] = []
    for source in sources:
        same_name = sum(other.source.name == source.name for other in members)
        twin = sum(other.source.fingerprint == source.fingerprint for other in members)
        name = source.name if same_name == 0 else f"{source.name} ({same_name + 1})"
        members.append(Member(source, name, twin, plan))
        if members[-1].trainable and len(plan.fold_ids) < 2:
            raise UserError(
                f"Wanted at least two folds to cross-fit {name!r}, got {len(plan.fold_ids)}.",
                hint="Give each training row one of two or more folds.",
            )
    if not members:
        raise UserError("Wanted at least one teacher, got none.")
    return members


class _Gathering:
    """The state of one `collect`: answers so far, time spent, notes."""

    def __init__(
        self, plan: Plan, store: Store, progress: Progress, *, n_members: int, time_limit_s: float | None
    ) -> None:
        self._plan = plan
        self._store = store
        self._progress = progress
        self._time_limit_s = time_limit_s
        self._n_asked = n_members
        self._spent_s = 0.0
        self._took_s: list[float] = []
        self._done: list[Member] = []
        self._keys: list[str] = []
        self._costs: list[MemberCost] = []
        self._failures: list[Exception] = []
        self._reused = 0
        self._steps_left = 0
        self._shift = Shift()
        self._notes: list[str] = []
        self._left_out: dict[str, list[str]] = {}
        self._encoder: Path | None = None
        n_outputs = plan.parts["train"].task.n_outputs
        room = {part: (n_members, len(rows), n_outputs) for part, rows in plan.parts.items()}
        self._answers = {part: self._room(shape) for part, shape in room.items()}
        self._out_of_fold = self._room(room["train"])
        self._excluded = np.ones(len(plan.folds), dtype=np.bool_)

    def _room(self, shape: tuple[int, ...]) -> Floats:
        return self._store.array(shape, in_memory_bytes=IN_MEMORY_BYTES)

    def crewed(self, shift: Shift) -> None:
        """A crew was at work: what it did not complete is left out, all else is in the store."""
        self._shift = shift
        self._failures += shift.failures
        self._time_limit_s = None

    def visit(self, member: Member) -> None:
        """Complete one member, or note why not."""
        self._steps_left = len(member.models)
        if member.name in self._shift.reasons:
            self._leave_out(member, self._shift.reasons[member.name])
            return
        expected = median(self._took_s) if self._took_s else 0.0
        if not self._affords(expected):
            self._leave_out(member, self._too_long())
            return
        with self._store.job(member.key, what=member.what, on_wait=self._progress.note) as job:
            try:
                reason = self._complete(member, job)
            except StoreError:
                raise
            except Exception as error:
                self._failures.append(error)
                reason = f"it failed: {said(error)}"
            if reason:
                self._leave_out(member, reason)
                return
            job.finish()
            self._take(member, job)

    def _complete(self, member: Member, job: Job) -> str:
        """Compute what the job lacks; returns why that was given up, or nothing."""
        begun_s = self._spent_s
        computed = False
        for position, model in enumerate(member.models):
            if not member.has(job, model):
                member.compute(job, model)
                computed = True
            if member.name not in self._shift.worked_on:
                self._progress.advance(1, note=member.name)
            self._steps_left -= 1
            self._spent_s += member.seconds(job, model)
            to_come = len(member.models) - position - 1
            if to_come and not self._affords((self._spent_s - begun_s) / (position + 1) * to_come):
                return self._too_long()
        self._took_s.append(self._spent_s - begun_s)
        self._reused += not computed and member.name not in self._shift.worked_on
        return ""

    def _affords(self, seconds: float) -> bool:
        if self._time_limit_s is None or not self._done:
            return True
        return self._spent_s + seconds <= self._time_limit_s

    def _too_long(self) -> str:
        return f"the time for teachers ({self._time_limit_s:.3g} s) would not have sufficed"

    def _leave_out(self, member: Member, reason: str) -> None:
        self._left_out.setdefault(reason, []).append(member.name)
        self._progress.note(_told_left_out(reason, [member.name]))
        if member.name not in self._shift.worked_on:
            self._progress.advance(self._steps_left)

    def _note(self, message: str) -> None:
        self._notes.append(message)
        self._progress.note(message)

    def _take(self, member: Member, job: Job) -> None:
        slot = len(self._done)
        for part, room in self._answers.items():
            member.read(job, part, room[slot])
        self._excluded &= member.read_out_of_fold(job, self._out_of_fold[slot])
        self._costs.append(member.cost(job))
        self._keys.append(member.key)
        self._encoder = self._encoder or member.encoder(job)
        self._done.append(member)

    def result(self) -> Collected:
        if not self._done:
            self._raise_failure()
        if self._reused:
            noun = "member" if self._reused == 1 else "members"
            self._note(f"reused the soft targets of {self._reused} {noun}, computed earlier")
        n = len(self._done)
        left_out = tuple(_told_left_out(reason, names) for reason, names in self._left_out.items())
        return Collected(
            members=tuple(member.name for member in self._done),
            answers={part: room[:n] for part, room in self._answers.items()},
            out_of_fold=self._out_of_fold[:n],
            out_of_fold_mask=self._excluded,
            folds=self._plan.folds,
            costs=tuple(self._costs),
            reused=self._reused,
            left_out=left_out,
            notes=(*left_out, *self._notes),
            fingerprint=digest(*self._keys, *sorted(self._plan.hashes.items())),
            encoder=self._encoder,
        )

    def _raise_failure(self) -> None:
        first = self._failures[0]
        if isinstance(first, UserError) and self._n_asked == 1:
            raise first
        which = "The only teacher" if self._n_asked == 1 else f"Each of the {self._n_asked} teachers"
        raise UserError(
            f"{which} failed; the first said: {said(first)}"
            if self._n_asked > 1
            else f"{which} failed: {said(first)}",
            hint="Fit and ask it by hand on these rows to see where.",
        ) from first


def _told_left_out(reason: str, names: Sequence[str]) -> str:
    noun = "member" if len(names) == 1 else "members"
    return f"left out the {noun} {', '.join(names)}: {reason}"
