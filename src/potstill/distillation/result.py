"""What `distill` gives back."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, final

import msgspec

from potstill.artifact import Card, Model, load
from potstill.distillation.frontier import FrontierPoint, save_frontier
from potstill.errors import UserError
from potstill.files import write_whole
from potstill.report import ReportFacts, save_report, verdict
from potstill.report.contenders import in_order
from potstill.training.candidates import Candidate, pareto
from potstill.types import Budget, Floats, Progress

ALWAYS = ("teacher", "best_member", "twin", "student")
"""Models with a key in `Result.to_dict` even where they were not measured."""


@final
class Result:
    """One small model, and the proof.

    Attributes
    ----------
    artifact : bytes
        The file, not yet written.
    card : Card
        The artifact's account of itself.
    facts : ReportFacts or None
        All that was measured on the test rows; None where none were held out.
    answers : dict
        ``teacher``, ``best_member``, ``twin`` and ``student`` to what they say of the test rows: ``(n, K)``
        probabilities, columns as ``card.task.classes``, or values ``(n, 1)``; fewer where one cannot answer.
    candidates : tuple of Candidate
        Every student and twin that was fitted, exported and measured.
    rows : dict
        Number of rows in each part.
    seconds : dict
        Wall-clock seconds of each stage, and ``total``.
    pareto : tuple of Candidate
        Those of them that no other beats in loss, latency and size at once; `pick` ships another one.
    notes : tuple of str
        Sentences worth reading: rows left out, columns ignored, leaks.
    """

    def __init__(
        self,
        *,
        artifact: bytes,
        card: Card,
        facts: ReportFacts | None,
        answers: Mapping[str, Floats],
        candidates: tuple[Candidate, ...],
        rows: Mapping[str, int],
        seconds: Mapping[str, float],
        notes: tuple[str, ...],
        settled: Callable[[int | None, Budget | None], Result],
    ) -> None:
        self.artifact = artifact
        self.card = card
        self.facts = facts
        self.answers = dict(answers)
        self.candidates = candidates
        self.rows = dict(rows)
        self.seconds = dict(seconds)
        self.notes = notes
        self._settled = settled
        self._path: str | None = None

    @property
    def pareto(self) -> tuple[Candidate, ...]:
        """The candidates that no other beats in validation loss, latency and size at once."""
        return pareto(self.candidates)

    def pick(self, number: int) -> Result:
        """Another candidate, made ready to ship as the best one was.

        It is fitted again with the held-out rows, calibrated, checked for parity and measured.

        Parameters
        ----------
        number
            Place of the candidate by validation loss, from 1, smallest first: the report gives it for those
            that are worth picking, the points of `pareto`.

        Raises
        ------
        UserError
            There is no such candidate.
        ParityFailed
            Its exported file does not answer as the trained student does.
        """
        return self._settled(number, None)

    def within(self, budget: Budget) -> Result:
        """The result for another budget, out of what this run has tried; all is refitted and measured.

        Where the budget limits memory and the run's did not, every candidate's is measured now: a matter of
        a second each. They stay in the operator set they were searched in.

        Raises
        ------
        UserError
            It allows fewer columns than the candidates see, or only an older operator set.
        """
        return self._settled(None, budget)

    def frontier(self, folder: str | Path, *, progress: Progress | None = None) -> tuple[FrontierPoint, ...]:
        """Write every Pareto point as an artifact; see `save_frontier`.

        Raises
        ------
        UserError
            The folder holds something else, or cannot be written to.
        """
        return save_frontier(self, folder, progress=progress)

    @property
    def model(self) -> Model:
        """The artifact, opened."""
        return load(self.artifact)

    def save(self, path: str | Path) -> None:
        """Write the artifact.

        Raises
        ------
        UserError
            It cannot be written; what was there before is then still there.
        """
        write_whole(self.artifact, path)
        self._path = str(path)

    def report(self, path: str | Path) -> None:
        """Write the report, one self-contained HTML page.

        Raises
        ------
        UserError
            It cannot be written, or no test rows were held out to report on.
        """
        save_report(self._measured(), path)

    def summary(self) -> str:
        """The verdict in words.

        Raises
        ------
        UserError
            No test rows were held out.
        """
        return verdict(self._measured())

    def to_dict(self) -> dict[str, Any]:
        """Everything measured as plain values; see docs/json.md for the keys."""
        facts = self.facts
        models: dict[str, Any] = {}
        if facts:
            models = {name: _model(facts, name) for name in in_order([*ALWAYS, *facts.measured()])}
        gaps = facts.evidence.gap_recovered if facts else {}
        return {
            "task": self.card.task.kind,
            "target": self.card.task.target,
            "rows": self.rows,
            "seconds": {stage: round(taken, 3) for stage, taken in self.seconds.items()},
            **models,
            "gap_recovered": {metric: msgspec.to_builtins(gap) for metric, gap in gaps.items()},
            "advantages": msgspec.to_builtins(facts.evidence.advantages) if facts else {},
            "agreement": facts.evidence.agreement if facts else {},
            "shipped": self.card.shipped,
            "family": self.card.lineage.student,
            "verdict": verdict(facts) if facts else None,
            "candidates": msgspec.to_builtins(facts.candidates) if facts else [],
            "artifact": self._path,
            "content_hash": self.card.content_hash,
            "notes": list(self.notes),
        }

    def _measured(self) -> ReportFacts:
        if self.facts is None:
            raise UserError(
                "There are no scores to report: no test rows were held out.",
                hint="Give a test set, or a test_fraction above 0.",
            )
        return self.facts


def _model(facts: ReportFacts, name: str) -> dict[str, Any] | None:
    scores, measured = facts.evidence.scores.get(name), facts.models.get(name)
    if scores is None and measured is None:
        return None
    latency = measured.latency if measured else None
    return {
        **(scores or {}),
        "size_bytes": measured.size_bytes if measured else None,
        "latency_us": {"p50": latency.p50, "p99": latency.p99} if latency else None,
        "rows_per_s": measured.rows_per_s if measured else None,
        "label": measured.label if measured else "",
    }
