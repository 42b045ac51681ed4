"""Convolutional students: what their contract does not say."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch

from potstill.networks.convolution import (
    depthwise_layers,
    folded,
    forward,
    initial_weights,
    residual_layers,
    work_of,
)
from potstill.networks.pictures import Pictures, laid_out, pixel_scale
from potstill.students import DepthwiseCNN, ResidualCNN
from potstill.students.convolutional_student import FittedConvolutional
from potstill.students.convolutional_training import Order
from potstill.students.network_training import Epochs
from potstill.students.stored_weights import Storage
from potstill.testing.student import check_same_answers
from potstill.testing.student_cases import StudentCase, picture_cases

SMALL = ResidualCNN(stem=4, widths=(8, 16), blocks=(1, 1), learning_rate=0.01, epochs=4, shift=0.0)
SHAPES = [(32, 32, 3), (28, 28, 1), (8, 8, 1), (64, 48, 3), (1, 5, 1), (17, 33, 3)]


def fitted_on(case: StudentCase, student: ResidualCNN | DepthwiseCNN) -> FittedConvolutional:
    fitted, _ = student.fit(
        case.train, None, spec=case.spec, task=case.task, objective=case.objective, seed=0
    )
    assert isinstance(fitted, FittedConvolutional)
    return fitted


@pytest.mark.parametrize("shape", SHAPES)
def test_folding_changes_no_answer(shape: tuple[int, int, int]) -> None:
    generator = torch.Generator().manual_seed(0)
    pixels = torch.randint(0, 256, (6, *shape), generator=generator).to(torch.uint8).numpy()
    inputs = Pictures.of(pixels, pixel_scale(pixels))
    planes = inputs.planes(inputs.pixels)
    sizes = {"stem": 4, "widths": (8, 12, 16), "blocks": (1, 0, 1)}
    for layers in (residual_layers(shape, **sizes), depthwise_layers(shape, **sizes, expansion=2)):
        weights = laid_out(initial_weights(layers, np.zeros(3, np.float32), generator))
        for _ in range(3):
            forward(layers, weights, planes, learning=True)
        weights["gain3"] += 0.5
        answers = forward(layers, weights, planes)
        assert answers.shape == (6, 3)
        assert torch.allclose(forward(layers, folded(layers, weights), planes), answers, atol=1e-4)
        counted = sum(weight.numel() for weight in folded(layers, weights).values())
        assert work_of(layers, shape, 3).weights == counted


@pytest.mark.parametrize("storage", ["float32", "float16", "int8"])
def test_weights_are_stored_in_fewer_bytes(storage: Storage) -> None:
    case = picture_cases()[1]
    fitted = fitted_on(case, ResidualCNN(widths=(8, 16), blocks=(1, 1), epochs=1, weights=storage))
    check_same_answers(fitted, case, case.valid.tensors, storage)


@pytest.mark.parametrize("student", [ResidualCNN(), DepthwiseCNN()], ids=lambda part: part.name)
def test_default_sizes(student: ResidualCNN | DepthwiseCNN) -> None:
    shape = (32, 32, 3)
    sizes = {size: work_of(student.resized(size)._layers(shape), shape, 10).weights for size in (0.25, 1, 4)}
    assert 100_000 < sizes[1] < 200_000
    assert sizes[0.25] == pytest.approx(sizes[1] / 4, rel=0.2)
    assert sizes[4] == pytest.approx(sizes[1] * 4, rel=0.2)


def test_large_pictures_cost_no_more_than_small_ones() -> None:
    small, large = (
        work_of(ResidualCNN()._layers(shape), shape, 10).products for shape in ((32, 32, 3), (64, 64, 3))
    )
    assert large < 1.2 * small


def test_mixing_is_for_any_loss() -> None:
    from potstill.objectives import DKD

    case = picture_cases()[1]
    fitted = fitted_on(
        replace(case, objective=DKD()), ResidualCNN(widths=(8,), blocks=(1,), epochs=2, mixing=1.0)
    )
    assert np.isfinite(fitted.logits(case.valid.tensors)).all()


def test_training_goes_by_the_clock_where_time_is_short() -> None:
    case = picture_cases()[0]
    student = ResidualCNN(widths=(8,), blocks=(1,), epochs=10_000)
    _, effort = student.fit(
        case.train,
        case.valid,
        spec=case.spec,
        task=case.task,
        objective=case.objective,
        seed=0,
        time_limit_s=1.5,
    )
    assert isinstance(effort, Epochs)
    assert effort <= effort.planned < 10_000


def test_constant_pictures() -> None:
    case = picture_cases()[0]
    blank = {**case.train.tensors, "pixels": np.full_like(case.train.tensors["pixels"], 7)}
    fitted = fitted_on(replace(case, train=replace(case.train, tensors=blank)), SMALL)
    assert np.isfinite(fitted.logits(case.valid.tensors)).all()


def test_an_epoch_has_all_labelled_pictures_and_the_others_in_turn() -> None:
    generator = torch.Generator().manual_seed(0)
    order = Order(torch.arange(10), torch.arange(10, 35))
    assert order.n_rows == 20
    epochs = [order.epoch(generator).tolist() for _ in range(5)]
    assert all(set(range(10)) <= set(each) and len(set(each)) == 20 for each in epochs[:2])
    seen = [row for each in epochs for row in each if row >= 10]
    assert sorted(seen) == sorted(2 * list(range(10, 35)))
    assert epochs[0][:10] != list(range(10))


def test_few_others_are_all_seen_and_others_alone_too() -> None:
    generator = torch.Generator().manual_seed(0)
    assert sorted(Order(torch.arange(10), torch.arange(10, 13)).epoch(generator).tolist()) == list(range(13))
    nothing = torch.arange(0)
    assert sorted(Order(nothing, torch.arange(5)).epoch(generator).tolist()) == list(range(5))
    assert sorted(Order(torch.arange(5), nothing).epoch(generator).tolist()) == list(range(5))
