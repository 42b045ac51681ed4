"""How long a search may take, and what a fit will probably cost."""

from __future__ import annotations

import math
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import final

from potstill.training.candidates import Candidate, order
from potstill.training.lesson import Trial

MARGIN = 1.3
"""A fit is expected to take so many times what its like took."""

SHARE = 0.15
"""Part of the time left that the fits of one step may take together."""

REFIT_SHARE = 0.25
"""Part of a search that fitting leaders again may take whose fits were cut short."""

LEAST_S = 0.5
"""Seconds every fit is given at least."""


@final
class Pace:
    """The clock of one search.

    Parameters
    ----------
    limit_s
        Seconds from now on until the refits must be done; None: as long as it takes, and no clock is read,
        so that a seed decides the result.
    workers
        Fits side by side.
    refits
        Whether time must be left to fit the leaders again.
    """

    def __init__(self, limit_s: float | None, workers: int, *, refits: bool = True) -> None:
        self._refits = refits
        self._end = math.inf if limit_s is None else time.monotonic() + limit_s
        self._whole_s = math.inf if limit_s is None else limit_s * workers
        self._workers = workers

    @contextmanager
    def sharing(self, share: float) -> Iterator[None]:
        """Inside, only so much of the time left is there."""
        whole = self._end
        if self.limited:
            now = time.monotonic()
            self._end = now + share * max(0.0, whole - now)
        try:
            yield
        finally:
            self._end = whole

    def put_aside(self, seconds: float) -> None:
        """Keep so many seconds for what comes after the search, but no more than half of what is left."""
        if self.limited:
            self._end -= min(seconds, max(0.0, (self._end - time.monotonic()) / 2))

    @property
    def limited(self) -> bool:
        return math.isfinite(self._end)

    def left_s(self, tried: Sequence[Candidate]) -> float:
        """Core-seconds left for more trials: what the refits of the leaders will take is set aside."""
        if not self.limited:
            return math.inf
        reserve = refit_s(tried) if self.refits(tried) else 0.0
        return max(0.0, (self._end - time.monotonic()) * self._workers - reserve)

    def refits(self, tried: Sequence[Candidate]) -> bool:
        """Whether the leaders are to be fitted again with the validation rows: all of them or none.

        Not where time has cut one short and doing so takes more than `REFIT_SHARE` of the search: there a
        longer fit is worth more than a tenth of rows more.
        """
        cut_short = any(one.cut_short for one in leaders(tried))
        return self._refits and (not cut_short or refit_s(tried) <= REFIT_SHARE * self._whole_s)

    def affordable(self, trials: Sequence[Trial], tried: Sequence[Candidate]) -> list[Trial]:
        """Those of ``trials`` that there is time for, the quick ones first; the first family is on trust."""
        left, taken = self.left_s(tried), []
        for trial in sorted(trials, key=lambda trial: expected_s(trial, tried)) if self.limited else trials:
            cost = expected_s(trial, tried)
            if cost > left:
                continue
            left -= cost
            taken.append(trial)
        return taken

    def rest_s(self, n_fits: int) -> float | None:
        """Seconds for each of ``n_fits`` until the end, on few cores in turn; None without a limit."""
        if not self.limited:
            return None
        return max(LEAST_S, (self._end - time.monotonic()) / max(1, math.ceil(n_fits / self._workers)))

    def limits_s(self, trials: Sequence[Trial], tried: Sequence[Candidate]) -> list[float | None]:
        """Seconds for each of ``trials``, None without a limit.

        What its like took, and some more; families never seen share `SHARE` of what is left.
        """
        if not self.limited:
            return [None] * len(trials)
        known = {(one.student.name, one.is_twin) for one in tried}
        new = [trial for trial in trials if (trial.student.name, trial.targets.labels_only) not in known]
        side_by_side = min(self._workers, max(1, len(new))) / self._workers
        share = max(LEAST_S, SHARE * self.left_s(tried) * side_by_side / max(1, len(new)))
        return [share if trial in new else max(LEAST_S, expected_s(trial, tried)) for trial in trials]


def leaders(tried: Sequence[Candidate]) -> list[Candidate]:
    """The best twin and the best student, where there are any."""
    sides = ([one for one in tried if one.is_twin == twin] for twin in (True, False))
    return [min(side, key=order) for side in sides if side]


def refit_s(tried: Sequence[Candidate]) -> float:
    """Core-seconds that fitting the leaders again will take."""
    return MARGIN * sum(one.seconds for one in leaders(tried))


def expected_s(trial: Trial, tried: Sequence[Candidate]) -> float:
    """Seconds ``trial`` will take, by the fits most like it, if there are any of its family; 0 before all."""
    alike = [
        one
        for one in tried
        if one.student.name == trial.student.name and one.is_twin == trial.targets.labels_only
    ]
    if not alike:
        same_side = [one.seconds for one in tried if one.is_twin == trial.targets.labels_only]
        return MARGIN * max(same_side, default=0.0)
    changes = [trial.student.size / one.student.size for one in alike]
    nearest = min(abs(math.log(change)) for change in changes)
    like = [
        (one, change) for one, change in zip(alike, changes, strict=True) if abs(math.log(change)) <= nearest
    ]
    return MARGIN * max(one.seconds * max(1.0, change) for one, change in like)
