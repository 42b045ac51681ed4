"""A small artifact made of a mixed table, and the command line called in this process."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest

from potstill.artifact import Affine, Card, Softmax
from potstill.artifact.pictures import png_bytes
from potstill.cli import potstill as root
from potstill.cli.guard import guarded
from potstill.data import load_dataset
from potstill.export import compose, write_artifact
from potstill.graph import GraphBuilder
from potstill.modalities import ImageEncoder, TabularEncoder
from potstill.types import Dataset, Floats, Tensors


@dataclass(frozen=True)
class Outcome:
    """What a command left behind."""

    code: int
    out: str
    err: str


Run = Callable[..., Outcome]


@dataclass(frozen=True)
class Linear:
    """A student without a fit: fixed weights on all that the encoder makes, missing numbers as 0."""

    numeric: Floats
    categorical: Floats
    n_parameters: int = 0

    def logits(self, tensors: Tensors) -> Floats:
        numbers = np.nan_to_num(tensors["numeric"], nan=0.0)
        return (numbers @ self.numeric + tensors["categorical"].astype(np.float32) @ self.categorical).astype(
            np.float32
        )

    def build(self, graph: GraphBuilder, tensors: Mapping[str, str]) -> str:
        missing = graph.node("IsNaN", tensors["numeric"])
        numbers = graph.node("Where", missing, graph.constant(np.float32(0).reshape(())), tensors["numeric"])
        ids = graph.node("Cast", tensors["categorical"], to=1)
        left = graph.node("MatMul", numbers, graph.constant(self.numeric))
        return graph.node("Add", left, graph.node("MatMul", ids, graph.constant(self.categorical)))


@dataclass(frozen=True)
class Made:
    """An artifact, the table it was made from, and what its student says of that table."""

    path: Path
    rows: Path
    dataset: Dataset
    student: Linear
    expected: Floats


CITIES = ("Rome", "Oslo", "Lima", "None")


def write_table(path: Path, n: int = 240) -> Path:
    """A CSV with a column of every kind, every way of writing them that training knows, and a target."""
    rng = np.random.default_rng(7)
    lines = ["age,member,city,code,since,price,paid"]
    for row in range(n):
        age = ("", "NA", f"{rng.integers(18, 90)}")[min(row % 9, 2)]
        city = "" if row % 11 == 0 else CITIES[rng.integers(4)]
        member = ("true", "false", "True", "")[rng.integers(4)]
        day = "" if row % 13 == 0 else f"202{rng.integers(5)}-0{rng.integers(1, 10)}-1{rng.integers(10)}"
        price = f"{rng.normal(20, 5):.2f}" if row % 7 else "nan"
        paid = ("no", "yes", "maybe")[rng.integers(3)]
        lines.append(f"{age},{member},{city},{rng.integers(1, 4)},{day},{price},{paid}")
    path.write_text("\n".join(lines) + "\n")
    return path


def make(folder: Path, target: str, *, drop: tuple[str, ...] = ()) -> Made:
    """Write the table and an artifact for ``target``."""
    rows = write_table(folder / "rows.csv")
    dataset = load_dataset(rows, target=target, kinds={"code": "categorical"}, drop=drop).dataset
    encoder = TabularEncoder.fit(dataset)
    rng = np.random.default_rng(3)
    spec, k = encoder.spec, dataset.task.n_outputs
    student = Linear(
        rng.normal(0, 0.01, (len(spec.numeric), k)).astype(np.float32),
        rng.normal(0, 0.2, (len(spec.categorical), k)).astype(np.float32),
    )
    calibration = Softmax(1.5) if dataset.task.is_classification else Affine(2.0, 1.0)
    card = Card(name="toy", task=dataset.task, schema=dataset.schema, calibration=calibration)
    path = folder / "toy.onnx"
    write_artifact(compose(encoder, student, calibration, task=dataset.task), card, dataset.rows, path)
    return Made(path, rows, dataset, student, calibration.apply(student.logits(encoder.encode(dataset.rows))))


@pytest.fixture(scope="session")
def classifier(tmp_path_factory: pytest.TempPathFactory) -> Made:
    return make(tmp_path_factory.mktemp("classifier"), "paid")


@pytest.fixture(scope="session")
def dateless(tmp_path_factory: pytest.TempPathFactory) -> Made:
    """A classifier that other ONNX runtimes than potstill's own can be fed for: no dates."""
    return make(tmp_path_factory.mktemp("dateless"), "paid", drop=("since",))


@pytest.fixture(scope="session")
def regressor(tmp_path_factory: pytest.TempPathFactory) -> Made:
    return make(tmp_path_factory.mktemp("regressor"), "price", drop=("paid",))


@dataclass(frozen=True)
class Brightness:
    """A student without a fit that tells light pictures from dark ones."""

    n_parameters: int = 0

    def logits(self, tensors: Tensors) -> Floats:
        light = (tensors["pixels"].mean(axis=(1, 2, 3), dtype=np.float32) - 128) / 10
        return np.stack([-light, light], axis=1)

    def build(self, graph: GraphBuilder, tensors: Mapping[str, str]) -> str:
        axes = graph.constant(np.array([1, 2, 3]))
        mean = graph.node("Flatten", graph.node("ReduceMean", tensors["pixels"], axes))
        light = graph.node("Sub", mean, graph.constant(np.float32(128).reshape(())))
        return graph.node("MatMul", light, graph.constant(np.array([[-0.1, 0.1]], np.float32)))


def write_pictures(folder: Path, **shades: int) -> Path:
    """Grey PNG files of one shade each, their paths without the suffix, slashes as two underscores."""
    for name, shade in shades.items():
        path = folder / f"{name.replace('__', '/')}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(png_bytes(np.full((6, 6, 1), shade, dtype=np.uint8)))
    return folder


@pytest.fixture(scope="session")
def shaded() -> Callable[..., Path]:
    """Writes a folder of pictures."""
    return write_pictures


@pytest.fixture(scope="session")
def shades(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model of pictures, which are ``dark`` or ``light``."""
    made = tmp_path_factory.mktemp("shades")
    folder = write_pictures(made / "train", dark__0=10, dark__1=60, light__0=180, light__1=240)
    dataset = load_dataset(folder).dataset
    card = Card(name="shades", task=dataset.task, schema=dataset.schema, calibration=Softmax(1.0))
    graph = compose(ImageEncoder.fit(dataset), Brightness(), Softmax(1.0), task=dataset.task)
    write_artifact(graph, card, dataset.rows, made / "shades.onnx")
    return made / "shades.onnx"


@pytest.fixture
def run(capsys: pytest.CaptureFixture[str]) -> Run:
    def call(*arguments: object) -> Outcome:
        capsys.readouterr()
        code = guarded(root, [str(argument) for argument in arguments])
        said = capsys.readouterr()
        return Outcome(code, said.out, said.err)

    return call
