"""The clock of a run: what its stages took, and what is left of its time."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import final

TEACHER_SHARE = 0.4
"""Part of a time limit that the teacher may take by default, data and synthetic rows before it included."""

LEAST_STUDENT_SHARE = 0.15
"""Part of a time limit that the student has in any case: on a busy machine, better late than useless."""

PROVING_S, PROVING_SHARE = 6.0, 0.06
"""Seconds, and part of a time limit, that are kept for exporting and measuring."""


@final
class Clock:
    """Wall-clock seconds of the stages, and of the limit.

    Parameters
    ----------
    limit_s
        Seconds the run may take from now on; None without a limit.
    spent
        Seconds of stages that are over.
    """

    def __init__(self, limit_s: float | None = None, spent: Mapping[str, float] | None = None) -> None:
        self.seconds = dict(spent or {})
        self._begin = time.monotonic()
        self._limit_s = limit_s

    def limit(self, limit_s: float | None) -> None:
        """Limit the run, from its beginning on, where nothing limits it yet."""
        if self._limit_s is None:
            self._limit_s = limit_s

    @contextmanager
    def stage(self, name: str) -> Iterator[None]:
        """Add the seconds of the block to the stage ``name``."""
        begin = time.perf_counter()
        try:
            yield
        finally:
            self.seconds[name] = self.seconds.get(name, 0.0) + time.perf_counter() - begin

    def teacher_s(self, share: float = TEACHER_SHARE) -> float | None:
        """Seconds from now on that the teacher may take, whose ``share`` of all is; None without a limit."""
        return None if self._limit_s is None else max(1.0, share * self._limit_s - self._gone())

    def student_s(self, share: float = PROVING_SHARE) -> float | None:
        """Seconds from now on that the search and the refits may take; None without a limit.

        ``share`` of the limit is kept for what comes after, and `PROVING_S` at least.
        """
        if self._limit_s is None:
            return None
        kept = max(PROVING_S, share * self._limit_s)
        return max(1.0, LEAST_STUDENT_SHARE * self._limit_s, self._limit_s - kept - self._gone())

    def _gone(self) -> float:
        return time.monotonic() - self._begin
