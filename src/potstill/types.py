"""The nouns of the package: frozen structs and the Protocols that parts fulfil. numpy only.

Conventions
-----------
``n`` rows, ``K = task.n_outputs`` outputs. Probabilities are ``(n, K)`` float32, columns in the order of
``task.classes``, also for binary tasks (``K = 2``). Regression has ``K = 1`` and carries values in the
target's own unit. Labels are ``int64`` class indices, ``-1`` where a row has none; regression labels are
``float64``, ``NaN`` where a row has none.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Literal, Protocol, TypeAlias, get_args, runtime_checkable

import msgspec
import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    import narwhals as nw

    from potstill.graph import GraphBuilder

Floats: TypeAlias = NDArray[np.float32]
Doubles: TypeAlias = NDArray[np.float64]
Ints: TypeAlias = NDArray[np.int64]
Bools: TypeAlias = NDArray[np.bool_]
Labels: TypeAlias = NDArray[np.int64] | NDArray[np.float64]
Tensors: TypeAlias = Mapping[str, NDArray[Any]]
"""Encoded rows: name to array, first axis the rows.

Always ``numeric`` ``(n, F)`` float32, NaN where a value is missing, and ``categorical`` ``(n, C)`` int64
level ids: 0 unseen or rare, 1 missing, then levels; either may have no column. Pictures add ``pixels``
``(n, H, W, C)`` uint8. Texts add ``words`` ``(n, T)`` int32: 0 where a text has ended, 1 a word never seen,
then `FeatureSpec.words`; and ``pieces`` ``(n, P)`` int32 ids of `FeatureSpec.pieces`, filled up with 0."""

Label: TypeAlias = str | int | bool
TaskKind = Literal["binary", "multiclass", "regression"]
ColumnKind = Literal["numeric", "boolean", "categorical", "date", "text", "image"]
Origin = Literal["real", "held_out", "unlabeled", "synthetic"]

TABLE_KINDS: frozenset[ColumnKind] = frozenset({"numeric", "boolean", "categorical", "date"})
"""Kinds of column that tables are made of."""

ALL_KINDS: frozenset[ColumnKind] = frozenset(get_args(ColumnKind))

NULL_TEXTS = (
    *("", "NA", "N/A", "n/a", "#N/A", "#N/A N/A", "#NA", "<NA>", "NULL", "null"),
    *("NaN", "nan", "-NaN", "-nan", "1.#QNAN", "-1.#QNAN", "1.#IND", "-1.#IND"),
)
"""Texts that mean "missing" in a CSV file, in training and in prediction: what pandas takes for it, less
``None``, which is a level in many tables."""


class Task(msgspec.Struct, frozen=True):
    """What is to be predicted.

    Parameters
    ----------
    kind
        ``binary``, ``multiclass`` or ``regression``.
    target
        Name of the column to be predicted.
    classes
        The labels in the order of the probability columns, sorted; empty for regression.
    """

    kind: TaskKind
    target: str
    classes: tuple[Label, ...] = ()

    @property
    def n_outputs(self) -> int:
        """``len(classes)``, or 1 for regression."""
        return len(self.classes) or 1

    @property
    def is_classification(self) -> bool:
        return self.kind != "regression"


class Column(msgspec.Struct, frozen=True, omit_defaults=True):
    """One input column of the model, as the artifact takes it.

    Parameters
    ----------
    name
        The column's name in the data and the name of the graph's input.
    kind
        ``numeric`` and ``boolean`` (0, 1) are float32 inputs, NaN missing; ``categorical`` is a string input,
        ``""`` missing; ``date`` is a float64 input, days since 1970-01-01 with fraction, NaN missing;
        ``text`` is a string input, ``""`` missing, or where the artifact carries a tokenizer an int64 input
        ``(n, pieces)``; ``image`` is a uint8 input ``(n, height, width, channels)`` of any height and width.
    integer
        The numbers of a numeric column are whole.
    levels
        Levels of a categorical column that have an id of their own, most frequent first.
    low, high
        Smallest and largest finite value seen (days for dates); None for categories.
    has_missing
        Whether a value was missing in the training rows.
    monotone
        +1: the answer (a value, or the probability of the second class) never falls as the number rises; -1:
        it never rises; 0: it may do both.
    shape
        Height, width and channels (1 or 3) of an image as the model looks at it; empty for all else.
    """

    name: str
    kind: ColumnKind
    integer: bool = False
    levels: tuple[str, ...] = ()
    low: float | None = None
    high: float | None = None
    has_missing: bool = False
    monotone: int = 0
    shape: tuple[int, ...] = ()


class DroppedColumn(msgspec.Struct, frozen=True):
    """A column of the data that the model does not use, and the reason in a word."""

    name: str
    reason: str


class Schema(msgspec.Struct, frozen=True):
    """The columns a model takes, in order, and those left out."""

    columns: tuple[Column, ...]
    dropped: tuple[DroppedColumn, ...] = ()

    @property
    def names(self) -> tuple[str, ...]:
        return tuple(column.name for column in self.columns)


class FeatureSpec(msgspec.Struct, frozen=True):
    """Shape of the encoded tensors: what a student family needs to know to build itself.

    Parameters
    ----------
    numeric
        Names of the columns of ``tensors["numeric"]`` (a date makes several).
    cardinalities
        For each column of ``tensors["categorical"]``: number of level ids, the ids 0 and 1 included.
    categorical
        Names of the columns of ``tensors["categorical"]``.
    monotone
        For each column of ``tensors["numeric"]``: +1 where the value, or the second class's logit, must never
        fall as the number rises, -1 where it must never rise, 0 where it may do both. Empty for no such wish.
    image
        Height, width and channels of ``tensors["pixels"]``; empty without pictures.
    words
        The word of each id of ``tensors["words"]`` from 2 on, most frequent first; empty without texts.
    pieces
        The word piece of each id of ``tensors["pieces"]``; empty without texts, or without a tokenizer.
    """

    numeric: tuple[str, ...] = ()
    categorical: tuple[str, ...] = ()
    cardinalities: tuple[int, ...] = ()
    monotone: tuple[int, ...] = ()
    image: tuple[int, ...] = ()
    words: tuple[str, ...] = ()
    pieces: tuple[str, ...] = ()


@dataclass(frozen=True)
class Dataset:
    """Rows with named columns, their labels or none, and the task.

    Parameters
    ----------
    rows
        All input columns as the caller gave them (also those the schema drops: an adopted teacher may want
        them), a narwhals frame over pandas, polars or pyarrow; without target, weight and group.
    task, schema
        What is predicted, and from which columns.
    labels
        ``(n,)`` class indices or values; None when the rows have no labels.
    weight
        ``(n,)`` float64 sample weights; None when all weigh the same.
    groups
        ``(n,)`` group ids: rows of one group are never split; None when rows are independent.
    ids
        ``(n,)`` int64 position of each row in the training data as the caller gave it, before any split;
        None for rows that are not from there (test, unlabelled, synthetic).
    from_array
        The caller gave a bare 2-d array: teachers get arrays back.
    """

    rows: nw.DataFrame[Any]
    task: Task
    schema: Schema
    labels: Labels | None = None
    weight: Doubles | None = None
    groups: NDArray[Any] | None = None
    ids: Ints | None = None
    from_array: bool = False

    def __len__(self) -> int:
        return len(self.rows)

    def take(self, index: Ints) -> Dataset:
        """The rows at ``index``, with their labels, weights and groups."""
        return Dataset(
            rows=self.rows[index, :],
            task=self.task,
            schema=self.schema,
            labels=None if self.labels is None else self.labels[index],
            weight=None if self.weight is None else self.weight[index],
            groups=None if self.groups is None else self.groups[index],
            ids=None if self.ids is None else self.ids[index],
            from_array=self.from_array,
        )


class Teacher(Protocol):
    """Something fitted that answers rows."""

    @property
    def name(self) -> str: ...

    @property
    def fingerprint(self) -> str:
        """Hex digest that changes when the answers would: the key of stored soft targets."""

    def predict(self, dataset: Dataset) -> Floats:
        """Probabilities ``(n, K)`` in the order of ``dataset.task.classes``, or values ``(n, 1)``."""


@runtime_checkable
class OutOfFoldTeacher(Teacher, Protocol):
    """A teacher that kept its own out-of-fold answers for the rows it was fitted on."""

    def predict_out_of_fold(self, dataset: Dataset) -> Floats:
        """``(n, K)`` like `predict`, but no row is answered by a model fitted on it; NaN where it cannot."""


@runtime_checkable
class SizedTeacher(Teacher, Protocol):
    """A teacher that knows how large it is."""

    @property
    def size_bytes(self) -> int:
        """Bytes of the model as it would be stored."""


@runtime_checkable
class EncoderTeacher(Teacher, Protocol):
    """A teacher whose encoder students may begin with."""

    def write_encoder(self, path: Path) -> None:
        """Write its weights as one file of safetensors."""


@runtime_checkable
class PartialTeacher(Teacher, Protocol):
    """A teacher that can answer some rows only, such as a table of probabilities."""

    def covers(self, dataset: Dataset) -> bool:
        """Whether it can answer every row."""


@runtime_checkable
class Trainable(Protocol):
    """Something not fitted yet: potstill fits it out of fold."""

    @property
    def name(self) -> str: ...

    @property
    def fingerprint(self) -> str:
        """Hex digest of the recipe: the key of stored soft targets."""

    def fit(self, dataset: Dataset, *, seed: int) -> Teacher:
        """Fit on all rows of ``dataset`` (its labels are never None, its weight may be)."""


@runtime_checkable
class StoppingTrainable(Trainable, Protocol):
    """A Trainable that can be told which rows to stop early on, and then sets none of its own aside."""

    def fit_until(self, dataset: Dataset, stop_on: Dataset, *, seed: int) -> Teacher:
        """Learn from the rows of ``dataset`` only, for as long as the loss on those of ``stop_on`` falls."""


@runtime_checkable
class KeepingTrainable(Trainable, Protocol):
    """What becomes, where it says ``keeps_encoder``, an `EncoderTeacher` whose encoder is kept."""

    @property
    def keeps_encoder(self) -> bool: ...


@runtime_checkable
class BaggedTrainable(Trainable, Protocol):
    """A Trainable that need not be cross-fitted where rows are independent: for each, parts never saw it."""

    def fit_whole(self, dataset: Dataset, *, seed: int) -> OutOfFoldTeacher:
        """Fit once, on all rows of ``dataset``, whose ``ids`` tell them apart when they are asked about."""


@dataclass(frozen=True)
class SoftTargets:
    """What the members of a teacher answered for some rows.

    Parameters
    ----------
    members
        Names of the M members.
    probs
        ``(M, n, K)`` float32 probabilities (values for regression), each member before any temperature.
    weights
        ``(M,)`` weights of the members, non-negative, sum 1.
    out_of_fold
        ``(n,)`` whether every member that answered the row was fitted without it.
    fold
        ``(n,)`` int64 cross-fitting fold of the row, -1 where it was in none.
    member_temperatures
        What each member is softened with to be calibrated (below 1: sharpened), before the mean; empty for 1.
    temperature
        What the weighted mean of the members is softened with thereafter.
    """

    members: tuple[str, ...]
    probs: Floats
    weights: Doubles
    out_of_fold: Bools
    fold: Ints
    member_temperatures: tuple[float, ...] = ()
    temperature: float = 1.0

    def __len__(self) -> int:
        return int(self.probs.shape[1])


@dataclass(frozen=True)
class TransferSet:
    """The rows a student learns from and what the teacher says of them.

    Parameters
    ----------
    rows
        The rows of each origin: ``real`` always; ``unlabeled``, ``synthetic`` and ``held_out`` (labelled rows
        the teacher was kept off) where there are any. Only ``real`` and ``held_out`` have labels.
    soft_targets
        For the same origins: what the whole teacher answers.
    cross_fitted
        For the ``real`` rows: what the models answer that each row was kept from.
    """

    rows: Mapping[Origin, Dataset]
    soft_targets: Mapping[Origin, SoftTargets]
    cross_fitted: SoftTargets


@dataclass(frozen=True)
class Examples:
    """A transfer set encoded for one student: all that a student ever sees.

    Parameters
    ----------
    tensors
        Encoded rows.
    teacher_probs
        ``(n, K)`` float32: the ensemble's probabilities at the objective's temperature (the members'
        average after each was softened); standardised values for regression.
    labels
        ``(n,)`` int64 class indices, -1 for none; float64 standardised values for regression, NaN for none.
    hard_weight
        ``(n,)`` float32 in [0, 1]: weight of the label against the soft target, row by row; 0 where a row has
        no label, 1 everywhere for the hard-label twin.
    weight
        ``(n,)`` float32 sample weights, mean 1.
    """

    tensors: Tensors
    teacher_probs: Floats
    labels: Labels
    hard_weight: Floats
    weight: Floats

    def __len__(self) -> int:
        return len(self.weight)


class Tokenizer(Protocol):
    """Texts to ids of word pieces."""

    def ids(self, texts: Any) -> Ints:
        """``(n, P)`` ids of ``(n,)`` texts, filled up with 0; P as the longest needs, within a bound."""


class Encoder(Protocol):
    """Raw rows to tensors, said twice: in numpy and as ONNX nodes."""

    @property
    def spec(self) -> FeatureSpec: ...

    @property
    def tokenizer(self) -> Tokenizer | None:
        """Of ``tensors["pieces"]``: what an artifact must carry whose graph takes them; None without any."""

    def encode(self, rows: nw.DataFrame[Any]) -> Tensors: ...

    def build(self, graph: GraphBuilder) -> Mapping[str, str]:
        """Add the raw inputs and the encoding nodes; return tensor name to its value's name in the graph.

        What is only needed by some students may be added when it is looked up: see `graph.Deferred`. The
        value of ``words`` holds the words themselves, ``(n, T)`` string, ``""`` where a text has ended: which
        of them it knows is the student's affair.
        """


class FittedStudent(Protocol):
    """A fitted small model: it answers tensors and writes itself into a graph."""

    @property
    def n_parameters(self) -> int: ...

    def logits(self, tensors: Tensors) -> Floats:
        """``(n, K)`` float32 logits before calibration; standardised values ``(n, 1)`` for regression."""

    def build(self, graph: GraphBuilder, tensors: Mapping[str, str]) -> str:
        """Add the nodes that compute the logits of ``tensors``; return the name of the ``(n, K)`` result."""


class Objective(Protocol):
    """A distillation loss. Pure, unreduced, on torch tensors."""

    name: ClassVar[str]

    @property
    def temperature(self) -> float: ...

    def loss(self, student_logits: Any, teacher_probs: Any, *, labels: Any = None) -> Any:
        """Soft loss of each row, ``(n,)``. ``teacher_probs`` ``(n, K)`` are at this objective's temperature.

        ``labels`` ``(n,)`` are class indices, -1 for none: for objectives that treat the target class apart.
        """


class Student(Protocol):
    """A family of small models with its hyper-parameters; itself never holds data.

    ``keeps_monotone`` says whether `fit` keeps to ``spec.monotone``, ``larger`` which larger sizes are worth
    their fits where a budget has room, ``kin`` who competes with whom: the best of each kin is searched on.
    ``climbs`` is how often its settings are changed in a search: more than once where a fit takes seconds.
    ``reads`` are the kinds of column it can learn from: it is searched where the data has no others.
    """

    name: ClassVar[str]
    keeps_monotone: ClassVar[bool]
    larger: ClassVar[tuple[float, ...]]
    kin: ClassVar[str]
    climbs: ClassVar[int]
    reads: ClassVar[frozenset[ColumnKind]]
    __struct_fields__: ClassVar[tuple[str, ...]]

    @property
    def size(self) -> float:
        """The family's one dial: 1.0 is its default capacity; `resized` turns it."""

    def resized(self, size: float) -> Student: ...

    def variants(self) -> tuple[Student, ...]:
        """Other settings at the same size that are worth a trial, the most promising first; may be empty."""

    def fit(
        self,
        train: Examples,
        valid: Examples | None,
        *,
        spec: FeatureSpec,
        task: Task,
        objective: Objective,
        seed: int,
        effort: int | None = None,
        time_limit_s: float | None = None,
        device: str = "cpu",
        progress: Progress | None = None,
    ) -> tuple[FittedStudent, int]:
        """Fit on ``train``; with ``valid``, stop early where its loss against the labels is lowest.

        With ``time_limit_s`` training is planned, or cut, to end within about so many seconds.

        Returns the student and the effort spent (rounds, epochs) at the best point. A refit passes that as
        ``effort`` with ``valid=None``: exactly so much, no early stopping.
        """


class Augmenter(Protocol):
    """Makes synthetic rows out of real ones.

    ``reads`` are the kinds of column it understands: it is of use where the data has no others.
    """

    name: ClassVar[str]
    reads: ClassVar[frozenset[ColumnKind]]
    __struct_fields__: ClassVar[tuple[str, ...]]

    def augment(self, dataset: Dataset, n_rows: int, *, seed: int) -> tuple[nw.DataFrame[Any], Ints]:
        """``n_rows`` new rows of the same columns and types, and the index of each one's parent row."""


class Progress(Protocol):
    """Where long work says how far it is. `potstill.cli` draws it; the library default is silent."""

    def start(self, stage: str, total: int | None = None) -> None: ...

    def advance(self, amount: int = 1, note: str = "") -> None: ...

    def note(self, message: str) -> None:
        """One line worth reading now: a dropped column, a reused soft target."""

    def candidate(self, tried: Tried) -> None:
        """A student that the search has just fitted, exported and measured."""


class Silent:
    """A `Progress` that says nothing."""

    def start(self, stage: str, total: int | None = None) -> None:  # noqa: ARG002
        return

    def advance(self, amount: int = 1, note: str = "") -> None:  # noqa: ARG002
        return

    def note(self, message: str) -> None:  # noqa: ARG002
        return

    def candidate(self, tried: Tried) -> None:  # noqa: ARG002
        return


class Budget(msgspec.Struct, frozen=True):
    """What the deployment allows; None where it does not care.

    Parameters
    ----------
    latency_ms
        p99 of one raw row, one thread, in milliseconds, measured on the exported file.
    size_kb
        The artifact's size on disk in units of 1,000 bytes.
    memory_mb
        Memory in units of 1,000,000 bytes that opening the artifact and answering one row adds to a process
        in which the runtime is already loaded.
    max_columns
        Input columns that the student may use; the most valuable are picked.
    opset
        Highest version of the main ONNX operator set that the deployment's runtime understands; None for any.
        From 21 on (ONNX Runtime 1.21 and later) trees take less than half the bytes; the oldest that will do
        is 17 (ONNX Runtime 1.12 and later).
    """

    latency_ms: float | None = None
    size_kb: float | None = None
    memory_mb: float | None = None
    max_columns: int | None = None
    opset: int | None = None


class Latency(msgspec.Struct, frozen=True):
    """One-row latency in microseconds, measured."""

    p50: float
    p99: float


class Tried(msgspec.Struct, frozen=True):
    """A candidate of the search, as its `Progress` is told of it.

    Parameters
    ----------
    family, size
        The student's name and where its dial stands.
    told
        What it learned from, in a few words: ``labels alone``.
    loss
        On the validation rows.
    size_bytes, latency
        Of its exported file.
    fits_budget
        It keeps the budget.
    """

    family: str
    size: float
    told: str
    loss: float
    size_bytes: int
    latency: Latency
    fits_budget: bool
