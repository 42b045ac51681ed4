"""From what the caller has to a Dataset: rows, labels, weights, groups and the task."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import narwhals as nw
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from potstill.artifact.folders import LABEL
from potstill.data.align import converted, same_columns
from potstill.data.columns import (
    arrow_column,
    arrow_values,
    is_number,
    is_text,
    missing,
    number_share,
    offenders,
    to_days,
    to_numbers,
    to_texts,
)
from potstill.data.labels import encode_labels, infer_task
from potstill.data.pictures import are_pictures, is_binary, is_torch_dataset, picture_folder, readable_rows
from potstill.data.read import read_rows
from potstill.data.schema import infer_schema, require_columns
from potstill.errors import UserError
from potstill.types import ColumnKind, Dataset, Doubles, Ints, Labels, TaskKind

TIME_REASON = "orders the split; as an input it would only extrapolate"


@dataclass(frozen=True)
class Loaded:
    """A Dataset and what was said while it was read.

    Parameters
    ----------
    dataset
        The rows that have a target (all of them where none was wanted).
    notes
        Sentences the caller should read.
    time
        ``(n,)`` float64 sort key of the rows, -inf where missing; None when no time column was named.
    n_missing_target
        Rows that were left out because their target is missing.
    """

    dataset: Dataset
    notes: tuple[str, ...] = ()
    time: Doubles | None = None
    n_missing_target: int = 0


def load_dataset(
    source: Any,
    *,
    target: str | None = None,
    task: TaskKind | None = None,
    kinds: Mapping[str, ColumnKind] | None = None,
    drop: Sequence[str] = (),
    weight: str | NDArray[Any] | None = None,
    group: str | NDArray[Any] | None = None,
    time: str | None = None,
    like: Dataset | None = None,
    need_labels: bool = True,
) -> Loaded:
    """Read ``source`` and find out what it is.

    Parameters
    ----------
    source
        What `read_rows` takes, with the target among the columns, or a pair ``(X, y)``.
    target
        Name of the target column; for a pair, what to call it.
    task, kinds, drop
        Overrides of what is inferred, see `infer_task` and `infer_schema`.
    weight, group
        Name of a column, which is then no input, or one value a row.
    time
        Name of the column the split follows; no input either unless ``kinds`` declares it.
    like
        Training data: ``source`` then has the same columns, task and schema, and overrides are ignored.
    need_labels
        With ``like``: whether the target must be there. Where not, it is passed over, as are folders' names.

    Raises
    ------
    UserError
        The source cannot be read, or does not hold what was asked of it.

    Examples
    --------
    >>> import numpy as np
    >>> load_dataset((np.eye(4), [0, 1, 0, 1])).dataset.task.classes
    (0, 1)
    """
    target = target if like is None else like.task.target
    notes: list[str] = []
    if _is_folder(source):
        target = target or LABEL
        source, notes = picture_folder(Path(source), labelled=need_labels or like is None)
    rows, labels, target = _rows_and_labels(source, target)
    roles = {"weight": weight, "group": group, "time": time}
    if like is not None:
        roles = {role: at for role, at in roles.items() if not isinstance(at, str) or at in rows.columns}
    named = {role: at for role, at in roles.items() if isinstance(at, str)}
    require_columns(rows, named.values())
    if like is not None and not need_labels:
        labels = None
    elif labels is None and target in rows.columns:
        _check_roles(named, target)
        labels = rows[target]
    elif labels is None:
        raise _no_target(target, rows, like)
    used = {target, named.get("weight"), named.get("group")}
    found = _Found(
        inputs=rows.drop([name for name in rows.columns if name in used]),
        labels=labels,
        weight=_weight_of_each(rows, roles.get("weight")),
        group=_per_row(rows, roles.get("group"), "group"),
        time=_sort_key(rows, named.get("time")),
        from_array=isinstance(source[0] if isinstance(source, tuple) else source, np.ndarray),
        notes=notes,
    )
    if like is not None:
        return _load_like(found, like)
    return _load_new(found, target, task, dict(kinds or {}), drop, named.get("time"))


def _check_roles(named: Mapping[str, str], target: str) -> None:
    for role, name in named.items():
        if name == target:
            raise UserError(
                f"The column {target!r} cannot be the target and the {role} at once.",
                hint=f"name another column as target or as {role}.",
            )


@dataclass(frozen=True)
class _Weight:
    """A weight for each row, and the words that say where they stand: `` in column 'w'``, or nothing."""

    values: pa.Array
    where: str


@dataclass(frozen=True)
class _Found:
    """What a source holds, before anything is inferred from it."""

    inputs: nw.DataFrame[Any]
    labels: nw.Series[Any] | None
    weight: _Weight | None
    group: pa.Array | None
    time: Doubles | None
    from_array: bool
    notes: list[str]


def _load_new(
    found: _Found,
    target: str,
    kind: TaskKind | None,
    kinds: dict[str, ColumnKind],
    drop: Sequence[str],
    time: str | None,
) -> Loaded:
    assert found.labels is not None
    kept, n_missing, said = _labelled(found.labels, target)
    notes = [*found.notes, *said]
    if not len(found.inputs.columns):
        raise UserError(
            f"Wanted columns to predict {target!r} from, but there is no other column.",
            hint="is the file read with the right delimiter?",
        )
    kept, said = _with_pictures(found.inputs, kept, kinds, drop)
    notes += said
    inputs = found.inputs if len(kept) == len(found.inputs) else found.inputs[kept, :]
    labels = found.labels if len(kept) == len(found.inputs) else found.labels[kept]
    the_task = infer_task(labels, target, kind)
    unread = {time: TIME_REASON} if time is not None and time not in kinds and time not in drop else {}
    schema = infer_schema(inputs, kinds=kinds, drop=drop, left_out=unread)
    if unread:
        notes.append(
            f"The time column {time!r} orders the split and is no input; declare its kind to keep it."
        )
    dataset = Dataset(
        rows=converted(inputs, {column.name: column.kind for column in schema.columns}),
        task=the_task,
        schema=schema,
        labels=encode_labels(labels, the_task),
        weight=_weights(found.weight, kept),
        groups=_groups(found.group, kept, notes),
        ids=kept,
        from_array=found.from_array,
    )
    return Loaded(dataset, tuple(notes), None if found.time is None else found.time[kept], n_missing)


def _load_like(found: _Found, like: Dataset) -> Loaded:
    inputs, said = same_columns(found.inputs, like)
    notes = [*found.notes, *said]
    kept: Ints = np.arange(len(inputs), dtype=np.int64)
    n_missing = 0
    labels: Labels | None = None
    if found.labels is not None:
        kept, n_missing, said = _labelled(found.labels, like.task.target)
        notes += said
    kinds = {column.name: column.kind for column in like.schema.columns}
    kept, said = _with_pictures(inputs, kept, kinds, [column.name for column in like.schema.dropped])
    notes += said
    inputs = inputs if len(kept) == len(inputs) else inputs[kept, :]
    if found.labels is not None:
        labels = encode_labels(found.labels[kept], like.task)
    dataset = replace(
        like,
        rows=inputs,
        labels=labels,
        weight=_weights(found.weight, kept),
        groups=_groups(found.group, kept, notes),
        ids=None,
    )
    return Loaded(dataset, tuple(notes), None if found.time is None else found.time[kept], n_missing)


def _with_pictures(
    inputs: nw.DataFrame[Any], kept: Ints, kinds: Mapping[str, ColumnKind], drop: Sequence[str]
) -> tuple[Ints, list[str]]:
    """Of the rows ``kept`` those whose pictures can be read, and a note about the others.

    Of several columns of pictures only the first is an input.
    """
    for name in inputs.columns:
        if name in drop or not _may_hold_files(inputs, name) or kinds.get(name, "image") != "image":
            continue
        values = arrow_column(inputs, name)
        if is_binary(values.type) and (name in kinds or are_pictures(values)):
            readable, notes = readable_rows([(name, values)])
            return np.intersect1d(kept, readable), notes
    return kept, []


def _may_hold_files(inputs: nw.DataFrame[Any], name: str) -> bool:
    return inputs[name].dtype in (nw.Binary, nw.Object, nw.Unknown)


def _rows_and_labels(source: Any, target: str | None) -> tuple[nw.DataFrame[Any], nw.Series[Any] | None, str]:
    """Rows, labels where the source is a pair, and the target's name."""
    if not isinstance(source, tuple):
        if target is None and is_torch_dataset(source):
            target = LABEL
        rows = read_rows(source)
        if target is None:
            raise UserError(
                "Wanted to know which column to predict, but no target was named.",
                hint="name it: target=..., on the command line --target.",
            )
        return rows, None, target
    if len(source) != 2:
        raise UserError(
            f"Wanted a pair (X, y), got a tuple of {len(source)}.", hint="pass rows and labels, nothing else."
        )
    rows = read_rows(source[0])
    if source[1] is None:
        return rows, None, target or "target"
    labels, name = _label_series(source[1])
    if len(labels) != len(rows):
        raise UserError(
            f"Wanted one label a row, got X with {len(rows):,} rows and y with {len(labels):,}.",
            hint="X and y must come from the same rows in the same order.",
        )
    target = target or (name if name and name not in rows.columns else "target")
    if target in rows.columns:
        raise UserError(
            f"The labels y are called {target!r}, but X has a column of that name too.",
            hint="remove the column from X, or give the target another name: target=...",
        )
    return rows, labels, target


def _is_folder(source: Any) -> bool:
    return isinstance(source, str | os.PathLike) and Path(source).is_dir()


def _label_series(y: Any) -> tuple[nw.Series[Any], str]:
    if not isinstance(y, list | tuple | np.ndarray):
        try:
            series = nw.from_native(y, allow_series=True, eager_only=True)
        except TypeError:
            series = y
        if isinstance(series, nw.DataFrame) and len(series.columns) == 1:
            series = series[series.columns[0]]
        if isinstance(series, nw.Series):
            return series, str(series.name or "")
    array = y if isinstance(y, np.ndarray) else np.array(y, dtype=object)
    if array.ndim == 2 and array.shape[1] == 1:
        array = array[:, 0]
    if array.ndim != 1:
        raise UserError(
            f"Wanted one label a row (a 1-d y), got an array of shape {array.shape}.",
            hint="predict one target at a time.",
        )
    if array.dtype.kind == "c":
        raise UserError("Complex data not supported: wanted real labels, got complex ones.")
    try:
        values = pa.array(np.ascontiguousarray(array), from_pandas=True)
    except (pa.ArrowException, TypeError, ValueError) as error:
        raise UserError(f"Wanted labels of one kind, got a mixture ({error}).") from error
    return nw.from_native(pa.chunked_array([values]), series_only=True), ""


def _no_target(target: str, rows: nw.DataFrame[Any], like: Dataset | None) -> UserError:
    try:
        require_columns(rows, [target])
    except UserError as error:
        where = "these rows" if like is not None else "the data"
        return UserError(f"Wanted the target in {where}. {error.message}", hint=error.hint)
    raise AssertionError(target)


def _labelled(labels: nw.Series[Any], target: str) -> tuple[Ints, int, list[str]]:
    """Positions of the rows that have a label, the number of those that have not, and a note about them."""
    gaps = missing(arrow_values(labels, target))
    n_missing = int(gaps.sum())
    if n_missing == len(gaps):
        raise UserError(
            f"Every row's target {target!r} is missing.", hint="is it the right column, and the right file?"
        )
    notes = []
    if n_missing:
        notes.append(f"Left out {n_missing:,} of {len(gaps):,} rows: their target is missing.")
    return np.flatnonzero(~gaps).astype(np.int64), n_missing, notes


def _per_row(rows: nw.DataFrame[Any], value: Any, role: str) -> pa.Array | None:
    if value is None:
        return None
    if isinstance(value, str):
        return arrow_column(rows, value)
    array = np.asarray(value)
    if array.shape != (len(rows),):
        raise UserError(
            f"Wanted one {role} a row, {len(rows):,} in all, got an array of shape {array.shape}.",
            hint=f"pass the name of a column or as many values as there are rows as {role}.",
        )
    return arrow_values(nw.from_native(pa.chunked_array([pa.array(array)]), series_only=True), role)


def _weight_of_each(rows: nw.DataFrame[Any], value: Any) -> _Weight | None:
    values = _per_row(rows, value, "weight")
    return None if values is None else _Weight(values, f" in column {value!r}" * isinstance(value, str))


def _weights(weight: _Weight | None, kept: Ints) -> Doubles | None:
    if weight is None:
        return None
    values, where = weight.values, weight.where
    if is_text(values.type) and (words := number_share(values)[1]).any():
        raise UserError(
            f"Wanted sample weights that are numbers{where}, got {offenders(values, words)}.",
            hint="is it the right column?",
        )
    every = to_numbers(values, "weight")
    wrong = ~(np.isfinite(every) & (every >= 0))
    wrong &= np.isin(np.arange(len(wrong)), kept)
    if wrong.any():
        raise UserError(
            f"Wanted sample weights{where} that are finite and not negative, got {offenders(values, wrong)}.",
            hint="give every row a weight; 0 leaves a row out.",
        )
    weights = every[kept]
    if not weights.any():
        raise UserError(
            f"Wanted sample weights{where}, but all of them are 0.", hint="give some rows a weight above 0."
        )
    return weights


def _groups(values: pa.Array | None, kept: Ints, notes: list[str]) -> Ints | None:
    """``(n,)`` group ids; a row without a group is one of its own."""
    if values is None:
        return None
    encoded = pc.dictionary_encode(to_texts(values, "group").take(pa.array(kept)))
    codes: Ints = encoded.indices.fill_null(-1).cast(pa.int64()).to_numpy(zero_copy_only=False).copy()
    alone = np.flatnonzero(codes < 0)
    codes[alone] = len(encoded.dictionary) + np.arange(len(alone))
    if len(alone):
        notes.append(f"{len(alone):,} rows have no group; each is taken for a group of its own.")
    return codes


def _sort_key(rows: nw.DataFrame[Any], name: str | None) -> Doubles | None:
    if name is None:
        return None
    values = arrow_column(rows, name)
    if pa.types.is_time(values.type):
        raise UserError(
            f"Wanted dates or numbers to order the rows by in column {name!r}, got times of day.",
            hint="name a column with dates.",
        )
    key = to_numbers(values, name) if is_number(values.type) else to_days(values, name)
    return np.where(np.isnan(key), -np.inf, key)
