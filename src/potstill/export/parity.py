"""Does the exported graph answer as the trained student does? Asked on every export, also on odd rows."""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import msgspec
import narwhals as nw
import numpy as np
import onnx
from numpy.typing import NDArray
from onnxruntime import InferenceSession

from potstill.artifact.calibration import Affine, Calibration
from potstill.artifact.columns import Feeds, feeds, rows_of, slice_feeds
from potstill.artifact.model import run
from potstill.artifact.session import open_session
from potstill.errors import ParityFailed
from potstill.export.inputs import graph_inputs, input_batches
from potstill.export.perturb import Splits, perturbed
from potstill.types import Encoder, FittedStudent, Floats, Schema, Tokenizer

ATOL = 2e-5
"""Largest accepted difference of a probability, and of a value in units of the target's spread: sums of
hundreds of float32 terms in another order differ by a few 1e-6."""

_RTOL = 1e-5
_N_REAL = 2_000
_N_ALONE = 32
_AT_ONCE = 256
_REPORT = "This is a fault in potstill, not in your data: please report it with the schema and the versions."


class ParityReport(msgspec.Struct, frozen=True):
    """What was compared.

    Parameters
    ----------
    n_rows
        Rows compared, real and made up.
    max_difference
        Largest absolute difference of a probability, or of a value in units of the target's spread.
    """

    n_rows: int
    max_difference: float


def check_parity(
    model: onnx.ModelProto,
    encoder: Encoder,
    student: FittedStudent,
    calibration: Calibration,
    rows: nw.DataFrame[Any],
    *,
    schema: Schema,
    atol: float = ATOL,
) -> ParityReport:
    """Compare the graph's answers, as ONNX Runtime gives them, with the student's own.

    Compared are up to 2,000 of the rows; rows made up from the schema (see `perturbed`); some rows one at a
    time; and no row at all. The rows made up are also read by the runtime half, which must take them for the
    same inputs as training does.

    Parameters
    ----------
    model
        What `compose` made of the next three.
    encoder, student, calibration
        As trained.
    rows
        Real rows, at least one.
    schema
        The columns the model takes.
    atol
        See `ATOL`.

    Raises
    ------
    ParityFailed
        When an answer differs, is not a finite number, or rows are read differently in training and serving.
    """
    unit = abs(calibration.scale) or 1.0 if isinstance(calibration, Affine) else 1.0
    session = open_session(model.SerializeToString())
    real = rows[:_N_REAL, :]
    more = input_batches(real, schema)
    first = next(more)
    made_up = perturbed(first, schema, ties=_ties(encoder, student, first))
    odd_inputs = graph_inputs(made_up.rows, schema)
    _check_same_reading(odd_inputs, feeds(made_up.rows, schema), made_up.what)

    asked = [
        _Asked(real, itertools.chain([first], more), tuple(f"real row {row}" for row in range(len(real)))),
        _Asked(made_up.rows, [odd_inputs], made_up.what),
    ]
    none = run(session, slice_feeds(first, 0, 0), encoder.tokenizer)
    if none.size or student.logits(encoder.encode(real[:0, :])).size:
        raise ParityFailed(f"The graph answers no rows with an array of shape {none.shape}.", hint=_REPORT)
    largest = 0.0
    for rows_asked in asked:
        expected = calibration.apply(student.logits(encoder.encode(rows_asked.frame)))
        answered, alone = _answers(session, rows_asked.inputs, expected.shape[1], encoder.tokenizer)
        what = rows_asked.what
        largest = max(largest, _compare(answered, expected, what, atol=atol, unit=unit))
        _compare(alone, expected[: len(alone)], [f"{word}, alone" for word in what], atol=atol, unit=unit)
    return ParityReport(n_rows=len(real) + len(made_up.what), max_difference=largest / unit)


@dataclass(frozen=True)
class _Asked:
    frame: nw.DataFrame[Any]
    inputs: Iterable[Feeds]
    what: tuple[str, ...]


def _answers(
    session: InferenceSession, batches: Iterable[Feeds], width: int, tokenizer: Tokenizer | None
) -> tuple[Floats, Floats]:
    """Many rows at once, and the first ones each alone: ONNX Runtime takes another path there."""

    def asked(inputs: Feeds, start: int, stop: int) -> Floats:
        return run(session, slice_feeds(inputs, start, stop), tokenizer).reshape(-1, width)

    together: list[Floats] = []
    alone: list[Floats] = []
    for inputs in batches:
        n_rows = rows_of(inputs)
        alone += [asked(inputs, row, row + 1) for row in range(min(_N_ALONE - len(alone), n_rows))]
        together += [asked(inputs, start, start + _AT_ONCE) for start in range(0, n_rows, _AT_ONCE)]
    return np.concatenate(together), np.concatenate(alone)


def _ties(encoder: Encoder, student: FittedStudent, real: Feeds) -> Mapping[str, Floats]:
    """Numbers at which a decision may turn: the student's own thresholds, or else the values there are."""
    ties = {name: values for name, values in real.items() if values.dtype == np.float32}
    if isinstance(student, Splits):
        names = encoder.spec.numeric
        ties |= {names[column]: values for column, values in student.thresholds().items()}
    return ties


def _check_same_reading(trained: Feeds, served: Feeds, what: Sequence[str]) -> None:
    for name, expected in trained.items():
        got = served[name]
        same = [_same(ours, theirs) for ours, theirs in zip(_plain(got), _plain(expected), strict=True)]
        if got.dtype != expected.dtype or not all(same):
            row = int(np.argmin(same))
            raise ParityFailed(
                f"Training reads column {name!r} as {expected[row]!r} where serving reads {got[row]!r} "
                f"({what[row]}).",
                hint=_REPORT,
            )


def _plain(values: NDArray[Any]) -> list[Any]:
    """The values as Python has them; pictures as their pixels."""
    if values.ndim == 1 and not (len(values) and isinstance(values[0], np.ndarray)):
        return list(values.tolist())
    return [picture.tolist() for picture in values]


def _same(served: Any, trained: Any) -> bool:
    return bool(served == trained or (served != served and trained != trained))  # noqa: PLR0124 (NaN)


def _compare(answered: Floats, expected: Floats, what: Sequence[str], *, atol: float, unit: float) -> float:
    """The largest difference; raises when it is more than rounding explains."""
    with np.errstate(invalid="ignore"):
        difference = np.abs(answered.astype(np.float64) - expected)
    wrong = np.asarray(~(difference <= atol * unit + _RTOL * np.abs(expected)).all(axis=1))
    if wrong.any():
        row = int(np.argmax(wrong))
        raise ParityFailed(
            f"The exported graph and the trained student disagree on {int(wrong.sum()):,} of {len(wrong):,} "
            f"rows, first on {what[row]}: {_shown(answered[row])} against {_shown(expected[row])}.",
            hint=_REPORT,
        )
    return float(difference.max(initial=0.0))


def _shown(outputs: Floats) -> str:
    listed = ", ".join(f"{output:.6g}" for output in outputs[:4].tolist())
    return f"[{listed}, …]" if len(outputs) > 4 else f"[{listed}]"
