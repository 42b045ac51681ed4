from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper

from potstill.errors import UserError
from potstill.graph import GraphBuilder
from potstill.teachers import adopt
from potstill.testing import check_teacher
from potstill.types import Dataset

Make = Callable[..., Dataset]


def linear(labels: Any, n_columns: int, *, zipmap: bool) -> onnx.ModelProto:
    """A linear classifier as converters write it: label and probabilities, as a ZipMap or a tensor."""
    rng = np.random.default_rng(0)
    kind = "strings" if isinstance(labels[0], str) else "int64s"
    nodes = [
        helper.make_node(
            "LinearClassifier",
            ["X"],
            ["label", "scores"],
            domain="ai.onnx.ml",
            coefficients=(rng.normal(size=len(labels) * n_columns) / 50).tolist(),
            intercepts=[0.0] * len(labels),
            post_transform="SOFTMAX",
            **{"classlabels_strings" if kind == "strings" else "classlabels_ints": labels},
        )
    ]
    label_type = TensorProto.STRING if kind == "strings" else TensorProto.INT64
    outputs = [helper.make_tensor_value_info("label", label_type, ["n"])]
    if zipmap:
        nodes.append(
            helper.make_node(
                "ZipMap", ["scores"], ["answers"], domain="ai.onnx.ml", **{f"classlabels_{kind}": labels}
            )
        )
        value = helper.make_tensor_type_proto(TensorProto.FLOAT, None)
        outputs.append(
            helper.make_value_info(
                "answers", helper.make_sequence_type_proto(helper.make_map_type_proto(label_type, value))
            )
        )
    else:
        nodes.append(helper.make_node("Identity", ["scores"], ["probabilities"]))
        outputs.append(helper.make_tensor_value_info("probabilities", TensorProto.FLOAT, ["n", len(labels)]))
    graph = helper.make_graph(
        nodes, "old", [helper.make_tensor_value_info("X", TensorProto.FLOAT, ["n", n_columns])], outputs
    )
    opsets = [helper.make_opsetid("", 17), helper.make_opsetid("ai.onnx.ml", 3)]
    return helper.make_model(graph, opset_imports=opsets, ir_version=9)


@pytest.mark.parametrize("zipmap", [False, True])
def test_labels_of_the_graph_order_the_columns(wine: Dataset, zipmap: bool) -> None:
    straight = list(wine.task.classes)
    turned = [straight[2], straight[0], straight[1]]
    first, second = (
        adopt(linear(labels, 8, zipmap=zipmap), task=wine.task).predict(wine) for labels in (straight, turned)
    )
    assert np.allclose(first, second[:, [2, 0, 1]], atol=1e-6)
    check_teacher(adopt(linear(turned, 8, zipmap=zipmap), task=wine.task), wine)


def test_path_and_bytes(wine: Dataset, tmp_path: Path) -> None:
    model = linear(list(wine.task.classes), 8, zipmap=False)
    onnx.save(model, tmp_path / "old.onnx")
    by_path = adopt(tmp_path / "old.onnx", task=wine.task)
    by_bytes = adopt(model.SerializeToString(), task=wine.task)
    assert (by_path.name, by_bytes.name) == ("old", "onnx")
    assert by_path.fingerprint == by_bytes.fingerprint
    assert np.array_equal(by_path.predict(wine), by_bytes.predict(wine))


def test_number_labels_are_sorted_classes(wine: Dataset) -> None:
    with pytest.warns(UserWarning, match="taken as the sorted classes"):
        teacher = adopt(linear([0, 1, 2], 8, zipmap=False), task=wine.task)
    assert teacher.predict(wine).shape == (150, 3)


def test_foreign_labels_are_refused(wine: Dataset) -> None:
    with pytest.raises(UserError) as caught:
        adopt(linear(["cat", "dog", "eel"], 8, zipmap=False), task=wine.task)
    assert caught.value.message == (
        "Teacher 'onnx' answers with 'cat', 'dog', 'eel', no class of 'cultivar': wanted classes "
        "among 'barolo', "
        "'dolcetto', 'grignolino'."
    )


@pytest.mark.parametrize("backend", ["pandas", "polars", "pyarrow"])
@pytest.mark.parametrize("rank", [1, 2])
def test_one_input_for_each_column(mixed: Make, backend: str, rank: int) -> None:
    dataset = mixed(backend)
    shape: list[int | str] = ["n"] if rank == 1 else ["n", 1]
    graph = GraphBuilder()
    strong = graph.input("strong", TensorProto.FLOAT, shape)
    tint = graph.input("tint", TensorProto.STRING, shape)
    grade = graph.input("grade", TensorProto.INT64, shape)
    red = graph.node(
        "Cast", graph.node("Equal", tint, graph.constant(np.array(["red"]))), to=TensorProto.FLOAT
    )
    score = graph.node("Add", graph.node("Add", strong, red), graph.node("Cast", grade, to=TensorProto.FLOAT))
    flat = graph.node("Reshape", score, graph.constant(np.array([-1, 1])))
    weights = graph.constant(np.array([[0.1, -0.2, 0.05]], dtype=np.float32))
    probs = graph.node("Softmax", graph.node("MatMul", flat, weights), axis=1)
    graph.output(probs, "p", TensorProto.FLOAT, ["n", 3])
    teacher = adopt(graph.model(), task=dataset.task)
    check_teacher(teacher, dataset)
    frame = mixed("pandas").rows.to_pandas()
    score_ = frame["strong"].astype(int) + (frame["tint"] == "red").astype(int) + frame["grade"]
    raw = np.outer(score_.to_numpy(dtype=float), [0.1, -0.2, 0.05])
    expected = np.exp(raw) / np.exp(raw).sum(axis=1, keepdims=True)
    assert np.allclose(teacher.predict(dataset), expected, atol=1e-6)


def test_values(diabetes: Dataset) -> None:
    graph = GraphBuilder()
    rows = graph.input("rows", TensorProto.DOUBLE, ["n", 10])
    total = graph.node("ReduceSum", rows, graph.constant(np.array([1])), keepdims=1)
    graph.output(graph.node("Cast", total, to=TensorProto.FLOAT), "value", TensorProto.FLOAT, ["n", 1])
    teacher = adopt(graph.model(), task=diabetes.task)
    check_teacher(teacher, diabetes)
    assert np.allclose(teacher.predict(diabetes)[:, 0], diabetes.rows.to_numpy().sum(axis=1), atol=1e-5)


def test_missing_inputs_and_outputs_are_named(wine: Dataset, diabetes: Dataset, tmp_path: Path) -> None:
    graph = GraphBuilder()
    first, second = (graph.input(name, TensorProto.FLOAT, ["n"]) for name in ("alcohol", "price"))
    graph.output(graph.node("Add", first, second), "value", TensorProto.FLOAT, ["n"])
    with pytest.raises(UserError) as caught:
        adopt(graph.model(), task=diabetes.task).predict(wine)
    assert caught.value.message.startswith(
        "Teacher 'onnx' was fitted on 'price', which the rows do not have: wanted all of its 2 "
        "columns, got 'alcohol', "
    )
    graph = GraphBuilder()
    graph.output(graph.input("alcohol", TensorProto.STRING, ["n"]), "text", TensorProto.STRING, ["n"])
    with pytest.raises(UserError) as caught:
        adopt(graph.model(), task=wine.task)
    assert caught.value.message == (
        "Teacher 'onnx' has no output of probabilities: wanted a float tensor, got text (tensor(string))."
    )
    (tmp_path / "broken.onnx").write_bytes(b"not a model")
    with pytest.raises(UserError, match="Teacher 'broken' could not be read as an ONNX model: "):
        adopt(tmp_path / "broken.onnx", task=wine.task)
