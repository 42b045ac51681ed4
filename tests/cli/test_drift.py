"""`drift`: quiet on the rows learned from, loud on others, and what is refused."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from potstill.artifact import feeds, load
from potstill.cli.cells import model_columns
from potstill.cli.rows import read_chunks
from potstill.export import compose, write_artifact
from potstill.modalities import TabularEncoder
from potstill.monitoring import make_reference


@pytest.fixture(scope="module")
def known(classifier: Any, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The classifier with a reference in its card, as `potstill distill` writes it."""
    import msgspec

    model, dataset = load(classifier.path), classifier.dataset
    chunks = list(read_chunks(str(classifier.rows)))
    inputs = feeds(model_columns(chunks[0], model.schema, where="rows"), model.schema)
    reference = make_reference(
        inputs, model.schema, model.task, answered=model.outputs(inputs), labels=dataset.labels
    )
    path = tmp_path_factory.mktemp("known") / "known.onnx"
    graph = compose(
        TabularEncoder.fit(dataset), classifier.student, model.card.calibration, task=dataset.task
    )
    write_artifact(graph, msgspec.structs.replace(model.card, reference=reference), dataset.rows, path)
    return path


def test_the_rows_learned_from_have_not_drifted(run: Any, classifier: Any, known: Path) -> None:
    done = run("drift", known, classifier.rows, "-q")
    assert (done.code, done.err) == (0, "")
    assert "240 rows" in done.out
    assert "accuracy, estimated without labels: " in done.out


def test_a_shift_is_told_and_is_exit_code_1(run: Any, classifier: Any, known: Path, tmp_path: Path) -> None:
    shifted = tmp_path / "shifted.csv"
    head, *lines = classifier.rows.read_text().splitlines()
    cells = [line.split(",") for line in lines]
    for row in cells:
        row[2] = "Quito"
        row[5] = "45"
    shifted.write_text("\n".join([head, *(",".join(row) for row in cells)]) + "\n")
    done = run("drift", known, shifted, "--json", "-q")
    assert done.code == 1
    assert "Column 'price' has drifted: PSI " in done.err
    assert "Column 'city' has 100.0% unseen values; it had 0.0%." in done.err
    told = json.loads(done.out)
    assert told["n_rows"] == 240
    assert told["columns"]["price"]["alarms"] == ["distribution"]
    assert told["columns"]["age"]["alarms"] == []
    text = run("drift", known, shifted, "-q")
    assert "not to be trusted" in text.out
    ignored = run("drift", known, shifted, "--ignore", "price", "--rate-rise", "1.1", "--psi", "99", "-q")
    assert "'price' has drifted" not in ignored.err


def test_an_artifact_of_an_earlier_version_is_refused(run: Any, classifier: Any) -> None:
    done = run("drift", classifier.path, classifier.rows, "-q")
    assert done.code == 2
    assert "does not say what its training rows looked like: an earlier version wrote it." in done.err


def test_no_rows_and_no_column_are_refused(run: Any, classifier: Any, known: Path, tmp_path: Path) -> None:
    empty = tmp_path / "empty.csv"
    empty.write_text(classifier.rows.read_text().splitlines()[0] + "\n")
    done = run("drift", known, empty, "-q")
    assert done.code == 2
    assert f"There are no rows in {empty}." in done.err
    assert run("drift", known, classifier.rows, "--ignore", "colour").code == 2


def test_few_rows_are_said_to_be_few(run: Any, classifier: Any, known: Path, tmp_path: Path) -> None:
    few = tmp_path / "few.csv"
    few.write_text("".join(classifier.rows.read_text().splitlines(keepends=True)[:30]))
    done = run("drift", known, few, "-q")
    assert done.code == 0
    assert "fewer than 200 rows: too few for an alarm" in done.out
