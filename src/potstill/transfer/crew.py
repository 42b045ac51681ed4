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
from math import inf
from multiprocessing import resource_tracker
from pathlib import Path
from statistics import median

from joblib.externals.loky import ProcessPoolExecutor
from threadpoolctl import threadpool_limits

from potstill.errors import PotstillError, StoreError
from potstill.transfer.member import Member
from potstill.transfer.store import Store

_ONE_CORE = {f"{library}_NUM_THREADS": "1" for library in ("OMP", "OPENBLAS", "MKL")}

_GRACE = 0.05
"""Share of the time that members under way may take beyond it."""


@dataclass
class Hours:
    """Seconds by the clock that a crew may take, and has taken.

    Parameters
    ----------
    limit_s
        For all members together; None for no limit.
    workers
        Members at work side by side.
    stored_s
        What those answers took, on one core, that were there before.
    took_s
        What each completed member took, on one core.
    begun_s
        Reading of the clock at the beginning.
    """

    limit_s: float | None
    workers: int
    stored_s: float = 0.0
    took_s: list[float] = field(default_factory=list)
    begun_s: float = field(default_factory=time.perf_counter)

    def left_s(self) -> float:
        """Until the limit; infinite without one."""
        if self.limit_s is None:
            return inf
        return self.limit_s - (time.perf_counter() - self.begun_s) - self.stored_s / self.workers

    def affords_another(self) -> bool:
        """Whether a member half as long as those before would end in time: if it does not, it is given up."""
        return not self.took_s or 0.5 * median(self.took_s) <= self.left_s()

    def patience_s(self) -> float | None:
        """How long to wait for members under way before they are given up; None for as long as it takes."""
        if self.limit_s is None or not self.took_s:
            return None
        return max(0.0, self.left_s() + _GRACE * self.limit_s)


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
    noted: Callable[[str], None] = lambda _: None,
) -> Shift:
    """Complete members in ``workers`` processes, begun in the order given while the time suffices.

    Parameters
    ----------
    members
        Trainable, with distinct names.
    store
        Where answers are kept; members that are complete there take no time but count what they took.
    limit_s
        Seconds by the clock for all members together; None for no limit. At least one member is completed;
        those under way when it is over are given up.
    told
        Called with each member that has ended.
    noted
        Called with a sentence on what is waited for.

    Raises
    ------
    StoreError
        The disk is full or cannot be written.
    """
    hours = Hours(limit_s, workers)
    by_name = {member.name: member for member in members}
    shift = Shift(reasons=dict.fromkeys(by_name, f"the time for teachers ({limit_s or 0:.3g} s) was used up"))
    for member in members:
        if store.in_use(member.key):  # left to a worker, which the time limit can end
            noted(f"Another process is at work on {member.what}; this one waits for it.")
            continue
        seconds, complete = _stored_seconds(member, store)
        hours.stored_s += seconds
        if complete:
            hours.took_s.append(seconds)
            shift.reasons.pop(member.name)

    waiting = list(shift.reasons)
    at_work: dict[Future[tuple[str, float, Exception | None]], str] = {}
    # Its own executor: joblib's reusable one belongs to `joblib.Parallel`.
    executor = ProcessPoolExecutor(max_workers=workers, env=_ONE_CORE)
    try:
        while True:
            while waiting and len(at_work) < workers and hours.affords_another():
                name = waiting.pop(0)
                with interrupts_held():
                    at_work[executor.submit(_complete, by_name[name], store.root)] = name
            if not at_work:
                break
            ended = wait(at_work, timeout=hours.patience_s(), return_when=FIRST_COMPLETED).done
            if not ended:
                break
            for future in ended:
                name, seconds, failure = future.result()
                del at_work[future]
                hours.took_s.append(seconds)
                shift.ended(name, failure)
                told(by_name[name])
    except BaseException:
        executor.shutdown(kill_workers=True)
        raise
    executor.shutdown(kill_workers=bool(at_work))
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


def _stored_seconds(member: Member, store: Store) -> tuple[float, bool]:
    """What those of a member's models took whose answers are there, and whether these are all."""
    with store.job(member.key, what=member.what) as job:
        there = [model for model in member.models if member.has(job, model)]
        return sum(member.seconds(job, model) for model in there), len(there) == len(member.models)


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
