"""Models of pictures and of texts behind both protocols."""

from __future__ import annotations

import asyncio
import base64
import json
import struct
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from sklearn.datasets import load_digits
from starlette.testclient import TestClient

import potstill
from potstill.artifact.pictures import png_bytes
from potstill.server import Settings
from potstill.server.app import Server, make_app
from potstill.server.grpc_service import MESSAGES, Service
from potstill.server.models import Models
from potstill.students import NGram, ResidualCNN

TEXTS = ["BMW sells a car today", "a letter from home", "the car is sold out", "BM letters were read"] * 40
RECIPE = potstill.Recipe(synthetic=0, cache=False, encoder=False, time_limit=60)


def pixels() -> np.ndarray[Any, Any]:
    images = load_digits(n_class=2).images
    return (images * (255 / 16)).round().astype(np.uint8)[:, :, :, None]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with ``digits.onnx`` (pictures) and ``notes.onnx`` (texts)."""
    made = tmp_path_factory.mktemp("models")

    def even(rows: Any) -> Any:
        return np.full((len(rows), 2), 0.5)

    potstill.distill(
        (pixels(), load_digits(n_class=2).target),
        teachers=even,
        student=ResidualCNN(widths=(8,), blocks=(1,), learning_rate=0.01, epochs=4, shift=0.0),
        recipe=RECIPE,
    ).save(made / "digits.onnx")
    texts = [f"{text} number {at}" for at, text in enumerate(TEXTS)]
    potstill.distill(
        pa.table({"note": texts, "about": ["car" if "car" in text else "letter" for text in texts]}),
        target="about",
        teachers=even,
        student=NGram(epochs=10),
        recipe=RECIPE,
    ).save(made / "notes.onnx")
    return made


@pytest.fixture
def client(folder: Path) -> Iterator[TestClient]:
    with TestClient(make_app(Settings(str(folder)))) as opened:
        yield opened


def predicted(client: TestClient, model: str, instances: list[dict[str, Any]]) -> list[dict[str, Any]]:
    answer = client.post(f"/v1/models/{model}:predict", json={"instances": instances})
    assert answer.status_code == 200, answer.text
    predictions: list[dict[str, Any]] = answer.json()["predictions"]
    return predictions


def inferred(answer: Any) -> np.ndarray[Any, Any]:
    assert answer.status_code == 200, answer.text
    (found,) = [each for each in answer.json()["outputs"] if each["name"] == "probabilities"]
    return np.reshape(found["data"], found["shape"])


def binary(client: TestClient, model: str, head: dict[str, Any], raw: bytes) -> Any:
    head["parameters"] = {"binary_data_size": len(raw)}
    said = json.dumps({"inputs": [head]}).encode()
    length = {"Inference-Header-Content-Length": str(len(said))}
    return client.post(f"/v2/models/{model}/infer", content=said + raw, headers=length)


def test_pictures_as_rows(client: TestClient, folder: Path) -> None:
    model = potstill.load(folder / "digits.onnx")
    files = [base64.b64encode(png_bytes(picture)).decode() for picture in pixels()[:3]]
    got = predicted(client, "digits", [{"image": file} for file in files])
    wanted = model.predict_proba({"image": pixels()[:3]})
    np.testing.assert_allclose([list(each["probabilities"].values()) for each in got], wanted, atol=1e-5)
    nested = predicted(client, "digits", [{"image": pixels()[0].tolist()}])
    np.testing.assert_allclose(list(nested[0]["probabilities"].values()), wanted[0], atol=1e-5)


@pytest.mark.parametrize("wrong", [None, 7, "no picture", "", [[1], [2, 3]], {"bytes": "x"}])
def test_no_picture_is_a_wrong_request(client: TestClient, wrong: Any) -> None:
    for count in (1, 2):
        body = {"instances": [{"image": wrong}] * count}
        answer = client.post("/v1/models/digits:predict", json=body)
        assert answer.status_code == 400
        assert "takes pictures" in answer.json()["error"]


def test_pictures_as_tensors(client: TestClient, folder: Path) -> None:
    wanted = potstill.load(folder / "digits.onnx").predict_proba({"image": pixels()[:2]})
    (metadata,) = client.get("/v2/models/digits").json()["inputs"]
    assert metadata == {"name": "image", "datatype": "UINT8", "shape": [-1, -1, -1, 1]}
    head = {"name": "image", "datatype": "UINT8", "shape": [2, 8, 8, 1]}
    nested = {**head, "data": pixels()[:2].tolist()}
    flat = {**head, "data": pixels()[:2].ravel().tolist()}
    for tensor in (nested, flat):
        answer = client.post("/v2/models/digits/infer", json={"inputs": [tensor]})
        np.testing.assert_allclose(inferred(answer), wanted, atol=1e-5)
    np.testing.assert_allclose(
        inferred(binary(client, "digits", head, pixels()[:2].tobytes())), wanted, atol=1e-5
    )
    files = [png_bytes(picture) for picture in pixels()[:2]]
    raw = b"".join(struct.pack("<I", len(file)) + file for file in files)
    as_files = {"name": "image", "datatype": "BYTES", "shape": [2]}
    np.testing.assert_allclose(inferred(binary(client, "digits", as_files, raw)), wanted, atol=1e-5)


@pytest.mark.parametrize(
    "shape", [[2, 8, 8], [2, 8, 8, 2], [0, 8, 8, 1], [1, 0, 8, 1], [1, 8, 8, 1, 1], [-1, 8, 8, 1]]
)
def test_tensors_of_other_shapes_break_nothing(client: TestClient, shape: list[int]) -> None:
    data = [0] * max(0, int(np.prod(shape)))
    tensor = {"name": "image", "datatype": "UINT8", "shape": shape, "data": data}
    assert client.post("/v2/models/digits/infer", json={"inputs": [tensor]}).status_code in (200, 400)


def test_texts(client: TestClient, folder: Path) -> None:
    """Also those that begin as files of pictures do: BMW, BM."""
    model = potstill.load(folder / "notes.onnx")
    asked = [*TEXTS[:4], "", "\N{GRINNING FACE} " * 20_000]
    wanted = model.predict_proba({"note": asked})
    got = predicted(client, "notes", [{"note": text} for text in asked])
    np.testing.assert_allclose([list(each["probabilities"].values()) for each in got], wanted, atol=1e-5)
    assert predicted(client, "notes", [{"note": None}])[0]["label"] in ("car", "letter")
    head = {"name": "note", "datatype": "BYTES", "shape": [len(asked)]}
    answer = client.post("/v2/models/notes/infer", json={"inputs": [{**head, "data": asked}]})
    np.testing.assert_allclose(inferred(answer), wanted, atol=1e-5)
    encoded = [text.encode() for text in asked]
    raw = b"".join(struct.pack("<I", len(each)) + each for each in encoded)
    np.testing.assert_allclose(inferred(binary(client, "notes", head, raw)), wanted, atol=1e-5)


def test_over_grpc(folder: Path) -> None:
    service = Service(Server(Settings(str(folder)), Models(folder)))
    for model, tensor, inputs in (
        ("notes", {"name": "note", "datatype": "BYTES", "shape": [2]}, {"note": TEXTS[:2]}),
        ("digits", {"name": "image", "datatype": "UINT8", "shape": [2, 8, 8, 1]}, {"image": pixels()[:2]}),
    ):
        values = inputs.get("note")
        contents = (
            {"bytes_contents": [text.encode() for text in values]}
            if values is not None
            else {"uint_contents": pixels()[:2].ravel().tolist()}
        )
        request = MESSAGES["ModelInferRequest"](model_name=model, inputs=[{**tensor, "contents": contents}])
        answer = asyncio.run(service.model_infer(request))
        (found,) = [each for each in answer.outputs if each.name == "probabilities"]
        wanted = potstill.load(folder / f"{model}.onnx").predict_proba(inputs)
        np.testing.assert_allclose(np.reshape(found.contents.fp32_contents, (-1, 2)), wanted, atol=1e-5)


def test_the_document_names_them(client: TestClient) -> None:
    rows = client.get("/openapi.json").json()["components"]["schemas"]
    assert rows["Row.digits"]["properties"]["image"]["contentEncoding"] == "base64"
    assert "string" in rows["Row.notes"]["properties"]["note"]["type"]
