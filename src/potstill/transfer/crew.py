"""Members at work side by side, each in a process of its own, on one core.

Small models gain little from a second core and lose much where others want it too: threads that wait for each
other at every step stand still when one of them is not scheduled. Whole members side by side do not wait.
"""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, wait
from contextlib import contextmanager
from dataclasses import dataclass, field
from multiprocessing import resource_tracker
from pathlib import Path
from statistics import median

from joblib.externals.loky import ProcessPoolExecutor
from threadpoolctl import threadpool_limits

from potstill.errors import PotstillError, StoreError
from potstill.transfer.member import Member
from potstill.transfer.store import Store

_ONE_CORE = {f"{library}_NUM_THREADS": "1" for library in ("OMP", "OPENBLAS", "MKL")}


@dataclass
class Hours:
    """Core seconds a crew may spend, has spent, and is about to.

    Parameters
    ----------
    limit_s
        Core seconds of all members together; None for no limit.
    """

    limit_s: float | None
    spent_s: float = 0.0
    took_s: list[float] = field(default_factory=list)
    begun: dict[str, float] = field(default_factory=dict)

    def affords_another(self) -> bool:
        """Whether a member as long as those before fits in, those under way included."""
        if self.limit_s is None or not self.took_s:
            return True
        expected = median(self.took_s)
        now = time.perf_counter()
        under_way = sum(max(expected, now - begin) for begin in self.begun.values())
        return self.spent_s + under_way + expected <= self.limit_s

    def done(self, name: str, seconds: float) -> None:
        """Count a member that has ended."""
        self.begun.pop(name, None)
        self.spent_s += seconds
        self.took_s.append(seconds)


@dataclass
class Shift:
    """What came of a crew's work.

    Parameters
    ----------
    reasons
        Name of each member that is not complete to the reason why.
    worked_on
        Names of the members it completed or failed at; the others were complete before, or not begun.
    failures
        Errors of the members that failed.
    """

    reasons: dict[str, str] = field(default_factory=dict)
    worked_on: set[str] = field(default_factory=set)
    failures: list[Exception] = field(default_factory=list)

    def ended(self, name: str, failure: Exception | None) -> None:
        """Note how a member ended."""
        if isinstance(failure, StoreError):
            raise failure
        self.worked_on.add(name)
        self.reasons.pop(name)
        if failure is not None:
            self.reasons[name] = f"it failed: {said(failure)}"
            self.failures.append(failure)


def compute_ahead(
    members: Sequence[Member],
    store: Store,
    *,
    workers: int,
    limit_s: float | None,
    told: Callable[[Member], None],
) -> Shift:
    """Complete members in ``workers`` processes, begun in the order given while the time suffices.

    Parameters
    ----------
    members
        Trainable, with distinct names.
    store
        Where answers are kept; members that are complete there take no time but count what they took.
    limit_s
        Core seconds of all members together; None for no limit. At least one member is completed.
    told
        Called with each member that has ended.

    Raises
    ------
    StoreError
        The disk is full or cannot be written.
    """
    hours = Hours(limit_s)
    by_name = {member.name: member for member in members}
    shift = Shift(
        reasons=dict.fromkeys(by_name, f"the time for teachers ({limit_s or 0:g} core seconds) was used up")
    )
    for member in members:
        seconds = _stored_seconds(member, store)
        if seconds is not None:
            hours.done(member.name, seconds)
            shift.reasons.pop(member.name)

    waiting = list(shift.reasons)
    at_work: dict[Future[tuple[str, float, Exception | None]], str] = {}
    # Its own executor: joblib's reusable one belongs to `joblib.Parallel`.
    executor = ProcessPoolExecutor(max_workers=workers, env=_ONE_CORE)
    try:
        while True:
            while waiting and len(at_work) < workers and hours.affords_another():
                name = waiting.pop(0)
                hours.begun[name] = time.perf_counter()
                with interrupts_held():
                    at_work[executor.submit(_complete, by_name[name], store.root)] = name
            if not at_work:
                break
            for future in wait(at_work, return_when=FIRST_COMPLETED).done:
                name, seconds, failure = future.result()
                del at_work[future]
                hours.done(name, seconds)
                shift.ended(name, failure)
                told(by_name[name])
    except BaseException:
        executor.shutdown(kill_workers=True)
        raise
    executor.shutdown()
    return shift


@contextmanager
def interrupts_held() -> Iterator[None]:
    """Processes begun inside never see a terminal's Ctrl-C, which goes to all: who began them ends them.

    Otherwise a worker that is interrupted before it works prints a traceback of its own.
    """
    if os.name != "posix":
        yield
        return
    resource_tracker.ensure_running()  # begun with the first worker, it would let the signals through again
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def said(failure: Exception) -> str:
    """An error in a few words."""
    return failure.message if isinstance(failure, PotstillError) else f"{type(failure).__name__}: {failure}"


def _stored_seconds(member: Member, store: Store) -> float | None:
    """What a member took whose answers are all there; None for any other."""
    with store.job(member.key, what=member.what) as job:
        if all(member.has(job, model) for model in member.models):
            return sum(member.seconds(job, model) for model in member.models)
    return None


def _complete(member: Member, root: Path) -> tuple[str, float, Exception | None]:
    """In a worker: fit what lacks. An error is an answer, so that one member does not end the others."""
    seconds = 0.0
    try:
        with threadpool_limits(limits=1), Store(root).job(member.key, what=member.what) as job:
            for model in member.models:
                if not member.has(job, model):
                    member.compute(job, model)
                seconds += member.seconds(job, model)
            job.finish()
    except Exception as error:
        return member.name, seconds, error
    return member.name, seconds, None
