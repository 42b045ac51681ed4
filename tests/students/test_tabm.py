"""Heads: their loss, their choice, and how they answer together."""

from __future__ import annotations

import numpy as np
import torch

from potstill.objectives import KD
from potstill.students import TabM
from potstill.students.head_choice import best_heads
from potstill.students.network import Inputs, NetworkShape, folded, forward, initial_weights, with_heads
from potstill.students.network_student import FittedNetwork
from potstill.students.network_training import Judge, Lesson
from potstill.testing.student_cases import student_cases

SHAPE = NetworkShape(3, 0, 3, (), 4, (8, 8), 2, n_heads=4)


def rows_of_numbers(n_rows: int = 5) -> Inputs:
    generator = torch.Generator().manual_seed(1)
    numbers = torch.randn(n_rows, 3, generator=generator)
    return Inputs(numbers, torch.zeros(n_rows, 0), torch.zeros(n_rows, 0, dtype=torch.int64), torch.arange(3))


def some_weights() -> dict[str, torch.Tensor]:
    numbers = rows_of_numbers(50).numbers.numpy()
    weights = initial_weights(SHAPE, numbers, np.zeros(2, dtype=np.float32), torch.Generator().manual_seed(0))
    weights["scale"] = torch.linspace(0.5, 2.0, SHAPE.n_inputs)
    return weights


def test_the_folded_network_answers_with_the_mean_of_the_heads_logits() -> None:
    weights = some_weights()
    heads = forward(weights, rows_of_numbers())
    assert heads.shape == (4, 5, 2)
    assert not torch.allclose(heads[0], heads[1])
    torch.testing.assert_close(forward(folded(weights), rows_of_numbers()), heads.mean(dim=0))


def test_the_loss_is_the_mean_of_the_heads_losses() -> None:
    """Two heads that contradict each other are both wrong by half, though their mean has no opinion."""
    lesson = Lesson(
        inputs=rows_of_numbers(1),
        targets=torch.tensor([[1.0, 0.0]]),
        labels=torch.tensor([0]),
        hard_weight=torch.ones(1),
        weight=torch.ones(1),
        objective=None,
    )
    logits = torch.tensor([[[4.0, 0.0]], [[0.0, 4.0]]])
    wanted = np.mean([np.log1p(np.exp(-4)), np.log1p(np.exp(4))])
    np.testing.assert_allclose(lesson.loss(logits, torch.tensor([0])), wanted, rtol=1e-6)


def test_the_loss_of_a_softened_objective_is_the_mean_over_heads_too() -> None:
    def lesson(objective: KD | None) -> Lesson:
        return Lesson(
            inputs=rows_of_numbers(2),
            targets=torch.tensor([[0.7, 0.3], [0.2, 0.8]]),
            labels=torch.tensor([0, 1]),
            hard_weight=torch.zeros(2),
            weight=torch.tensor([0.5, 1.5]),
            objective=objective,
        )

    rows, softened = torch.tensor([0, 1]), lesson(KD(temperature=2.0))
    heads = torch.tensor([[[1.0, 0.0], [0.5, 2.0]], [[-1.0, 0.0], [0.0, 0.3]]])
    alone = [float(softened.loss(head, rows)) for head in heads]
    np.testing.assert_allclose(softened.loss(heads, rows), np.mean(alone), rtol=1e-6)


def test_the_heads_that_are_best_together_stay() -> None:
    """Head 1 is wrong, head 2 has no opinion, head 0 is right but for its certainty."""
    numbers = torch.linspace(-1, 1, 20)[:, None]
    inputs = Inputs(numbers, torch.zeros(20, 0), torch.zeros(20, 0, dtype=torch.int64), torch.arange(3))
    judge = Judge(inputs=inputs, labels=(numbers[:, 0] > 0).long(), weight=torch.ones(20))
    weights = {
        "adapter": torch.tensor([[1.0], [-1.0], [1.0]]),
        "weight0": torch.ones(1, 1),
        "bias0": torch.zeros(1),
        "logit_weight": torch.tensor([[[0.0, 10.0]], [[0.0, 10.0]], [[0.0, 0.0]]]),
        "logit_bias": torch.tensor([[0.0, -2.0], [0.0, -2.0], [0.0, 0.0]]),
    }
    assert best_heads(weights, judge, kept=1).tolist() == [0]
    assert best_heads(weights, judge, kept=2).tolist() == [0, 2]
    assert best_heads(weights, None, kept=2).tolist() == [0, 1]
    assert best_heads(weights, judge, kept=5).tolist() == [0, 1, 2]
    picked = with_heads(weights, torch.tensor([0, 2]))
    torch.testing.assert_close(forward(picked, inputs), forward(weights, inputs)[[0, 2]])


def test_a_refit_keeps_as_many_heads() -> None:
    case, student = student_cases()[1], TabM(hidden=(8,), heads=5, kept=2, epochs=2)

    def heads_of(valid: object, effort: int | None) -> int:
        fitted, _ = student.fit(
            case.train,
            valid,  # type: ignore[arg-type]
            spec=case.spec,
            task=case.task,
            objective=case.objective,
            seed=0,
            effort=effort,
        )
        assert isinstance(fitted, FittedNetwork)
        return len(fitted.weights["adapter"])

    assert heads_of(case.valid, None) == heads_of(None, 2) == 2
