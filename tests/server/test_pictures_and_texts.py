"""Models of pictures and of texts behind both protocols."""

from __future__ import annotations

import asyncio
import base64
import io
import json
import struct
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from sklearn.datasets import load_digits
from starlette.testclient import TestClient

import potstill
from potstill.artifact import pictures
from potstill.artifact.pictures import png_bytes
from potstill.server import Settings
from potstill.server.app import Server, make_app
from potstill.server.errors import RequestError
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


def files_request(files: list[bytes], *, raw: bool) -> Any:
    request = MESSAGES["ModelInferRequest"](
        model_name="digits", inputs=[{"name": "image", "datatype": "BYTES", "shape": [len(files)]}]
    )
    if raw:
        request.raw_input_contents.append(b"".join(struct.pack("<I", len(each)) + each for each in files))
    else:
        request.inputs[0].contents.bytes_contents.extend(files)
    return request


@pytest.mark.parametrize("raw", [False, True])
@pytest.mark.parametrize("count", [1, 2])
@pytest.mark.parametrize("kind", ["PNG", "JPEG"])
def test_picture_files_over_grpc(folder: Path, raw: bool, count: int, kind: str) -> None:
    image = pytest.importorskip("PIL.Image")
    files = []
    for picture in pixels()[:count, :, :, 0]:
        stream = io.BytesIO()
        image.fromarray(picture).save(stream, kind)
        files.append(stream.getvalue())
    service = Service(Server(Settings(str(folder)), Models(folder)))
    answer = asyncio.run(service.model_infer(files_request(files, raw=raw)))
    wanted = potstill.load(folder / "digits.onnx").predict_proba({"image": files})
    place = [each.name for each in answer.outputs].index("probabilities")
    got = (
        np.frombuffer(answer.raw_output_contents[place], np.float32)
        if raw
        else np.array(answer.outputs[place].contents.fp32_contents)
    )
    np.testing.assert_allclose(got.reshape(-1, 2), wanted, atol=1e-5)


def test_too_many_pixels_are_refused_by_the_headers(folder: Path) -> None:
    """The files are cut behind the header: whoever decodes them finds another fault."""
    cut = [png_bytes(picture)[:45] for picture in pixels()[:2]]
    texts = [base64.b64encode(file).decode() for file in cut]
    said = (
        "The pictures of the request have 128 pixels together; at most 100 are taken. Send fewer at a time, "
        "or smaller ones."
    )
    settings = Settings(str(folder), max_pixels=100)
    with TestClient(make_app(settings)) as client:
        rows = [{"image": text} for text in texts]
        answer = client.post("/v1/models/digits:predict", json={"instances": rows})
        assert (answer.status_code, answer.json()) == (400, {"error": said})
        alone = client.post("/v1/models/digits:predict", json={"instances": rows[:1]})
        assert (alone.status_code, "takes pictures" in alone.json()["error"]) == (400, True)
        head = {"name": "image", "datatype": "BYTES", "shape": [2]}
        answer = client.post("/v2/models/digits/infer", json={"inputs": [{**head, "data": texts}]})
        assert (answer.status_code, answer.json()) == (400, {"error": said})
        raw = b"".join(struct.pack("<I", len(file)) + file for file in cut)
        assert binary(client, "digits", head, raw).json() == {"error": said}
    service = Service(Server(settings, Models(folder)))
    for raw_contents in (False, True):
        with pytest.raises(RequestError) as refusal:
            asyncio.run(service.model_infer(files_request(cut, raw=raw_contents)))
        assert (refusal.value.status, refusal.value.message) == (400, said)


@pytest.mark.parametrize("count", [1, 2])
def test_pictures_are_decoded_beside_the_loop_and_not_kept(
    folder: Path, monkeypatch: pytest.MonkeyPatch, count: int
) -> None:
    threads = []
    of_file = pictures._of_file

    def noted(data: bytes) -> pictures.Picture:
        threads.append(threading.current_thread().name)
        return of_file(data)

    monkeypatch.setattr(pictures, "_of_file", noted)
    app = make_app(Settings(str(folder)))
    with TestClient(app) as client:
        predicted(client, "digits", [{"image": base64.b64encode(png_bytes(pixels()[0])).decode()}] * count)
    assert len(threads) == count
    assert all(name.startswith("potstill-pictures") for name in threads)
    watch = app.state.server.models.named("digits").watch
    assert (watch._n_noted, watch.report().n_rows) == (0, count)


def test_the_document_says_what_is_taken(client: TestClient) -> None:
    jsonschema = pytest.importorskip("jsonschema_rs")
    document = client.get("/openapi.json").json()
    schemas = document["components"]["schemas"]
    assert "string" in schemas["Row.notes"]["properties"]["note"]["type"]

    def fits(name: str, body: Any) -> bool:
        whole = {"components": document["components"], "$ref": f"#/components/schemas/{name}"}
        fitting: bool = jsonschema.Draft202012Validator(whole).is_valid(body)
        return fitting

    text = base64.b64encode(png_bytes(pixels()[0])).decode()
    for picture in (text, pixels()[0].tolist()):
        body = {"instances": [{"image": picture}]}
        assert fits("Rows.digits", body)
        predicted(client, "digits", body["instances"])
    as_pixels = {"name": "image", "datatype": "UINT8", "shape": [1, 8, 8, 1], "data": [0] * 64}
    as_file = {"name": "image", "datatype": "BYTES", "shape": [1], "data": [text]}
    for tensor in (as_pixels, as_file):
        assert fits("Infer.digits", {"inputs": [tensor]})
        inferred(client.post("/v2/models/digits/infer", json={"inputs": [tensor]}))
    assert not fits("Infer.digits", {"inputs": [{**as_file, "datatype": "UINT8"}]})
