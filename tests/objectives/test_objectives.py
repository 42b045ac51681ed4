"""Distillation losses: invariants, limits and identities."""

from __future__ import annotations

import msgspec
import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from numpy.typing import NDArray

from potstill.errors import UserError
from potstill.objectives import DIST, DKD, JSD, KD, MSE, OBJECTIVES, LogitMSE, blended
from potstill.objectives.dkd import decoupled_divergences
from potstill.testing.objective import check_objective
from potstill.types import Objective

CLASSIFICATION = sorted(set(OBJECTIVES) - {"mse"})


def logit_arrays(
    rows: int = 6, classes: int = 4, size: float = 8.0
) -> st.SearchStrategy[NDArray[np.float64]]:
    return arrays(np.float64, (rows, classes), elements=st.floats(-size, size))


def softened(logits: torch.Tensor, temperature: float) -> torch.Tensor:
    return torch.softmax(logits / temperature, dim=1)


@pytest.mark.parametrize("name", OBJECTIVES)
def test_contract(name: str) -> None:
    check_objective(OBJECTIVES[name]())


@pytest.mark.parametrize(
    "objective",
    [
        KD(temperature=3.0),
        LogitMSE(temperature=2.0),
        JSD(beta=0.0),
        JSD(beta=0.1, temperature=2.0),
        JSD(beta=1.0),
    ],
    ids=str,
)
def test_contract_with_other_fields(objective: Objective) -> None:
    check_objective(objective)


@pytest.mark.parametrize("name", OBJECTIVES)
def test_names_are_the_table_keys_and_parts_are_frozen(name: str) -> None:
    objective = OBJECTIVES[name]()
    assert objective.name == name
    with pytest.raises(AttributeError, match="immutable"):
        objective.temperature = 2.0  # type: ignore[misc]


def test_a_part_survives_json() -> None:
    part = JSD(beta=0.25, temperature=2.0)
    assert msgspec.json.decode(msgspec.json.encode(part), type=JSD) == part


def test_kd_in_figures() -> None:
    loss = KD(temperature=2.0).loss(torch.tensor([[0.0, 0.0]]), torch.tensor([[0.75, 0.25]]))
    expected = 4 * (0.75 * np.log(0.75 / 0.5) + 0.25 * np.log(0.25 / 0.5))
    assert loss.item() == pytest.approx(expected, rel=1e-6)


def test_kd_sums_over_classes() -> None:
    """The endemic bug divides by the number of classes."""
    logits = torch.zeros(1, 10)
    certain = torch.eye(10)[:1]
    assert KD().loss(logits, certain).item() == pytest.approx(np.log(10), rel=1e-6)


def test_two_class_kd_is_bernoulli_kd() -> None:
    teacher_logit, student_logit, temperature = 1.3, -0.4, 2.0
    p, q = (1 / (1 + np.exp(-z / temperature)) for z in (teacher_logit, student_logit))
    bernoulli = temperature**2 * (p * np.log(p / q) + (1 - p) * np.log((1 - p) / (1 - q)))
    logits = torch.tensor([[0.0, student_logit]], dtype=torch.float64)
    loss = KD(temperature=temperature).loss(logits, torch.tensor([[1 - p, p]], dtype=torch.float64))
    assert loss.item() == pytest.approx(bernoulli, rel=1e-9)


@given(student=logit_arrays(), teacher=logit_arrays(), temperature=st.sampled_from([1.0, 2.0, 4.0]))
@settings(max_examples=40, deadline=None)
@pytest.mark.parametrize("name", CLASSIFICATION)
def test_never_negative_and_zero_at_equality(
    name: str, student: NDArray[np.float64], teacher: NDArray[np.float64], temperature: float
) -> None:
    objective = msgspec.structs.replace(OBJECTIVES[name](), temperature=temperature)
    z, v = torch.from_numpy(student), torch.from_numpy(teacher)
    probs = softened(v, temperature)
    assert (objective.loss(z, probs) >= -1e-9).all()
    if name != "logit_mse":  # its floor under tiny probabilities moves the optimum
        assert objective.loss(v, probs).abs().max() < 1e-9


@given(
    student=logit_arrays(),
    teacher=logit_arrays(),
    temperature=st.floats(0.5, 5.0),
    labels=arrays(np.int64, 6, elements=st.integers(0, 3)),
)
@settings(max_examples=60, deadline=None)
def test_dkd_with_the_teachers_rest_as_beta_is_kd(
    student: NDArray[np.float64], teacher: NDArray[np.float64], temperature: float, labels: NDArray[np.int64]
) -> None:
    z, y = torch.from_numpy(student), torch.from_numpy(labels)
    probs = softened(torch.from_numpy(teacher), temperature)
    target, others = decoupled_divergences(z / temperature, probs, y)
    rest_mass = 1 - probs.gather(1, y[:, None])[:, 0]
    decoupled = temperature**2 * (target + rest_mass * others)
    torch.testing.assert_close(decoupled, KD(temperature=temperature).loss(z, probs), rtol=1e-6, atol=1e-8)


def test_dkd_without_labels_takes_the_teachers_class() -> None:
    z, probs = torch.randn(5, 3, generator=torch.Generator().manual_seed(1)), torch.eye(3)[[0, 1, 2, 0, 1]]
    top = torch.tensor([0, 1, 2, 0, 1])
    torch.testing.assert_close(DKD().loss(z, probs), DKD().loss(z, probs, labels=top))
    torch.testing.assert_close(
        DKD().loss(z, probs, labels=torch.full((5,), -1)), DKD().loss(z, probs, labels=top)
    )


@given(student=logit_arrays(size=4.0), teacher=logit_arrays(size=4.0))
@settings(max_examples=40, deadline=None)
def test_jsd_is_continuous_at_its_ends(student: NDArray[np.float64], teacher: NDArray[np.float64]) -> None:
    z, v = torch.from_numpy(student), torch.from_numpy(teacher)
    p, q = softened(v, 1.0), softened(z, 1.0)
    forward = (p * (p / q).log()).sum(dim=1)
    reverse = (q * (q / p).log()).sum(dim=1)
    torch.testing.assert_close(JSD(beta=0.0).loss(z, p), forward)
    torch.testing.assert_close(JSD(beta=1.0).loss(z, p), reverse, rtol=1e-3, atol=1e-4)
    torch.testing.assert_close(JSD(beta=1e-3).loss(z, p), forward, rtol=0.2, atol=1e-3)
    torch.testing.assert_close(JSD(beta=1 - 1e-3).loss(z, p), reverse, rtol=0.2, atol=1e-3)


def test_jsd_halfway_is_four_times_jensen_shannon() -> None:
    z, p = torch.tensor([[0.3, -0.2]], dtype=torch.float64), torch.tensor([[0.9, 0.1]], dtype=torch.float64)
    q = torch.softmax(z, dim=1)
    m = (p + q) / 2
    jensen_shannon = 0.5 * (p * (p / m).log()).sum() + 0.5 * (q * (q / m).log()).sum()
    assert JSD().loss(z, p).item() == pytest.approx(4 * jensen_shannon.item(), rel=1e-9)


def test_dist_in_figures() -> None:
    """Scaling a row's logits about their order leaves the loss small; reversing the order does not."""
    probs = torch.tensor([[0.7, 0.2, 0.1], [0.1, 0.7, 0.2], [0.2, 0.1, 0.7]], dtype=torch.float64)
    agreeing, reversed_ = torch.log(probs), -torch.log(probs)
    assert DIST().loss(agreeing, probs).mean().item() == pytest.approx(0, abs=1e-9)
    student = torch.softmax(reversed_, dim=1).numpy()
    over_rows = np.mean([np.corrcoef(s, t)[0, 1] for s, t in zip(student, probs.numpy(), strict=True)])
    over_columns = np.mean([np.corrcoef(s, t)[0, 1] for s, t in zip(student.T, probs.numpy().T, strict=True)])
    loss = DIST(beta=2.0, gamma=3.0, temperature=1.0).loss(reversed_, probs).mean().item()
    assert loss == pytest.approx(2 * (1 - over_rows) + 3 * (1 - over_columns), rel=1e-6)


@pytest.mark.parametrize("name", ["kd", "logit_mse", "jsd", "dkd"])
def test_gradient_scale_does_not_depend_on_temperature(name: str) -> None:
    """For logits of ordinary size; dropping the factor T² would divide the gradient by 16 here."""
    generator = torch.Generator().manual_seed(0)
    v, z = (torch.randn(200, 4, generator=generator, dtype=torch.float64) for _ in range(2))

    def gradient_norm(temperature: float) -> float:
        objective = msgspec.structs.replace(OBJECTIVES[name](), temperature=temperature)
        logits = z.clone().requires_grad_()
        loss = objective.loss(logits, softened(v, temperature), labels=torch.zeros(200, dtype=torch.int64))
        return float(torch.autograd.grad(loss.mean(), logits)[0].norm())

    assert 0.6 < gradient_norm(8.0) / gradient_norm(2.0) < 1.6


def test_kd_tends_to_logit_mse_at_high_temperature() -> None:
    """Hinton's limit: T² KL → (1 / 2K) ‖centred difference‖²."""
    generator = torch.Generator().manual_seed(0)
    v, z = (torch.randn(20, 5, generator=generator, dtype=torch.float64) for _ in range(2))
    hot = KD(temperature=300.0).loss(z, softened(v, 300.0))
    limit = LogitMSE().loss(z, softened(v, 1.0))
    torch.testing.assert_close(hot, limit, rtol=2e-2, atol=1e-4)


def test_blend_is_the_weighted_sum_row_by_row() -> None:
    z = torch.tensor([[0.2, -0.1], [1.0, 0.5], [0.0, 2.0]])
    p = torch.tensor([[0.6, 0.4], [0.5, 0.5], [0.9, 0.1]])
    y = torch.tensor([0, 1, -1])
    cross_entropy = -torch.log_softmax(z, dim=1)[torch.arange(2), y[:2]]
    soft = KD(temperature=2.0).loss(z, p)
    mixed = blended(KD(temperature=2.0), z, p, y, torch.tensor([0.25, 1.0, 0.5]))
    expected = torch.stack([0.25 * cross_entropy[0] + 0.75 * soft[0], cross_entropy[1], soft[2]])
    torch.testing.assert_close(mixed, expected)


def test_blend_of_values() -> None:
    z, v = torch.tensor([[1.0], [2.0]]), torch.tensor([[0.0], [5.0]])
    y = torch.tensor([3.0, float("nan")])
    torch.testing.assert_close(blended(MSE(), z, v, y, torch.tensor([0.5, 0.5])), torch.tensor([2.5, 9.0]))


def test_blend_of_values_has_a_gradient_where_labels_are_missing() -> None:
    z = torch.zeros(1, 1, requires_grad=True)
    loss = blended(MSE(), z, torch.ones(1, 1), torch.tensor([float("nan")]), torch.ones(1))
    assert torch.autograd.grad(loss.sum(), z)[0].item() == -2.0


def test_member_order_does_not_matter() -> None:
    """The loss sees the members' average alone; this holds the average to be of probabilities."""
    members = torch.softmax(torch.randn(3, 5, 4, generator=torch.Generator().manual_seed(0)), dim=2)
    z = torch.zeros(5, 4)
    torch.testing.assert_close(KD().loss(z, members.mean(dim=0)), KD().loss(z, members.flip(0).mean(dim=0)))


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (
            lambda: KD(temperature=0.0),
            "The objective 'kd' wants temperature above 0, got 0.0.\n\n"
            "hint: temperature=1 is the usual start.",
        ),
        (
            lambda: JSD(beta=1.5),
            "The objective 'jsd' wants beta between 0 and 1, got 1.5.\n\n"
            "hint: 0 is forward, 1 is reverse Kullback-Leibler divergence.",
        ),
        (
            lambda: DKD(alpha=-1.0),
            "The objective 'dkd' wants alpha of 0 or more, got -1.0.\n\n"
            "hint: alpha=0 switches that term off.",
        ),
    ],
)
def test_bad_fields_are_said_in_a_sentence(make: object, message: str) -> None:
    with pytest.raises(UserError) as caught:
        make()  # type: ignore[operator]
    assert str(caught.value) == message


class _Negated(msgspec.Struct, frozen=True):
    name = "negated"
    temperature: float = 1.0

    def loss(
        self, student_logits: torch.Tensor, teacher_probs: torch.Tensor, *, labels: object = None
    ) -> torch.Tensor:
        return -KD().loss(student_logits, teacher_probs)


class _Averaged(msgspec.Struct, frozen=True):
    name = "averaged"
    temperature: float = 1.0

    def loss(
        self, student_logits: torch.Tensor, teacher_probs: torch.Tensor, *, labels: object = None
    ) -> torch.Tensor:
        return KD().loss(student_logits, teacher_probs).mean()


@pytest.mark.parametrize(
    ("objective", "complaint"),
    [
        (_Negated(), "negated: a loss of .* is negative"),
        (_Averaged(), r"averaged: one loss a row wanted, got shape \(\)"),
    ],
)
def test_the_check_can_fail(objective: Objective, complaint: str) -> None:
    with pytest.raises(AssertionError, match=complaint):
        check_objective(objective)
