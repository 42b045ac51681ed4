"""Stage one: from what the caller gave to rows that are split, encoded and multiplied."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass, replace
from typing import Any, Literal

import msgspec
import numpy as np

from potstill.data import (
    Loaded,
    Split,
    content_hash,
    describe_schema,
    fold_ids,
    infer_schema,
    load_dataset,
    split,
)
from potstill.data.columns import arrow_column
from potstill.distillation.modality import Encoded, Modality, checkpoint_of, modality_of
from potstill.distillation.monotone import describe_monotone, with_monotone
from potstill.distillation.recipe import Recipe
from potstill.errors import UserError
from potstill.students.settings import adjusted
from potstill.transfer.augment import AUGMENTERS
from potstill.types import TABLE_KINDS, Dataset, DroppedColumn, Encoder, Ints, Progress, Schema, Tensors

Part = Literal["train", "valid", "test", "unlabeled", "synthetic"]

SAME_ROWS = (
    "The test rows are the training rows: everybody has learned from what is measured, so the scores flatter "
    "all of them. Give rows that are not in the training data, or no test file."
)

WORTH_TELLING = 0.02
"""Share of test rows with texts or pictures of training rows from which on it is said."""

VALID_FRACTION, VALID_FEW, VALID_MANY = 0.10, 300, 5_000
"""Rows to choose the student by when the recipe does not say: this share; up to half as much again where
it is fewer than ``VALID_FEW`` rows, and at most ``VALID_MANY``."""


def folds_for(n_rows: int) -> int:
    """Folds of the cross-fitting when the recipe does not say: the fewer rows, the more each model needs."""
    return 8 if n_rows < 10_000 else 5 if n_rows < 100_000 else 3


def valid_fraction_for(n_rows: int) -> float:
    """Share of the rows to choose the student by when the recipe does not say."""
    return min(max(VALID_FRACTION, min(1.5 * VALID_FRACTION, VALID_FEW / n_rows)), VALID_MANY / n_rows)


@dataclass(frozen=True)
class Prepared:
    """Rows in their parts, and the encoder of the student.

    Parameters
    ----------
    parts
        ``train`` (the rows teacher and student learn from), ``valid`` (they choose by), and where there are
        any: ``test`` (nobody learns from or chooses by), ``unlabeled``, ``synthetic``.
    tensors
        The encoded rows of each part.
    encoder
        Of the columns the student may see.
    schema
        These columns.
    modality
        What kind of data this is.
    recipe
        What was asked for.
    folds
        ``(n_train,)`` cross-fitting fold of each training row.
    data_hash
        Of the training data as given, hex digits.
    n_given
        Rows of the training data as given, those without a target among them.
    notes
        Sentences the caller should read.
    tuned
        Folder of a given teacher's encoder, whose word pieces texts are cut into and with which students
        begin; None for none.
    """

    parts: Mapping[Part, Dataset]
    tensors: Mapping[Part, Tensors]
    encoder: Encoder
    schema: Schema
    modality: Modality
    recipe: Recipe
    folds: Ints
    data_hash: str
    n_given: int
    notes: tuple[str, ...]
    tuned: str | None = None

    def seeing(self, names: Collection[str]) -> Prepared:
        """The same rows for a student that sees these columns only."""
        return self._encoded(_narrowed(self.schema, names, f"not among the {len(names)} worth most"))

    def first_synthetic(self, n_rows: int) -> Prepared:
        """The same with the first ``n_rows`` synthetic rows; with none of them for 0."""
        rows, tensors = dict(self.parts), dict(self.tensors)
        synthetic, encoded = rows.pop("synthetic"), tensors.pop("synthetic")
        if n_rows:
            rows["synthetic"] = synthetic.take(np.arange(n_rows))
            tensors["synthetic"] = {name: values[:n_rows] for name, values in encoded.items()}
        return replace(self, parts=rows, tensors=tensors)

    def _encoded(self, schema: Schema) -> Prepared:
        encoder, _ = _encoder(self.modality, schema, self.parts, self.recipe, self.tuned)
        tensors = {part: encoder.encode(dataset.rows) for part, dataset in self.parts.items()}
        return replace(self, encoder=encoder, schema=schema, tensors=tensors)


def prepare(
    train: Any,
    *,
    target: str | None,
    sample_weight: Any,
    test: Any,
    unlabeled: Any,
    recipe: Recipe,
    seed: int,
    progress: Progress,
    tuned: str | None = None,
) -> Prepared:
    """Read, infer, split, encode, and make the synthetic rows.

    Parameters
    ----------
    tuned
        As in `Prepared`; the others as in `potstill.distill`.

    Raises
    ------
    UserError
        The data cannot be read, or there is nothing in it to learn.
    """
    progress.start("reading the data")
    loaded = load_dataset(
        train,
        target=target,
        task=recipe.task,
        kinds=recipe.columns,
        drop=recipe.drop,
        weight=recipe.weight if sample_weight is None else sample_weight,
        group=recipe.group,
        time=recipe.time,
    )
    notes = list(loaded.notes)
    parts_index = split_rows(loaded, recipe, seed=seed, has_test=test is not None)
    whole = _schema_without(loaded.dataset, parts_index.test)
    whole = replace(whole, schema=with_monotone(whole.schema, recipe.monotone, whole.task))
    notes += describe_monotone(whole.schema, whole.task)
    parts: dict[Part, Dataset] = {
        "train": whole.take(parts_index.train),
        "valid": whole.take(parts_index.valid),
    }
    if len(parts_index.test):
        parts["test"] = whole.take(parts_index.test)
    others: tuple[tuple[Part, Any, bool], ...] = (("test", test, True), ("unlabeled", unlabeled, False))
    for part, source, need_labels in others:
        if source is not None:
            other = matching(source, whole, recipe, part=part, need_labels=need_labels)
            parts[part] = other.dataset
            notes += other.notes
            if part == "test" and _same_rows(other.dataset, loaded.dataset):
                notes.append(SAME_ROWS)
    if "test" in parts and SAME_ROWS not in notes:
        notes += _describe_known(parts["train"], parts["test"])
    for note in notes:
        progress.note(note)
    progress.note(describe_schema(whole.schema, len(whole)))
    modality = modality_of(whole.schema)
    synthetic = _synthesise(parts["train"], modality, recipe, seed, progress)
    if synthetic is not None:
        parts["synthetic"] = synthetic
    schema = student_schema(whole.schema, recipe)
    encoder, unread = _encoder(modality, schema, parts, recipe, tuned)
    for note in unread:
        progress.note(note)
    return Prepared(
        parts=parts,
        tensors={part: encoder.encode(dataset.rows) for part, dataset in parts.items()},
        encoder=encoder,
        schema=schema,
        modality=modality,
        recipe=recipe,
        folds=fold_ids(parts["train"], recipe.folds or folds_for(len(whole)), seed),
        data_hash=content_hash(loaded.dataset),
        n_given=len(loaded.dataset) + loaded.n_missing_target,
        notes=(*notes, *unread),
        tuned=tuned,
    )


def _encoder(
    modality: Modality, schema: Schema, parts: Mapping[Part, Dataset], recipe: Recipe, tuned: str | None
) -> Encoded:
    more = parts["unlabeled"].rows if "unlabeled" in parts else None
    recipe = recipe if tuned is None else msgspec.structs.replace(recipe, encoder=tuned)
    return modality.encoder(schema, parts["train"].rows, more, recipe)


def matching(source: Any, like: Dataset, recipe: Recipe, *, part: Part, need_labels: bool = True) -> Loaded:
    """More rows with the columns, classes and schema of ``like``; an error says which rows they are."""
    try:
        return load_dataset(
            source, like=like, weight=recipe.weight, group=recipe.group, need_labels=need_labels
        )
    except UserError as error:
        raise UserError(f"The {part} rows cannot be used. {error.message}", hint=error.hint) from error


def _same_rows(one: Dataset, other: Dataset) -> bool:
    bare = (replace(each, weight=None, groups=None) for each in (one, other))
    return len(one) == len(other) and len({content_hash(each) for each in bare}) == 1


def _describe_known(train: Dataset, test: Dataset) -> tuple[str, ...]:
    """A sentence where many test rows have the very texts or pictures of training rows."""
    names = [column.name for column in train.schema.columns if column.kind not in TABLE_KINDS]
    if not names:
        return ()

    def contents(dataset: Dataset) -> list[int]:
        columns = [arrow_column(dataset.rows, name) for name in names]
        return [hash(tuple(value.as_py() for value in row)) for row in zip(*columns, strict=True)]

    met = set(contents(train))
    share = np.mean([each in met for each in contents(test)])
    if share <= WORTH_TELLING:
        return ()
    return (
        f"{share:.0%} of the test rows have the {' and '.join(names)} of a training row: scores on them "
        "flatter what learns by heart. Rows of one group (--group) are never split.",
    )


def split_rows(loaded: Loaded, recipe: Recipe, *, seed: int, has_test: bool) -> Split:
    """The rows to learn from, to choose by and to measure on; none of the last where a test set was given."""
    return split(
        loaded.dataset,
        test_fraction=0.0 if has_test else recipe.test_fraction,
        valid_fraction=recipe.valid_fraction or valid_fraction_for(len(loaded.dataset)),
        seed=seed,
        time=loaded.time,
    )


def _schema_without(dataset: Dataset, test: Ints) -> Dataset:
    """``dataset`` with its columns described anew, the held-out test rows not looked at.

    What is left out, and of what kind a column is, stays as all rows say: with gaps where rows are held out,
    a column that counts them would no longer look like it.
    """
    if not len(test):
        return dataset
    schema = infer_schema(
        dataset.rows[np.setdiff1d(np.arange(len(dataset)), test), :],
        kinds={column.name: column.kind for column in dataset.schema.columns},
        left_out={column.name: column.reason for column in dataset.schema.dropped},
    )
    return replace(dataset, schema=schema)


def student_schema(schema: Schema, recipe: Recipe) -> Schema:
    """The columns of ``schema`` that the recipe lets the student see; the others as dropped.

    Raises
    ------
    UserError
        It names a column that is not there, or leaves none.
    """
    for option, names in (("student_columns", recipe.student_columns), ("without", recipe.without)):
        for name in names:
            if name not in schema.names:
                raise UserError(
                    f"The recipe's {option} name a column {name!r} that the model does not have; it has "
                    f"{', '.join(map(repr, schema.names))}.",
                    hint="Check the spelling; columns that were dropped cannot be named.",
                )
    named = set(recipe.student_columns or schema.names) - set(recipe.without)
    if not named:
        raise UserError(
            "The recipe leaves the student no column to see.",
            hint="Name fewer columns in `without`, or others in `student_columns`.",
        )
    return _narrowed(schema, named, "the teacher's alone")


def _narrowed(schema: Schema, names: Collection[str], reason: str) -> Schema:
    """``schema`` with these columns only; the others are dropped for ``reason``."""
    unseen = [DroppedColumn(name, reason) for name in schema.names if name not in names]
    return Schema(
        columns=tuple(column for column in schema.columns if column.name in names),
        dropped=(*schema.dropped, *unseen),
    )


def _synthesise(
    train: Dataset, modality: Modality, recipe: Recipe, seed: int, progress: Progress
) -> Dataset | None:
    name = recipe.augmenter or modality.augmenter
    if name not in AUGMENTERS:
        raise UserError(
            f"There is no augmenter called {name!r}; there are: {', '.join(sorted(AUGMENTERS))}.",
            hint="`potstill parts` lists every part with its parameters.",
        )
    kinds = {column.kind for column in train.schema.columns}
    if not kinds <= AUGMENTERS[name].reads:
        raise UserError(
            f"The augmenter {name!r} does not make rows with columns of kind "
            f"{', '.join(sorted(kinds - AUGMENTERS[name].reads))}.",
            hint=f"Leave it out: {modality.augmenter!r} does.",
        )
    most = modality.synthetic_rows(train)
    if recipe.time_limit is not None:
        most *= min(1.0, recipe.time_limit / modality.patience_s)
    decided = min(modality.synthetic_per_row * len(train), most)
    n_rows = round(decided if recipe.synthetic is None else recipe.synthetic * len(train))
    if not n_rows:
        return None
    progress.start("making synthetic rows")
    augmenter = adjusted(AUGMENTERS[name](), checkpoint=checkpoint_of(recipe))
    rows, _ = augmenter.augment(train, n_rows, seed=seed)
    if not len(rows):
        return None
    return replace(train, rows=rows, labels=None, weight=None, groups=None, ids=None)
