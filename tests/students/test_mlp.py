"""The network: its size, its inputs, its training."""

from __future__ import annotations

import pickle
from dataclasses import replace

import numpy as np
import pytest
import torch

from potstill.objectives import KD
from potstill.students import MLP
from potstill.students.network import Inputs, NetworkShape, forward, initial_weights
from potstill.students.network_student import FittedNetwork
from potstill.students.network_training import Epochs, Schedule
from potstill.students.numeric_scaling import fit_numeric_scaling
from potstill.testing.student import check_same_answers
from potstill.testing.student_cases import StudentCase, student_cases
from potstill.types import Examples, FeatureSpec, Task


def fitted_on(case: StudentCase, student: MLP, effort: int = 3) -> FittedNetwork:
    fitted, _ = student.fit(
        case.train, None, spec=case.spec, task=case.task, objective=case.objective, seed=0, effort=effort
    )
    assert isinstance(fitted, FittedNetwork)
    return fitted


def numbers_alone(n_rows: int = 64, n_columns: int = 20) -> Examples:
    rng = np.random.default_rng(0)
    numeric = rng.normal(size=(n_rows, n_columns)).astype(np.float32)
    labels = (numeric[:, 0] > 0).astype(np.int64)
    return Examples(
        tensors={"numeric": numeric},
        teacher_probs=np.eye(2, dtype=np.float32)[labels],
        labels=labels,
        hard_weight=np.zeros(n_rows, dtype=np.float32),
        weight=np.ones(n_rows, dtype=np.float32),
    )


def test_the_classic_recipe_has_3490_parameters() -> None:
    spec = FeatureSpec(numeric=tuple(f"x{i}" for i in range(20)))
    fitted, _ = MLP(hidden=(64, 32), numeric_embedding=None).fit(
        numbers_alone(),
        None,
        spec=spec,
        task=Task("binary", "y", (0, 1)),
        objective=KD(),
        seed=0,
        effort=1,
    )
    assert fitted.n_parameters == 20 * 64 + 64 + 64 * 32 + 32 + 32 * 2 + 2 == 3490


def test_size_multiplies_the_weights_of_the_hidden_layers() -> None:
    case = student_cases()[0]
    widths = [
        fitted_on(case, MLP(hidden=(20, 10)).resized(size), 1).weights["weight1"].shape for size in (1.0, 4.0)
    ]
    assert widths == [(20, 10), (40, 20)]


def test_categories_alone() -> None:
    case = student_cases()[1]

    def without_numbers(examples: Examples) -> Examples:
        n_rows = len(examples)
        return replace(
            examples, tensors={**examples.tensors, "numeric": np.zeros((n_rows, 0), dtype=np.float32)}
        )

    case = replace(
        case,
        spec=replace_spec(case.spec),
        train=without_numbers(case.train),
        valid=without_numbers(case.valid),
    )
    fitted = fitted_on(case, MLP(hidden=(8,)))
    assert fitted.logits({"categorical": case.valid.tensors["categorical"]}).shape == (len(case.valid), 3)


def replace_spec(spec: FeatureSpec) -> FeatureSpec:
    return FeatureSpec(numeric=(), categorical=spec.categorical, cardinalities=spec.cardinalities)


def test_levels_never_trained_answer_like_the_average_level() -> None:
    case = student_cases()[0]
    fitted = fitted_on(case, MLP(hidden=(8,), embedding=3))
    counts = np.bincount(case.train.tensors["categorical"][:, 0], minlength=6)
    assert counts[0] == 0
    table = fitted.weights["embedding"][:6]
    np.testing.assert_allclose(table[0], np.average(table[1:], axis=0, weights=counts[1:]), atol=1e-6)


@pytest.mark.parametrize("dropout", [0.0, 0.3])
@pytest.mark.parametrize("numeric_embedding", ["periodic", None])
def test_forms_of_the_network_answer_alike(numeric_embedding: str | None, dropout: float) -> None:
    case = student_cases()[1]
    student = MLP(hidden=(16, 8), numeric_embedding=numeric_embedding, dropout=dropout)  # type: ignore[arg-type]
    check_same_answers(fitted_on(case, student), case, case.valid.tensors, "all rows")


@pytest.mark.parametrize("temperature", [1.0, 2.0])
def test_the_student_approaches_the_teacher(temperature: float) -> None:
    """Pure distillation on a teacher unlike the labels: the student follows the teacher."""
    case = student_cases()[0]
    softened = np.where(case.train.tensors["numeric"][:, 1] > 18, 0.8, 0.3).astype(np.float32)
    train = replace(
        case.train,
        teacher_probs=np.stack([1 - softened, softened], axis=1),
        hard_weight=np.zeros(len(softened), dtype=np.float32),
    )
    case = replace(case, train=train, objective=KD(temperature=temperature))
    logits = fitted_on(case, MLP(hidden=(32,), dropout=0.0), 80).logits(train.tensors) / temperature
    answered = 1 / (1 + np.exp(logits[:, 0] - logits[:, 1]))
    assert np.abs(answered - softened).mean() < 0.1


def test_scaling_in_figures() -> None:
    numeric = np.array([[0.0, 5.0], [1.0, 5.0], [2.0, 5.0], [3.0, 5.0], [4.0, np.nan]], dtype=np.float32)
    scaling = fit_numeric_scaling(numeric)
    hostile = np.array([[2.0, 5.0], [4.0, 9.0], [np.inf, np.nan], [-np.inf, -np.inf]], dtype=np.float32)
    scaled, missing = scaling.encode(hostile)
    edge = 1 / np.sqrt(1 + 1 / 9)
    np.testing.assert_allclose(scaled, [[0, 0], [edge, 0], [edge, 0], [-edge, 0]], atol=1e-6)
    assert missing.tolist() == [[0], [0], [1], [0]]


def test_a_long_upper_tail_becomes_logarithmic() -> None:
    values = np.geomspace(1, 1e6, 1001, dtype=np.float32)[:, None]
    scaled, _ = fit_numeric_scaling(values).encode(values)
    upper = np.diff(scaled[500::100, 0])
    assert upper.min() > 0.5 * upper.max()


def test_zeros_with_a_few_large_values_keep_their_order() -> None:
    values = np.array([0.0] * 95 + [1.0, 10.0, 100.0, 1000.0, 10000.0], dtype=np.float32)[:, None]
    scaled, _ = fit_numeric_scaling(values).encode(values)
    assert (np.diff(scaled[94:, 0]) > 0.02).all()


def test_rate_warms_up_and_cools_to_nothing() -> None:
    schedule = Schedule(epochs=10, batch_size=1, learning_rate=2.0, weight_decay=0, dropout=0, patience=3)
    assert schedule.rate(0.0) == 0
    assert schedule.rate(0.05) == pytest.approx(2.0)
    assert schedule.rate(0.525) == pytest.approx(1.0)
    assert schedule.rate(1.0) == pytest.approx(0.0)


def test_the_first_answer_is_the_prior() -> None:
    shape = NetworkShape(3, 0, 3, (), 4, (8,), 2)
    start = np.log(np.array([0.9, 0.1], dtype=np.float32))
    weights = initial_weights(
        shape, np.zeros((4, 3), dtype=np.float32), start, torch.Generator().manual_seed(0)
    )
    weights["logit_weight"].zero_()
    inputs = Inputs(
        torch.randn(5, 3), torch.zeros(5, 0), torch.zeros(5, 0, dtype=torch.int64), torch.arange(3)
    )
    np.testing.assert_allclose(torch.softmax(forward(weights, inputs), 1)[:, 0], 0.9, atol=1e-6)


def test_training_leaves_the_global_generator_alone() -> None:
    case = student_cases()[1]
    torch.manual_seed(5)
    wanted = torch.rand(1)
    torch.manual_seed(5)
    fitted_on(case, MLP(hidden=(8,)))
    assert torch.rand(1) == wanted


def test_a_fit_again_follows_the_same_schedule_as_far_as_it_was_best() -> None:
    again = pickle.loads(pickle.dumps(Epochs(12, 40)))
    assert (again, again.planned) == (12, 40)
    schedule = MLP()._plan().schedule(5_000, again, None)
    assert (schedule.epochs, schedule.stop_after) == (40, 12)
    assert schedule.rate(schedule.done(12, 0.0)) > 0.5 * schedule.learning_rate
    assert MLP()._plan().schedule(5_000, 12, None).epochs == 12
