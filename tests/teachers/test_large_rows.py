"""Teachers of pictures and of texts: torch modules, ONNX models, artifacts."""

from __future__ import annotations

import base64
from pathlib import Path
from typing import Any

import narwhals as nw
import numpy as np
import onnx
import pyarrow as pa
import pytest
import torch
from onnx import TensorProto
from sklearn.datasets import load_digits, load_wine
from torch import nn

import potstill
from potstill.artifact.pictures import picture_of, pnm_bytes
from potstill.errors import UserError
from potstill.graph import GraphBuilder
from potstill.modalities.image import resized
from potstill.students import GBDT, ResidualCNN
from potstill.teachers import HttpTeacher, adopt
from potstill.teachers.artifact import ArtifactTeacher
from potstill.teachers.pixels import answers_to_pictures
from potstill.testing import check_teacher
from potstill.types import Column, Dataset, Schema, Task

TASK = Task("multiclass", "digit", tuple(range(10)))


def pixels(n: int = 40) -> np.ndarray[Any, Any]:
    return (load_digits().images[:n] * 15).astype(np.uint8)[:, :, :, None]


def pictures(given: Any) -> Dataset:
    files = pa.table({"photo": [pnm_bytes(picture) for picture in given]})
    schema = Schema((Column("photo", "image", shape=(8, 8, 1)),))
    return Dataset(nw.from_native(files, eager_only=True), TASK, schema)


def of_two_sizes() -> list[np.ndarray[Any, Any]]:
    """Every third picture twice as high."""
    return [np.repeat(each, 2 if at % 3 == 0 else 1, axis=0) for at, each in enumerate(pixels())]


def network(channels: int = 1) -> nn.Sequential:
    torch.manual_seed(0)
    return nn.Sequential(
        nn.Conv2d(channels, 6, 3), nn.BatchNorm2d(6), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(6, 10)
    )


def test_a_module_sees_pictures_from_0_to_1_each_in_its_own_size() -> None:
    module, dataset = network(), pictures(of_two_sizes())
    teacher = adopt(module, task=TASK)
    check_teacher(teacher, dataset)
    module.eval()
    planes = [torch.from_numpy(each / np.float32(255)).permute(2, 0, 1)[None] for each in of_two_sizes()]
    with torch.no_grad():
        wanted = torch.cat([module(each) for each in planes]).softmax(1)
    np.testing.assert_allclose(teacher.predict(dataset), wanted, atol=1e-5)


def test_a_module_gets_as_many_channels_as_it_takes() -> None:
    colour, grey = network(3), network(1)
    with torch.no_grad():
        grey[0].weight.copy_(colour[0].weight.sum(dim=1, keepdim=True))
        grey[0].bias.copy_(colour[0].bias)
        grey[4].load_state_dict(colour[4].state_dict())
    dataset = pictures(pixels())
    answers = [adopt(module, task=TASK).predict(dataset) for module in (colour, grey)]
    np.testing.assert_allclose(answers[0], answers[1], atol=1e-5)


def test_a_module_that_wants_one_size_says_so() -> None:
    module = nn.Sequential(nn.Flatten(), nn.Linear(64, 10))
    adopt(module, task=TASK).predict(pictures(pixels()))
    with pytest.raises(UserError, match="could not answer the pictures") as caught:
        adopt(module, task=TASK).predict(pictures(of_two_sizes()))
    assert "torch.nn.Sequential" in str(caught.value.hint)


@pytest.mark.parametrize("size", [None, (16, 16)])
def test_few_large_pictures_are_asked_about_at_once(
    photos: list[Any], decoded: Any, size: tuple[int, int] | None
) -> None:
    asked = []

    def ask(given: Any) -> Any:
        asked.append(given.shape[:3])
        return given.mean(axis=(1, 2, 3))

    answers = answers_to_pictures(pictures(photos), ask, channels=3, size=size)
    seen = photos if size is None else [resized(photo[None], (*size, 3))[0] for photo in photos]
    np.testing.assert_allclose(answers, [photo.mean() for photo in seen])
    assert max(n * height * width for n, height, width in asked) <= decoded.budget
    assert decoded.most <= 3 * decoded.budget


def graph_of_pictures(shape: list[int | str], kind: int, *, last: bool, softmax: bool) -> onnx.ModelProto:
    """The mean over all places of every row of pixels, by a matrix."""
    graph = GraphBuilder()
    given = graph.input("seen", kind, shape)
    values = graph.node("Cast", given, to=TensorProto.FLOAT)
    if kind == TensorProto.UINT8:
        values = graph.node("Div", values, graph.constant(np.array(255, np.float32)))
    if last:
        values = graph.node("Transpose", values, perm=[0, 3, 1, 2])
    axes = graph.constant(np.array([1, 3], dtype=np.int64))
    mean = graph.node("ReduceMean", values, axes, keepdims=0)
    weights = np.random.default_rng(0).normal(size=(8, 10)).astype(np.float32)
    logits = graph.node("MatMul", mean, graph.constant(weights))
    graph.output(graph.node("Softmax", logits) if softmax else logits, "out", TensorProto.FLOAT, ["n", 10])
    return graph.model()


@pytest.mark.parametrize("softmax", [False, True])
@pytest.mark.parametrize(
    ("shape", "kind", "last"),
    [
        (["n", 1, 8, 8], TensorProto.FLOAT, False),
        ([1, 3, 8, 8], TensorProto.FLOAT, False),
        (["n", 8, 8, 1], TensorProto.FLOAT, True),
        (["n", "h", "w", 3], TensorProto.UINT8, True),
    ],
)
def test_graphs_of_all_layouts_answer_alike(
    shape: list[int | str], kind: int, last: bool, softmax: bool
) -> None:
    teacher = adopt(graph_of_pictures(shape, kind, last=last, softmax=softmax), task=TASK)
    weights = np.random.default_rng(0).normal(size=(8, 10))
    logits = (pixels() / 255).mean(axis=(2, 3)) @ weights
    wanted = torch.from_numpy(logits).softmax(1).numpy()
    np.testing.assert_allclose(teacher.predict(pictures(pixels())), wanted, atol=1e-5)
    if shape[2] == 8:
        check_teacher(teacher, pictures(of_two_sizes()))


def test_a_graph_that_takes_no_pictures_is_refused() -> None:
    graph = GraphBuilder()
    graph.output(graph.input("x", TensorProto.FLOAT, ["n", 10]), "out", TensorProto.FLOAT, ["n", 10])
    with pytest.raises(UserError, match="one input of four axes"):
        adopt(graph.model(), task=TASK).predict(pictures(pixels()))


class Counting(nn.Module):
    """How often some letters are in a text."""

    def forward(self, texts: list[str]) -> torch.Tensor:
        assert isinstance(texts, list)
        return torch.tensor([[float(text.count(letter)) for letter in "ae"] for text in texts])


def test_a_module_is_asked_with_lists_of_texts() -> None:
    texts = ["a letter", "eel", "", "banana"] * 40
    schema = Schema((Column("note", "text"),))
    rows = nw.from_native(pa.table({"note": texts}), eager_only=True)
    dataset = Dataset(rows, Task("binary", "more", ("a", "e")), schema)
    teacher = adopt(Counting(), task=dataset.task)
    check_teacher(teacher, dataset)
    counts = torch.tensor([[text.count(letter) for letter in "ae"] for text in texts], dtype=torch.float64)
    np.testing.assert_allclose(teacher.predict(dataset), counts.softmax(1), atol=1e-6)


def test_a_graph_with_one_input_of_texts_takes_the_column_of_texts() -> None:
    graph = GraphBuilder()
    given = graph.input("sentence", TensorProto.STRING, ["n"])
    known = graph.node("Equal", given, graph.constant(np.array(["yes"], dtype=object)))
    graph.output(graph.node("Cast", known, to=TensorProto.FLOAT), "out", TensorProto.FLOAT, ["n"])
    schema = Schema((Column("note", "text"),))
    rows = nw.from_native(pa.table({"note": ["yes", "no", "yes"]}), eager_only=True)
    dataset = Dataset(rows, Task("binary", "known", (False, True)), schema)
    assert adopt(graph.model(), task=dataset.task).predict(dataset)[:, 1].tolist() == [1.0, 0.0, 1.0]


def test_a_student_of_pictures_teaches_a_smaller_one(tmp_path: Path) -> None:
    labels = load_digits().target[:400]
    quick = potstill.Recipe(synthetic=0, cache=False, time_limit=60)
    part = ResidualCNN(widths=(8, 16), blocks=(1, 1), learning_rate=0.01, epochs=5, shift=0.0)
    even = potstill.distill(
        (pixels(400), labels), teachers=lambda rows: np.full((len(rows), 10), 0.1), student=part, recipe=quick
    )
    even.save(tmp_path / "large.onnx")
    dataset = pictures(pixels(30))
    by_path = adopt(tmp_path / "large.onnx", task=TASK)
    opened = adopt(potstill.load(tmp_path / "large.onnx"), task=TASK)
    assert isinstance(by_path, ArtifactTeacher)
    assert (by_path.name, by_path.fingerprint) == ("large", opened.fingerprint)
    image = Dataset(
        dataset.rows.rename({"photo": "image"}), TASK, Schema((Column("image", "image", shape=(8, 8, 1)),))
    )
    check_teacher(opened, image)
    small = ResidualCNN(widths=(4,), blocks=(1,), learning_rate=0.01, epochs=2, shift=0.0)
    smaller = potstill.distill(
        (pixels(400), labels), teachers=tmp_path / "large.onnx", student=small, recipe=quick
    )
    assert list(smaller.card.lineage.members) == ["large"]


def test_an_artifact_of_a_table_teaches_other_rows_of_it(tmp_path: Path) -> None:
    frame = load_wine(as_frame=True).frame
    frame["maker"] = np.where(frame["ash"] > 2.3, "old", None)
    frame["target"] = frame["target"].map({0: "a", 1: "b", 2: "c"})
    recipe = potstill.Recipe(synthetic=0, cache=False)
    result = potstill.distill(
        frame,
        target="target",
        teachers=lambda rows: np.full((len(rows), 3), 1 / 3),
        student=GBDT(rounds=5),
        recipe=recipe,
    )
    task = Task("multiclass", "target", ("b", "a", "c"))
    rows = frame.drop(columns="target").assign(more=1.0)
    dataset = Dataset(nw.from_native(rows, eager_only=True), task, result.card.schema)
    answers = adopt(result.artifact, task=task).predict(dataset)
    np.testing.assert_allclose(answers[:, [1, 0, 2]], result.model.predict_proba(rows), atol=1e-6)


def test_a_web_address_gets_pictures_as_base64_of_files_that_everybody_reads(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    teacher, asked = HttpTeacher("http://localhost:1/"), []

    def answered(_: Any, client: Any, batch: list[dict[str, Any]]) -> Any:
        files = [base64.b64decode(row["photo"]) for row in batch]
        assert all(file.startswith(b"\x89PNG") for file in files)
        asked.append(len(files))
        return {
            "predictions": [
                np.bincount([picture_of(file).max() % 10], minlength=10).tolist() for file in files
            ]
        }

    monkeypatch.setattr(HttpTeacher, "_post", answered)
    answers = teacher.predict(pictures(pixels()))
    assert answers.argmax(axis=1).tolist() == [int(each.max()) % 10 for each in pixels()]
    assert asked == [32, 8]
