"""What kind of data a run is about, looked up once: tables, pictures or texts."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, TypeAlias

import narwhals as nw
import numpy as np

from potstill.data.columns import listed
from potstill.distillation.clock import TEACHER_SHARE
from potstill.distillation.recipe import Recipe
from potstill.errors import UserError
from potstill.graph import OPSETS, chosen_opset
from potstill.modalities import ImageEncoder, TabularEncoder, TextEncoder
from potstill.modalities.pretrained_pieces import fresh_wordpiece, narrowed
from potstill.modalities.text import joined_texts
from potstill.modalities.unread import describe_unread
from potstill.modalities.vocabulary import read_vocabulary
from potstill.students import STUDENTS
from potstill.students.settings import adjusted
from potstill.teachers.huggingface import encoder_folder
from potstill.teachers.zoo import default_members
from potstill.teachers.zoo_images import default_image_members, measured_pace
from potstill.training.examples import Targets
from potstill.training.search import SHORT_SHARE
from potstill.types import TABLE_KINDS, Budget, ColumnKind, Dataset, Encoder, Schema, Student, Trainable

PLANNED = 0.9
"""Of the time for members on texts or pictures, the part that is planned."""

FREQUENT_PIECES = 20_000
"""Pieces of a pretrained encoder that students know even where no training text has them: other texts do."""

Rows: TypeAlias = nw.DataFrame[Any]
Encoded: TypeAlias = tuple[Encoder, tuple[str, ...]]

MEASURED_TEXTS = 2_000
"""Texts that tell how long they are."""

MOST_VIEWS, BYTES_OF_VIEWS = 100_000, 400e6
"""New pictures at most, and bytes of theirs, one for each colour of a pixel."""

MOST_NEW_TEXTS, NEW_WORDS = 100_000, 2e6
"""New texts at most, and words of theirs."""


@dataclass(frozen=True)
class Time:
    """What the default ensemble may use.

    Parameters
    ----------
    seconds
        For all its fits and answers.
    folds
        Of the cross-fitting, for members that take part in it.
    threads
        Cores there are.
    answers
        Rows that every member is asked about.
    """

    seconds: float
    folds: int
    threads: int
    answers: int


@dataclass(frozen=True)
class Modality:
    """The parts that differ between kinds of data.

    Parameters
    ----------
    name
        ``tables``, ``images`` or ``texts``.
    encoder
        Schema, training rows, unlabelled rows or None, and recipe to the encoder, and to sentences on what it
        does not read of the training rows.
    members
        Training rows, recipe and time to the members of the default ensemble.
    augmenter
        Name of the augmenter that makes the synthetic rows.
    synthetic_per_row, synthetic_rows
        Synthetic rows for each real one, and training rows to how many in all, at most where the recipe does
        not say.
    patience_s
        Under a time limit shorter than this there are fewer synthetic rows in proportion.
    budget
        What a model may cost where nothing else is said.
    time_limit_s
        Seconds that a run takes where nothing else is said; None for as long as its plan takes.
    teacher_s
        Seconds of the default ensemble at most where nothing else is said; None for its share of the limit.
    teacher_share
        That share.
    heavy
        Every fit takes so long that even a few are worth a process each.
    newest_operators
        Its graphs are written in the newest operator set alone.
    targets
        Kinds of target that students are told, the most promising first; empty for all that tables are tried
        with.
    temperatures
        Of the distillation loss: all students learn at the first, the leader at the others too.
    short_share
        Where every fit is heavy: part of the search's time in which they are short.
    """

    name: str
    encoder: Callable[[Schema, Rows, Rows | None, Recipe], Encoded]
    members: Callable[[Dataset, Recipe, Time], list[Trainable]]
    augmenter: str
    synthetic_rows: Callable[[Dataset], float]
    budget: Budget
    synthetic_per_row: float = 10.0
    patience_s: float = 900.0
    time_limit_s: float | None = 2_400.0
    teacher_s: float | None = None
    teacher_share: float = TEACHER_SHARE
    heavy: bool = True
    newest_operators: bool = True
    targets: tuple[Targets, ...] = ()
    temperatures: tuple[float, ...] = (1.0, 2.0)
    short_share: float = SHORT_SHARE


def modality_of(schema: Schema) -> Modality:
    """What the columns of ``schema`` make of the data."""
    kinds = {column.kind for column in schema.columns}
    return next((each for kind, each in MODALITIES.items() if kind in kinds), TABLES)


def check_can_be_written(modality: Modality, highest: int | None) -> None:
    """Raise where a runtime is too old for the graphs of this kind of data.

    Parameters
    ----------
    highest
        See `potstill.types.Budget`.

    Raises
    ------
    UserError
        It does not understand their operators.
    """
    needed = OPSETS[0]
    if modality.newest_operators and chosen_opset(highest) != needed:
        raise UserError(
            f"The budget allows ONNX operator sets up to {highest}; models of {modality.name} need "
            f"{needed.main}.",
            hint=f"ONNX Runtime {needed.runtime} and later read it: allow that.",
        )


def families_of(schema: Schema, recipe: Recipe) -> list[Student]:
    """The families for the columns of ``schema``, begun as the recipe says: they read every kind of them.

    Those for texts or pictures are of no use on a table alone.
    """
    kinds = {column.kind for column in schema.columns}
    able = [family for family in STUDENTS.values() if kinds <= family.reads]
    return [begun(family(), recipe) for family in able if family.reads - TABLE_KINDS <= kinds]


def describe_left_out(schema: Schema) -> tuple[str, ...]:
    """A sentence on each family that reads texts or pictures, but not what is beside them in ``schema``."""
    kinds = {column.kind for column in schema.columns}
    notes = []
    for family in STUDENTS.values():
        special = family.reads - TABLE_KINDS
        if special and special <= kinds and not kinds <= family.reads:
            beside = [column.name for column in schema.columns if column.kind not in family.reads]
            notes.append(
                f"Left out the student {family.name}: it reads {' and '.join(sorted(special))} columns "
                f"alone, and {listed(beside)} {'is' if len(beside) == 1 else 'are'} beside them."
            )
    return tuple(notes)


def begun(student: Student, recipe: Recipe) -> Student:
    """``student``, which begins with the pretrained encoder of the run where it can and names none itself."""
    if getattr(student, "checkpoint", None) is not None:
        return student
    return adjusted(student, checkpoint=checkpoint_of(recipe))


def checkpoint_of(recipe: Recipe) -> str | None:
    """Folder of the pretrained encoder that a run on texts may use; None for none."""
    if recipe.encoder is False:
        return None
    if isinstance(recipe.encoder, str):
        return recipe.encoder
    from potstill.teachers.zoo_transformers import default_checkpoint

    return default_checkpoint()


def tuned_encoder(teachers: Any, student: Student | None, recipe: Recipe) -> str | None:
    """Folder of the first of the given teachers whose encoder students can begin with; None for none.

    None too where another encoder is asked for than the one that the teacher was fine-tuned from.
    """
    named = getattr(student, "checkpoint", None)
    if recipe.encoder is False or named is not None:
        return None
    sources = teachers if isinstance(teachers, (list, tuple)) else [teachers]
    found = next((folder for source in sources if (folder := encoder_folder(source))), None)
    if found is None or not isinstance(recipe.encoder, str):
        return found
    from potstill.networks.bert_folder import read_shape

    one, other = ((read_shape(folder), read_vocabulary(folder)) for folder in (found, recipe.encoder))
    return found if one == other else None


def _table_encoder(schema: Schema, rows: Rows, more: Rows | None, recipe: Recipe) -> Encoded:  # noqa: ARG001
    return TabularEncoder(schema), ()


def _table_members(train: Dataset, recipe: Recipe, time: Time) -> list[Trainable]:  # noqa: ARG001
    return default_members(
        train.task,
        n_rows=len(train),
        spec=TabularEncoder(train.schema).spec,
        time_s=time.seconds,
        folds=time.folds,
        threads=time.threads,
        independent=train.groups is None and train.ids is not None,
    )


def _image_encoder(schema: Schema, rows: Rows, more: Rows | None, recipe: Recipe) -> Encoded:  # noqa: ARG001
    return ImageEncoder(schema), ()


def _image_members(train: Dataset, recipe: Recipe, time: Time) -> list[Trainable]:  # noqa: ARG001
    shape = train.schema.columns[0].shape
    return default_image_members(
        n_rows=len(train),
        n_answers=time.answers,
        shape=shape,
        time_s=PLANNED * time.seconds,
        threads=time.threads,
        pace=measured_pace(shape),
    )


def _views(train: Dataset) -> float:
    """New pictures at most."""
    return min(MOST_VIEWS, BYTES_OF_VIEWS / math.prod(train.schema.columns[0].shape))


def _text_encoder(schema: Schema, rows: Rows, more: Rows | None, recipe: Recipe) -> Encoded:
    from potstill.teachers.zoo_transformers import tokenizer_for

    checkpoint = checkpoint_of(recipe)
    own = joined_texts(rows, schema)
    texts = own if more is None else [*own, *joined_texts(more, schema)]
    if checkpoint is None:
        pieces = fresh_wordpiece(texts)
    else:
        pieces = narrowed(tokenizer_for(checkpoint), texts, most_frequent=FREQUENT_PIECES)
    unread = describe_unread(own, pieces, pretrained=checkpoint is not None)
    return TextEncoder.fit(schema, rows, more_rows=more, tokenizer=pieces), unread


def _text_members(train: Dataset, recipe: Recipe, time: Time) -> list[Trainable]:
    from potstill.teachers.zoo_texts import default_text_members
    from potstill.teachers.zoo_transformers import Work, measured_pace

    checkpoint = checkpoint_of(recipe)
    mean_pieces = _mean_pieces(train, checkpoint)
    work = Work(
        task=train.task,
        n_rows=len(train),
        n_answers=time.answers,
        mean_words=_mean_words(train),
        mean_pieces=mean_pieces,
        time_s=PLANNED * time.seconds,
        threads=time.threads,
        checkpoint=checkpoint,
        pace=measured_pace(checkpoint, mean_pieces),
    )
    return default_text_members(work)


def _new_texts(train: Dataset) -> float:
    """New texts at most: the longer they are, the longer an ensemble takes to answer them."""
    return min(MOST_NEW_TEXTS, NEW_WORDS / max(1.0, _mean_words(train)))


def _mean_words(train: Dataset) -> float:
    return float(np.mean([len(text.split()) for text in _some_texts(train)]))


def _mean_pieces(train: Dataset, checkpoint: str | None) -> float:
    """As the encoder cuts them: scripts without blanks have no words to reckon by."""
    from potstill.networks.fine_tuning import lengths_of
    from potstill.teachers.zoo_transformers import MOST_PIECES, tokenizer_for

    texts = _some_texts(train)
    cut = tokenizer_for(checkpoint) if checkpoint else fresh_wordpiece(texts, max_pieces=MOST_PIECES)
    return float(lengths_of(cut.ids(texts)).mean())


def _some_texts(train: Dataset) -> list[str]:
    return joined_texts(train.rows[:MEASURED_TEXTS, :], train.schema)


TABLES = Modality(
    name="tables",
    encoder=_table_encoder,
    members=_table_members,
    augmenter="neighbours",
    synthetic_rows=lambda train: 40_000,  # noqa: ARG005
    patience_s=300.0,
    budget=Budget(latency_ms=1.0, size_kb=1024.0),
    time_limit_s=None,
    teacher_s=150.0,
    heavy=False,
    newest_operators=False,
)
IMAGES = Modality(
    name="images",
    encoder=_image_encoder,
    members=_image_members,
    augmenter="views",
    synthetic_rows=_views,
    budget=Budget(latency_ms=2.0, size_kb=1024.0),
    teacher_share=0.6,
    targets=(Targets(hard_label_weight=0.5, real="in_sample"),),
    temperatures=(2.0, 4.0),
    short_share=0.2,
)
TEXTS = Modality(
    name="texts",
    encoder=_text_encoder,
    members=_text_members,
    augmenter="words",
    synthetic_rows=_new_texts,
    patience_s=1_800.0,
    budget=Budget(latency_ms=20.0, size_kb=40_000.0),
    targets=(
        Targets(hard_label_weight=0.5, real="in_sample"),
        Targets(hard_label_weight=1.0, real="in_sample"),
        Targets(hard_label_weight=0.5, real="in_sample", synthetic=0.0),
    ),
    short_share=0.25,
)
MODALITIES: Mapping[ColumnKind, Modality] = {"image": IMAGES, "text": TEXTS}
"""The kind of column that makes data other than a table; the first that is there decides."""
