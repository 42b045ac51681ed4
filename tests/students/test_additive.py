"""The additive student: folded exactly, small, fast to read."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from potstill.students import Additive
from potstill.students.additive import FittedAdditive, fold
from potstill.students.boosting import Boosted, boost
from potstill.testing.student import check_same_answers
from potstill.testing.student_cases import StudentCase, student_cases


def boosted_on(case: StudentCase, student: Additive, rounds: int = 40) -> Boosted:
    return boost(
        case.train,
        None,
        spec=case.spec,
        task=case.task,
        objective=case.objective,
        seed=0,
        effort=rounds,
        progress=None,
        rounds=lambda _: rounds,
        parameters=lambda _, codes: student._parameters(len(case.spec.numeric), codes),
    )


def fitted_on(case: StudentCase, *, size: float = 1.0) -> FittedAdditive:
    return fold(boosted_on(case, Additive(size=size)), case.spec)


@pytest.mark.parametrize("index", [0, 1, 2])
def test_folding_changes_no_answer(index: int) -> None:
    case = student_cases()[index]
    boosted = boosted_on(case, Additive())
    numeric = case.valid.tensors["numeric"].copy()
    rng = np.random.default_rng(0)
    for value in (np.nan, np.inf, -np.inf, 0.0):
        numeric[rng.random(numeric.shape) < 0.1] = value
    tensors = {**case.valid.tensors, "numeric": numeric}
    features = boosted.features.encode(tensors)
    raw = boosted.booster.predict(features, raw_score=True).reshape(len(features), -1)
    wanted = np.tile(boosted.base.astype(np.float64), (len(raw), 1))
    wanted[:, -raw.shape[1] :] += raw
    np.testing.assert_allclose(fold(boosted, case.spec).logits(tensors), wanted, atol=1e-5)


def test_ties_fall_on_the_same_side_in_both_forms() -> None:
    case = student_cases()[0]
    fitted = fitted_on(case)
    numeric = np.repeat(case.valid.tensors["numeric"][:1], 300, axis=0)
    rng = np.random.default_rng(0)
    for column, edges in fitted.thresholds().items():
        chosen = rng.choice(edges, len(numeric))
        toward = rng.choice(np.array([-np.inf, np.inf], dtype=np.float32), len(numeric))
        numeric[:, column] = np.where(np.arange(len(numeric)) % 2 == 0, chosen, np.nextafter(chosen, toward))
    ids = np.repeat(case.valid.tensors["categorical"][:1], len(numeric), axis=0)
    check_same_answers(fitted, case, {"numeric": numeric, "categorical": ids}, "ties")


def test_effects_of_two_columns_add_up() -> None:
    case = student_cases()[0]
    fitted = fitted_on(case)
    edges = fitted.thresholds()
    first, second = sorted(edges, key=lambda column: len(edges[column]))[-2:]
    rows = {name: np.repeat(tensor[:1], 4, axis=0) for name, tensor in case.valid.tensors.items()}
    numeric = rows["numeric"].copy()
    numeric[:, first] = [-np.inf, np.inf, -np.inf, np.inf]
    numeric[:, second] = [-np.inf, -np.inf, np.inf, np.inf]
    neither, one, other, both = fitted.logits({**rows, "numeric": numeric})[:, 1]
    assert abs(one - neither) > 0.01
    assert abs(other - neither) > 0.01
    assert both - one == pytest.approx(other - neither, abs=1e-5)


@pytest.mark.parametrize("without", ["numeric", "categorical"])
def test_only_numbers_or_only_categories(without: str) -> None:
    case = student_cases()[1]
    fields = {"numeric": (), "categorical": ()}
    kept = {"numeric": {"numeric": case.spec.numeric}, "categorical": {"categorical": ("a", "b")}}
    left = "categorical" if without == "numeric" else "numeric"
    cardinalities = case.spec.cardinalities if left == "categorical" else ()
    spec = replace_spec(case, fields | kept[left], cardinalities)
    tensors = case.train.tensors
    width = {"numeric": len(spec.numeric), "categorical": len(spec.categorical)}
    train = replace(case.train, tensors={name: tensors[name][:, : width[name]] for name in tensors})
    case = replace(case, spec=spec, train=train)
    fitted = fitted_on(case)
    check_same_answers(fitted, case, train.tensors, without)
    accuracy = (fitted.logits(train.tensors).argmax(axis=1) == train.teacher_probs.argmax(axis=1)).mean()
    assert accuracy > (0.6 if left == "categorical" else 0.95)


def replace_spec(case: StudentCase, fields: dict, cardinalities: tuple[int, ...]):
    return type(case.spec)(**fields, cardinalities=cardinalities)


def test_a_model_of_few_steps_is_a_few_kilobytes() -> None:
    case = student_cases()[0]
    fitted = fitted_on(case, size=0.25)
    assert fitted.n_parameters < 1_200
    assert all(len(edges) <= 10 for edges in fitted.thresholds().values())
