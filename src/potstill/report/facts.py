"""The facts a report tells: a tree of frozen structs that goes to JSON and back."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Literal

import msgspec

from potstill.errors import UserError
from potstill.evaluation.cost import PRICE_PER_CPU_HOUR, WATTS_PER_CORE
from potstill.evaluation.evidence import Evidence
from potstill.report.contenders import in_order
from potstill.types import Budget, Latency, Task


class ModelFacts(msgspec.Struct, frozen=True, omit_defaults=True):
    """What was measured of one model besides its answers; None where it was not.

    Parameters
    ----------
    label
        What it is, in a few words: ``12 members, weighted``.
    size_bytes
        Size on disk.
    latency
        One raw row, one thread.
    rows_per_s
        Throughput on a batch.
    cpu_seconds_per_row
        CPU seconds of all threads for one row of a batch: what the cost of a million stands on.
    """

    label: str = ""
    size_bytes: int | None = None
    latency: Latency | None = None
    rows_per_s: float | None = None
    cpu_seconds_per_row: float | None = None


class CandidateFacts(msgspec.Struct, frozen=True, omit_defaults=True):
    """One student the search looked at.

    Parameters
    ----------
    name
        Family and what sets it apart: ``mlp ×0.5``.
    loss
        Log-loss or RMSE on the validation rows (not the test rows); where these are few, the teacher's
        answers to them count beside their labels.
    size_bytes, latency
        Measured on the exported file; None where it was not exported.
    pareto
        No other candidate is better in loss and no worse in latency and size.
    chosen
        It is the one that was refitted and shipped.
    score
        Accuracy or R² on the test rows, where known; then it is also in the first picture.
    number
        Place by loss among all candidates, from 1: what ``--pick`` takes. None for those off the front.
    fits_budget
        It keeps the budget.
    """

    name: str
    loss: float
    size_bytes: int | None = None
    latency: Latency | None = None
    pareto: bool = False
    chosen: bool = False
    score: float | None = None
    number: int | None = None
    fits_budget: bool = True


class ColumnFacts(msgspec.Struct, frozen=True, omit_defaults=True):
    """What the best so many columns are worth to the trees that chose them, whatever student ships.

    Parameters
    ----------
    names
        The columns, the one added last at the end.
    loss
        Of these trees on the validation rows.
    low, high
        Its 95 % interval; None where there is none.
    chosen
        The artifact has these columns.
    """

    names: tuple[str, ...]
    loss: float
    low: float | None = None
    high: float | None = None
    chosen: bool = False

    @property
    def n_columns(self) -> int:
        return len(self.names)


class ReportFacts(msgspec.Struct, frozen=True):
    """Everything on the page.

    Parameters
    ----------
    title
        Heading of the page, usually the data's name.
    task
        What is predicted.
    evidence
        What the answers on the test rows prove.
    models
        Model to what else was measured of it.
    shipped
        Which of the two small models is in the artifact.
    untaught
        What is in the artifact learned from labels alone: it is the twin, or one whose labels were smoothed.
    sentence
        The verdict in words; empty lets `potstill.report.verdict` write it from the evidence.
    candidates
        Students the search looked at.
    validation_losses
        Model to loss on the validation rows: what the candidates' losses can be held against.
    judged_by
        What the candidates' losses were measured on, in words.
    budget
        What the artifact was allowed to cost.
    columns
        What each number of columns is worth; empty where it was not measured.
    command
        The command line of the run, without ``--pick``; None where there was none.
    frontier
        Folder that holds the Pareto points as ``NUMBER.onnx``; None where they were not written.
    rows
        What rows there were: ``train``, ``validation``, ``test``, ``unlabeled``, ``synthetic`` to counts.
    soft_targets
        The kind of soft targets and what else was searched: word to value.
    seconds
        Training time: stage to seconds.
    card
        The artifact's Card: word to value, in the order of the page.
    warnings
        Sentences the reader must not miss.
    watts, price_per_cpu_hour, currency
        What the cost of a million predictions assumes.
    version
        Of this layout.
    """

    title: str
    task: Task
    evidence: Evidence
    models: dict[str, ModelFacts] = {}
    shipped: Literal["student", "twin"] = "student"
    untaught: bool = False
    sentence: str = ""
    candidates: tuple[CandidateFacts, ...] = ()
    validation_losses: dict[str, float] = {}
    judged_by: str = "validation rows"
    budget: Budget = Budget()
    columns: tuple[ColumnFacts, ...] = ()
    command: str | None = None
    frontier: str | None = None
    rows: dict[str, int] = {}
    soft_targets: dict[str, str] = {}
    seconds: dict[str, float] = {}
    card: dict[str, str] = {}
    warnings: tuple[str, ...] = ()
    watts: float = WATTS_PER_CORE
    price_per_cpu_hour: float = PRICE_PER_CPU_HOUR
    currency: str = "$"
    version: int = 1

    def scored(self) -> tuple[str, ...]:
        """Models with scores, in the order of the page."""
        return in_order(self.evidence.scores)

    def measured(self) -> tuple[str, ...]:
        """Models with scores or with a cost, in the order of the page."""
        return in_order([*self.evidence.scores, *self.models])


def save_facts(facts: ReportFacts, path: str | Path) -> None:
    """Write the facts as JSON, beside and renamed."""
    write_text(Path(path), msgspec.json.format(msgspec.json.encode(facts), indent=1).decode())


def load_facts(path: str | Path) -> ReportFacts:
    """Read facts that `save_facts` wrote.

    Raises
    ------
    UserError
        When the file is not there, or its contents are not a report's facts.
    """
    place = Path(path)
    try:
        return msgspec.json.decode(place.read_bytes(), type=ReportFacts)
    except OSError as error:
        raise UserError(
            f"Cannot read the report's facts from {place}: {error.strerror}.", hint="Check the path."
        ) from error
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise UserError(
            f"{place} does not hold a report's facts: {error}.",
            hint="pass a file that potstill wrote, such as the one of `distill --facts`",
        ) from error


def write_text(path: Path, text: str) -> None:
    """Write a whole file or none: beside, then renamed.

    Raises
    ------
    UserError
        When the folder is not there or cannot be written to.
    """
    beside = path.with_name(f".{path.name}.{os.getpid()}.part")
    try:
        beside.write_text(text, encoding="utf-8")
        beside.replace(path)
    except OSError as error:
        beside.unlink(missing_ok=True)
        raise UserError(
            f"Cannot write {path}: {error.strerror}.", hint="Write to a folder of your own that has room."
        ) from error
