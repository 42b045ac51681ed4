from __future__ import annotations

import warnings
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
import torch
from torch import nn

from potstill.errors import UserError
from potstill.teachers import adopt
from potstill.teachers.torch import TorchAdapter, TorchTeacher
from potstill.testing import check_teacher
from potstill.types import Dataset

Make = Callable[..., Dataset]


class Scaled(nn.Module):
    """A net whose first layer brings the columns to one scale."""

    def __init__(self, n_columns: int, n_outputs: int, *tail: nn.Module) -> None:
        super().__init__()
        self.norm = nn.BatchNorm1d(n_columns)
        self.body = nn.Sequential(
            nn.Linear(n_columns, 6), nn.ReLU(), nn.Dropout(), nn.Linear(6, n_outputs), *tail
        )

    def forward(self, rows: torch.Tensor) -> torch.Tensor:
        return self.body(self.norm(rows))


class Wrapped(nn.Module):
    """A net that does not say how wide it is."""

    def __init__(self, body: nn.Module) -> None:
        super().__init__()
        self.start, self.body = nn.Identity(), body

    def forward(self, rows: torch.Tensor) -> torch.Tensor:
        return self.body(self.start(rows))


def net(dataset: Dataset, *tail: nn.Module, n_outputs: int | None = None) -> Scaled:
    torch.manual_seed(0)
    module = Scaled(len(dataset.rows.columns), n_outputs or dataset.task.n_outputs, *tail)
    module(torch.tensor(dataset.rows.to_numpy()).float())
    return module


def logits(module: nn.Module, dataset: Dataset) -> torch.Tensor:
    module.eval()
    with torch.no_grad():
        answer: torch.Tensor = module(torch.tensor(dataset.rows.to_numpy()).float()).double()
    return answer


def test_logits_become_probabilities(wine: Dataset) -> None:
    module = net(wine)
    teacher = adopt(module, task=wine.task)
    check_teacher(teacher, wine)
    assert module.training
    assert module.norm.training
    assert np.allclose(teacher.predict(wine), logits(module, wine).softmax(1), atol=1e-5)
    assert np.allclose(replace(teacher, batch_rows=7).predict(wine), teacher.predict(wine), atol=1e-6)


def test_probabilities_stay(wine: Dataset) -> None:
    module = net(wine, nn.Softmax(1))
    assert np.allclose(adopt(module, task=wine.task).predict(wine), logits(module, wine), atol=1e-6)


def test_the_caller_may_say_what_comes_out(wine: Dataset) -> None:
    module = net(wine, nn.Softmax(1))
    teacher = TorchAdapter.adopt(module, task=wine.task, trust=False, name=None, output="logits")
    assert np.allclose(teacher.predict(wine), logits(module, wine).softmax(1), atol=1e-5)
    assert teacher.fingerprint != adopt(module, task=wine.task).fingerprint


def test_one_output_for_two_classes(cancer: Dataset) -> None:
    bare, ended = net(cancer, n_outputs=1), net(cancer, nn.Sigmoid(), n_outputs=1)
    first, second = (adopt(module, task=cancer.task).predict(cancer) for module in (bare, ended))
    assert np.allclose(first, second, atol=1e-6)
    assert np.allclose(first[:, 1], logits(ended, cancer)[:, 0], atol=1e-6)


def test_values(diabetes: Dataset) -> None:
    check_teacher(adopt(net(diabetes), task=diabetes.task), diabetes)


def test_text_columns_are_refused(mixed: Make) -> None:
    teacher = TorchTeacher("net", "0" * 64, nn.Linear(6, 3))
    with pytest.raises(UserError) as caught:
        teacher.predict(mixed())
    assert caught.value.message == (
        "Teacher 'net' takes one matrix of numbers: wanted numeric or boolean columns, got column "
        "'tint' of type "
        "String."
    )


def test_missing_numbers_are_nan_and_booleans_numbers(wine: Dataset, make_dataset: Make) -> None:
    frame = pl.DataFrame({"a": [1, None, 3], "b": [True, False, None]})
    dataset = make_dataset(frame, wine.task, None)
    seen: list[Any] = []

    class Spy(nn.Module):
        def forward(self, rows: torch.Tensor) -> torch.Tensor:
            seen.append(rows)
            return torch.zeros(len(rows), 3)

    adopt(Spy(), task=wine.task).predict(dataset)
    assert np.array_equal(seen[0].numpy(), [[1, 1], [np.nan, 0], [3, np.nan]], equal_nan=True)


def test_a_module_of_another_width_is_refused(wine: Dataset, diabetes: Dataset) -> None:
    with pytest.raises(UserError) as caught:
        adopt(nn.Linear(8, 2), task=wine.task)
    assert caught.value.message == (
        "Teacher 'Linear' ends in a layer of 2 outputs: wanted 3 for the multiclass target "
        "'cultivar', one for "
        "each class in the order ['barolo', 'dolcetto', 'grignolino']."
    )
    with pytest.raises(UserError) as caught:
        adopt(nn.Linear(8, 2), task=diabetes.task)
    assert caught.value.message == (
        "Teacher 'Linear' ends in a layer of 2 outputs: wanted 1, the value of 'progression'."
    )
    with pytest.raises(UserError) as caught:
        adopt(nn.Linear(5, 3), task=wine.task).predict(wine)
    assert caught.value.message.startswith(
        "Teacher 'Linear' was fitted on 5 columns without names: wanted 5 columns, got 8: 'alcohol', "
    )
    with pytest.raises(UserError, match="Teacher 'Wrapped' could not answer the rows: RuntimeError: "):
        adopt(Wrapped(nn.Linear(5, 3)), task=wine.task).predict(wine)


def test_files_need_trust_and_answer_as_the_module(wine: Dataset, tmp_path: Path) -> None:
    module = nn.Sequential(nn.BatchNorm1d(8), nn.Linear(8, 3)).eval()
    example = torch.tensor(wine.rows.to_numpy()).float()
    torch.save(module, tmp_path / "whole.pt")
    save_script(module, example, tmp_path / "script.pt")
    program = torch.export.export(module, (example,), dynamic_shapes=({0: torch.export.Dim("rows")},))
    torch.export.save(program, tmp_path / "program.pt2")
    expected = adopt(module, task=wine.task).predict(wine)
    for file in ("whole.pt", "script.pt", "program.pt2"):
        path = tmp_path / file
        with pytest.raises(UserError) as caught:
            adopt(path, task=wine.task)
        assert caught.value.message == (
            f"Opening {str(path)!r} runs whatever code is in it: wanted a file that holds only data, "
            "or your word "
            "that this one is trusted."
        )
        teacher = adopt(path, task=wine.task, trust=True)
        assert teacher.name == path.stem
        check_teacher(teacher, wine)
        assert np.allclose(teacher.predict(wine), expected, atol=1e-6)


def save_script(module: nn.Module, example: torch.Tensor, path: Path) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.jit.save(torch.jit.trace(module, example), path)


def test_files_without_a_module_are_refused(wine: Dataset, tmp_path: Path) -> None:
    torch.save(nn.Linear(8, 3).state_dict(), tmp_path / "weights.pth")
    with pytest.raises(UserError) as caught:
        adopt(tmp_path / "weights.pth", task=wine.task, trust=True)
    assert caught.value.message == (
        f"{str(tmp_path / 'weights.pth')!r} holds a OrderedDict: wanted a whole torch module."
    )
    (tmp_path / "weights.safetensors").write_bytes(b"")
    with pytest.raises(UserError) as caught:
        adopt(tmp_path / "weights.safetensors", task=wine.task)
    assert caught.value.message == (
        f"{str(tmp_path / 'weights.safetensors')!r} holds weights but no module to put them in: "
        "wanted a torch "
        "module."
    )


def test_fingerprint_follows_the_weights_and_the_code(wine: Dataset) -> None:
    first, again, other = net(wine), net(wine), net(wine)
    with torch.no_grad():
        other.body[0].weight[0, 0] += 1
    prints = [adopt(module, task=wine.task).fingerprint for module in (first, again, other)]
    assert prints[0] == prints[1] != prints[2]

    def changed(self: Scaled, rows: torch.Tensor) -> torch.Tensor:
        return self.body(rows)

    rewired = type("Scaled", (Scaled,), {"forward": changed})(8, 3)
    rewired.load_state_dict(first.state_dict())
    assert adopt(rewired, task=wine.task).fingerprint != prints[0]
