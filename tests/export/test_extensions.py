"""A transformer's graph with its tokenizer inside."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pyarrow as pa
import pytest
from click.testing import CliRunner

import potstill
from potstill.cli import potstill as root
from potstill.errors import ParityFailed, UserError
from potstill.export.extensions import check_tokenizer, with_tokenizer
from potstill.students import NGram, Transformer

TEXTS = [
    "a letter from home",
    "The car is SOLD, out!",
    "caf\u00e9 d\u00e9j\u00e0 vu",
    "numbers 1,234 and words",
] * 25


def distilled(student: Any) -> potstill.Result:
    labels = ["b" if "a" in text.lower()[:3] else "c" for text in TEXTS]
    texts = [f"{text} {at}" for at, text in enumerate(TEXTS)]
    return potstill.distill(
        pa.table({"note": texts, "kind": labels}),
        target="kind",
        teachers=lambda rows: np.full((len(rows), 2), 0.5),
        student=student,
        recipe=potstill.Recipe(
            columns={"note": "text"}, synthetic=0, cache=False, encoder=False, time_limit=60
        ),
    )


@pytest.fixture(scope="module")
def reviews(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("texts") / "reviews.onnx"
    distilled(Transformer(width=16, layers=1, epochs=1)).save(path)
    return path


def opened(path: Path) -> Any:
    extensions = pytest.importorskip("onnxruntime_extensions")
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.register_custom_ops_library(extensions.get_library_path())
    return onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])


def test_the_graph_answers_texts_as_the_artifact_does(reviews: Path, tmp_path: Path) -> None:
    raw = tmp_path / "raw.onnx"
    done = CliRunner().invoke(root, ["export", str(reviews), "--with-tokenizer", str(raw)])
    assert done.exit_code == 0, done.output
    assert "not tried" not in done.output
    session, model = opened(raw), potstill.load(reviews)
    assert [(each.name, each.type) for each in session.get_inputs()] == [("note", "tensor(string)")]
    odd = [
        "",
        "word " * 500,
        "\N{GRINNING FACE} \u4f60\u597d\ttab\nline",
        "D\u00c9J\u00c0-vu?!",
        "x" * 300,
        TEXTS[1],
    ]
    for text in [*odd, *TEXTS[:4]]:
        answers = session.run(["probabilities"], {"note": np.array([text], dtype=object)})[0][0]
        wanted = list(model.predict_one({"note": text})["probabilities"].values())
        np.testing.assert_allclose(answers, wanted, atol=1e-5)


def test_several_texts_are_one_input_each(tmp_path: Path) -> None:
    labels = ["b" if "a" in text.lower()[:3] else "c" for text in TEXTS]
    path, raw = tmp_path / "two.onnx", tmp_path / "raw.onnx"
    potstill.distill(
        pa.table({"title": [f"title {at}" for at in range(len(TEXTS))], "note": TEXTS, "kind": labels}),
        target="kind",
        teachers=lambda rows: np.full((len(rows), 2), 0.5),
        student=Transformer(width=16, layers=1, epochs=1),
        recipe=potstill.Recipe(
            columns={"note": "text", "title": "text"}, synthetic=0, cache=False, encoder=False, time_limit=60
        ),
    ).save(path)
    model = potstill.load(path)
    graph = with_tokenizer(path.read_bytes(), model.card)
    onnx.save(graph, raw)
    session = opened(raw)
    assert [each.name for each in session.get_inputs()] == ["title", "note"]
    for title, note in (("title 1", TEXTS[1]), ("", ""), ("word " * 200, "x"), ("a", "b " * 300)):
        fed = {"title": np.array([title], dtype=object), "note": np.array([note], dtype=object)}
        wanted = list(model.predict_one({"title": title, "note": note})["probabilities"].values())
        np.testing.assert_allclose(session.run(["probabilities"], fed)[0][0], wanted, atol=1e-5)


def test_a_graph_that_answers_otherwise_is_not_written(reviews: Path) -> None:
    pytest.importorskip("onnxruntime_extensions")
    model = potstill.load(reviews)
    graph = with_tokenizer(reviews.read_bytes(), model.card)
    assert check_tokenizer(graph, model)
    assert not any(entry.key.startswith("potstill") for entry in graph.metadata_props)
    (cutter,) = (node for node in graph.graph.node if node.op_type == "BertTokenizer")
    for attribute in cutter.attribute:
        if attribute.name == "vocab_file":
            pieces = attribute.s.decode().split("\n")
            attribute.s = "\n".join([*pieces[:4], *reversed(pieces[4:])]).encode()
    with pytest.raises(ParityFailed, match="With its tokenizer inside"):
        check_tokenizer(graph, model)


def test_a_graph_that_takes_texts_needs_none(tmp_path: Path) -> None:
    result = distilled(NGram(epochs=1))
    with pytest.raises(UserError, match="takes raw values"):
        with_tokenizer(result.artifact, result.card)
    assert onnx.load_model_from_string(result.artifact).metadata_props
