"""Boosted trees: their loss, their categories, their ONNX form."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import onnx
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from numpy.typing import NDArray
from onnx import TensorProto

from potstill.artifact.session import open_session
from potstill.graph import OPSETS, GraphBuilder, Opset
from potstill.modalities.category_codes import fit_category_codes
from potstill.objectives import DIST, DKD, JSD, KD, LogitMSE, blended
from potstill.students import GBDT
from potstill.students.boosting_loss import autograd_gradients, boosting_loss, kd_gradients
from potstill.students.forest import ZERO, Forest, round_down
from potstill.students.gbdt import FittedGBDT
from potstill.students.targets import blended_targets
from potstill.testing.student import check_same_answers, run_in_onnxruntime
from potstill.testing.student_cases import StudentCase, student_cases
from potstill.types import Examples, FeatureSpec, Objective, Task

OTHER_OBJECTIVES = [KD(temperature=2.0), JSD(), DKD(), LogitMSE(), DIST()]


def made_examples(n_classes: int, *, seed: int = 0, n: int = 40) -> Examples:
    rng = np.random.default_rng(seed)
    labels = rng.integers(-1, n_classes, n)
    return Examples(
        tensors={"numeric": rng.normal(size=(n, 2)).astype(np.float32)},
        teacher_probs=rng.dirichlet(np.ones(n_classes), n).astype(np.float32),
        labels=labels,
        hard_weight=np.where(labels < 0, 0, rng.random(n)).astype(np.float32),
        weight=rng.uniform(0.5, 1.5, n).astype(np.float32),
    )


def fitted_on(case: StudentCase, student: GBDT, effort: int | None = 30) -> FittedGBDT:
    fitted, _ = student.fit(
        case.train, None, spec=case.spec, task=case.task, objective=case.objective, seed=0, effort=effort
    )
    assert isinstance(fitted, FittedGBDT)
    return fitted


def test_a_handful_of_rows_is_enough_to_split() -> None:
    x, ones = np.linspace(-1, 1, 16, dtype=np.float32), np.ones(16, dtype=np.float32)
    labels = (x > 0).astype(np.int64)
    tensors = {"numeric": x[:, None], "categorical": np.zeros((16, 0), dtype=np.int64)}
    fitted, _ = GBDT(rounds=20).fit(
        Examples(tensors, np.eye(2, dtype=np.float32)[labels], labels, ones, ones),
        None,
        spec=FeatureSpec(numeric=("x",)),
        task=Task("binary", "y", (0, 1)),
        objective=KD(),
        seed=0,
    )
    assert (fitted.logits(tensors).argmax(axis=1) == labels).all()


@pytest.mark.parametrize("temperature", [1.0, 3.0])
@pytest.mark.parametrize("n_classes", [2, 4])
def test_closed_gradients_are_the_derivative_of_the_blended_loss(n_classes: int, temperature: float) -> None:
    examples = made_examples(n_classes)
    n_scores = 1 if n_classes == 2 else n_classes
    scores = np.random.default_rng(1).normal(size=(40, n_scores)).squeeze()
    closed = kd_gradients(examples, temperature, n_scores)(scores, None)
    automatic = autograd_gradients(examples, KD(temperature=temperature), n_scores)(scores, None)
    np.testing.assert_allclose(closed[0], automatic[0], atol=2e-6)
    np.testing.assert_allclose(closed[1], automatic[1], atol=2e-6)
    assert closed[0].shape == scores.shape


def test_gradients_of_two_classes_are_those_of_the_second_logit() -> None:
    examples = made_examples(2)
    score = torch.randn(40, dtype=torch.float64, generator=torch.Generator().manual_seed(0)).requires_grad_()
    logits = torch.stack([torch.zeros_like(score), score], dim=1)
    losses = blended(
        KD(temperature=2.0),
        logits,
        torch.from_numpy(examples.teacher_probs),
        torch.from_numpy(examples.labels),
        torch.from_numpy(examples.hard_weight),
    )
    (wanted,) = torch.autograd.grad((losses * torch.from_numpy(examples.weight)).sum(), score)
    got, _ = kd_gradients(examples, 2.0, 1)(score.detach().numpy(), None)
    np.testing.assert_allclose(got, wanted.numpy(), atol=2e-6)


def test_two_classes_at_temperature_one_use_lightgbms_own_loss() -> None:
    examples = made_examples(2)
    loss = boosting_loss(examples, blended_targets(examples, 2), KD())
    assert loss.objective == "cross_entropy"
    expected = examples.hard_weight * (examples.labels == 1)
    expected = expected + (1 - examples.hard_weight) * examples.teacher_probs[:, 1]
    np.testing.assert_allclose(loss.targets, expected, atol=1e-6)
    assert callable(boosting_loss(examples, blended_targets(examples, 2), KD(temperature=2.0)).objective)


@pytest.mark.parametrize("objective", OTHER_OBJECTIVES, ids=lambda o: o.name)
@pytest.mark.parametrize("index", [0, 1])
def test_any_objective_can_be_boosted(objective: Objective, index: int) -> None:
    case = replace(student_cases()[index], objective=objective)
    fitted = fitted_on(case, GBDT())
    accuracy = (fitted.logits(case.valid.tensors).argmax(axis=1) == case.valid.labels).mean()
    assert accuracy > 0.85


def test_ties_at_thresholds_go_left_in_both_forms() -> None:
    case = student_cases()[0]
    fitted = fitted_on(case, GBDT())
    forest = fitted.forest
    rng = np.random.default_rng(0)
    numeric = np.repeat(case.valid.tensors["numeric"][:1], 400, axis=0)
    for row in range(len(numeric)):
        for feature in range(numeric.shape[1]):
            thresholds = forest.threshold[(forest.feature == feature) & ~forest.is_leaf]
            if len(thresholds):
                toward = np.float32(rng.choice([-np.inf, np.inf]))
                chosen = rng.choice(thresholds)
                numeric[row, feature] = chosen if row % 2 else np.nextafter(chosen, toward)
    ids = np.repeat(case.valid.tensors["categorical"][:1], 400, axis=0)
    check_same_answers(fitted, case, {"numeric": numeric, "categorical": ids}, "ties")


@given(
    arrays(np.float64, 4, elements=st.floats(-1e300, 1e300)),
    arrays(np.float32, 4, elements=st.floats(width=32)),
)
@settings(max_examples=100, deadline=None)
def test_rounding_down_keeps_every_decision(
    thresholds: NDArray[np.float64], values: NDArray[np.float32]
) -> None:
    np.testing.assert_array_equal(values <= round_down(thresholds), values.astype(np.float64) <= thresholds)


def test_rounding_down_at_a_tie_of_float32() -> None:
    between = np.array([np.float64(np.float32(0.1)) - 1e-12])
    assert round_down(between)[0] < np.float32(0.1)


def test_numbers_that_lightgbm_reads_as_zero() -> None:
    case = student_cases()[2]
    numeric = case.train.tensors["numeric"].copy()
    half = np.arange(len(numeric)) % 2 == 0
    numeric[:, 4] = np.where(half, np.where(case.train.teacher_probs[:, 0] > 0, 0, -1), numeric[:, 4])
    case = replace(case, train=replace(case.train, tensors={**case.train.tensors, "numeric": numeric}))
    fitted = fitted_on(case, GBDT())
    assert (np.abs(fitted.forest.threshold[~fitted.forest.is_leaf]) < 1e-30).any()
    tensors = {name: np.repeat(tensor[:1], 7, axis=0) for name, tensor in case.valid.tensors.items()}
    tiny = [
        -2e-35,
        np.nextafter(-ZERO, np.float32(-1)),
        -ZERO,
        0.0,
        ZERO,
        np.nextafter(ZERO, np.float32(1)),
        1,
    ]
    tensors["numeric"][:, 4] = tiny
    check_same_answers(fitted, case, tensors, "next to zero")


def test_missing_where_none_was_in_training_is_the_median() -> None:
    case = student_cases()[0]
    fitted = fitted_on(case, GBDT())
    tensors = {name: tensor[:20].copy() for name, tensor in case.valid.tensors.items()}
    column = 1
    assert not np.isnan(case.train.tensors["numeric"][:, column]).any()
    tensors["numeric"][:, column] = np.median(case.train.tensors["numeric"][:, column])
    wanted = fitted.logits(tensors)
    tensors["numeric"][:, column] = np.nan
    np.testing.assert_array_equal(fitted.logits(tensors), wanted)
    np.testing.assert_allclose(run_in_onnxruntime(fitted, case, tensors), wanted, atol=1e-5)


def test_infinities_in_training() -> None:
    case = student_cases()[2]
    numeric = case.train.tensors["numeric"].copy()
    numeric[::7, 2], numeric[::11, 3] = np.inf, -np.inf
    case = replace(case, train=replace(case.train, tensors={**case.train.tensors, "numeric": numeric}))
    fitted = fitted_on(case, GBDT())
    check_same_answers(fitted, case, case.train.tensors, "infinities")


def exported(fitted: FittedGBDT, case: StudentCase, opset: Opset) -> onnx.ModelProto:
    graph = GraphBuilder(opset=opset)
    names = {
        "numeric": graph.input("numeric", TensorProto.FLOAT, ["n", len(case.spec.numeric)]),
        "categorical": graph.input("categorical", TensorProto.INT64, ["n", 2]),
    }
    graph.output(fitted.build(graph, names), "z", TensorProto.FLOAT, ["n", case.task.n_outputs])
    return graph.model()


@pytest.mark.parametrize(("opset", "bytes_a_leaf"), [*zip(OPSETS, (30, 70), strict=True)])
def test_a_leaf_costs_few_bytes(opset: Opset, bytes_a_leaf: int) -> None:
    case = student_cases()[0]
    fitted = fitted_on(case, GBDT(), effort=100)
    assert exported(fitted, case, opset).ByteSize() / fitted.forest.is_leaf.sum() < bytes_a_leaf


@pytest.mark.parametrize("opset", OPSETS)
@pytest.mark.parametrize("index", [0, 1, 2])
def test_every_form_of_the_trees_answers_alike(index: int, opset: Opset) -> None:
    case = student_cases()[index]
    fitted = fitted_on(case, GBDT())
    numeric = case.valid.tensors["numeric"].copy()
    rng = np.random.default_rng(0)
    for value in (np.nan, np.inf, -np.inf):
        numeric[rng.random(numeric.shape) < 0.1] = value
    tensors = {**case.valid.tensors, "numeric": numeric}
    session = open_session(exported(fitted, case, opset).SerializeToString())
    (answers,) = session.run(None, tensors)
    np.testing.assert_allclose(answers, fitted.logits(tensors), atol=1e-5)


def test_no_root_has_a_split_and_a_leaf_of_the_same_number() -> None:
    """Older runtimes take it for a leaf. Two trees: 0 → (1 → leaves, leaf) and the other way round."""
    forest = Forest(
        tree=np.repeat([0, 1], 5),
        node=np.tile(np.arange(5), 2),
        feature=np.zeros(10, dtype=np.int64),
        threshold=np.array([1, -1, 0, 0, 0, -1, 1, 0, 0, 0], dtype=np.float32),
        left=np.array([1, 2, 0, 0, 0, 2, 3, 0, 0, 0]),
        right=np.array([3, 4, 0, 0, 0, 1, 4, 0, 0, 0]),
        nan_left=np.zeros(10, dtype=np.bool_),
        is_leaf=np.tile([False, False, True, True, True], 2),
        value=np.array([0, 0, 1, 2, 4, 0, 0, 8, 16, 32], dtype=np.float32),
    )
    graph = GraphBuilder()
    x = graph.input("x", TensorProto.FLOAT, ["n", 1])
    base, outputs = np.zeros(1, dtype=np.float32), np.array([0])
    sums = forest.build(graph, x, base=base, outputs=outputs)
    graph.output(sums, "sums", TensorProto.FLOAT, ["n", 1])
    model = graph.model()
    trees = next(node for node in model.graph.node if node.op_type == "TreeEnsemble")
    found = {each.name: onnx.helper.get_attribute_value(each) for each in trees.attribute}
    for root in found["tree_roots"]:
        assert found["nodes_trueleafs"][root] != found["nodes_falseleafs"][root]
        assert found["nodes_truenodeids"][root] != found["nodes_falsenodeids"][root]
    rows = np.array([[-2], [0], [2]], dtype=np.float32)
    answers = open_session(model.SerializeToString()).run(None, {"x": rows})[0]
    np.testing.assert_array_equal(answers.ravel(), [1 + 8, 4 + 16, 2 + 32])


def test_a_constant_target_is_answered_with_its_prior() -> None:
    case = student_cases()[2]
    flat = replace(
        case.train,
        labels=np.full(len(case.train), 0.25),
        teacher_probs=np.full((len(case.train), 1), 0.25, dtype=np.float32),
    )
    case = replace(case, train=flat)
    fitted = fitted_on(case, GBDT(), effort=3)
    np.testing.assert_allclose(fitted.logits(case.valid.tensors), 0.25, atol=1e-6)
    check_same_answers(fitted, case, case.valid.tensors, "constant target")


class TestCategoryCodes:
    """Levels as numbers."""

    @staticmethod
    def fit(ids: Any, targets: Any, cardinality: int, weight: Any = None) -> Any:
        ids, targets = np.asarray(ids)[:, None], np.asarray(targets, dtype=np.float32)
        weight = np.ones(len(ids), dtype=np.float32) if weight is None else weight
        spec = FeatureSpec(categorical=("c",), cardinalities=(cardinality,))
        return fit_category_codes(ids, targets, weight, spec=spec, seed=0)

    def test_two_levels_need_one_indicator(self) -> None:
        codes, train_codes = self.fit([2, 3] * 10, np.eye(2)[[0, 1] * 10], 4)
        assert train_codes.shape == (20, 1)
        assert codes.encode(np.array([[0], [1], [2], [3]])).tolist() == [[0], [0], [1], [0]]

    def test_frequent_levels_are_coded_by_their_mean_target(self) -> None:
        rng = np.random.default_rng(0)
        ids = rng.integers(2, 14, 12_000)
        targets = np.where(ids % 2 == 0, 0.9, 0.2).astype(np.float32)[:, None]
        codes, train_codes = self.fit(ids, targets, 14)
        means = codes.encode(np.arange(14)[:, None])[:, -1] + targets.mean()
        np.testing.assert_allclose(means[2:], np.where(np.arange(2, 14) % 2 == 0, 0.9, 0.2), atol=0.01)
        np.testing.assert_allclose(means[:2], targets.mean(), atol=1e-6)
        np.testing.assert_array_equal(train_codes, codes.encode(ids[:, None]))

    def test_rare_levels_do_not_give_their_rows_targets_away(self) -> None:
        """Every level has two rows and pure-noise targets: a code that saw its own row would correlate."""
        rng = np.random.default_rng(0)
        ids = np.repeat(np.arange(2, 1002), 2)
        targets = rng.normal(size=(2000, 1)).astype(np.float32)
        codes, train_codes = self.fit(ids, targets, 1002)
        assert abs(np.corrcoef(train_codes[:, 0], targets[:, 0])[0, 1]) < 0.1
        assert np.corrcoef(codes.encode(ids[:, None])[:, 0], targets[:, 0])[0, 1] > 0.5

    def test_many_classes_are_summarised(self) -> None:
        rng = np.random.default_rng(0)
        ids = rng.integers(2, 30, 3000)
        targets = np.eye(15, dtype=np.float32)[(ids + rng.integers(0, 2, 3000)) % 15]
        _, train_codes = self.fit(ids, targets, 30)
        assert train_codes.shape == (3000, 4)

    def test_a_constant_column_has_no_codes(self) -> None:
        codes, train_codes = self.fit([2] * 10, np.eye(2)[[0, 1] * 5], 3)
        assert train_codes.shape == (10, 0)
        assert codes.encode(np.zeros((3, 1), dtype=np.int64)).shape == (3, 0)
