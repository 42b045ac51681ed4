"""Graphs of pictures: how few of them are decoded at once, and that this changes no answer."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import numpy as np

from potstill.artifact import load
from potstill.artifact.columns import concat_feeds
from potstill.artifact.model import run
from potstill.distillation.prove import _answers
from potstill.distillation.reference import column_reference
from potstill.export import artifact_bytes, check_parity, graph_inputs, input_batches
from potstill.monitoring.reference import column_histograms
from potstill.types import Dataset


def test_only_the_pictures_that_a_file_carries_are_decoded(album: Any, decoded: Any) -> None:
    assert artifact_bytes(album.graph, album.card, album.rows) == album.artifact
    assert decoded.files == 4


def test_parity_is_asked_with_few_pictures_decoded(album: Any, decoded: Any) -> None:
    calibration, schema = album.card.calibration, album.card.schema
    report = check_parity(album.graph, album.encoder, album.student, calibration, album.rows, schema=schema)
    assert report.n_rows > 60 + 32
    assert decoded.most < 30_000, "half of the real ones, and those that are made up twice"


def test_inputs_in_batches_are_the_inputs(album: Any, decoded: Any) -> None:
    batches = list(input_batches(album.rows, album.card.schema))
    assert max(sum(photo[:, :, 0].size for photo in batch["photo"]) for batch in batches) <= decoded.budget
    whole, together = graph_inputs(album.rows, album.card.schema), concat_feeds(batches)
    assert all(map(np.array_equal, together["photo"], whole["photo"]))


def test_a_model_answers_with_few_pictures_decoded(album: Any, decoded: Any) -> None:
    model = load(album.artifact)
    np.testing.assert_allclose(model.predict(album.rows), album.expected[:, 0], rtol=1e-5)
    assert decoded.most <= 3 * decoded.budget
    assert model.predict(album.rows[:0, :]).shape == (0,)


def test_the_graph_is_asked_about_few_large_pictures_at_once(album: Any, decoded: Any) -> None:
    session, asked = load(album.artifact).session, []

    class Session:
        def get_outputs(self) -> Any:
            return session.get_outputs()

        def run(self, names: Any, inputs: Any) -> Any:
            asked.append(inputs["photo"].shape[:3])
            return session.run(names, inputs)

    spy: Any = Session()
    rng = np.random.default_rng(0)
    small, large = (
        rng.integers(0, 256, (n, side, side, 3)).astype(np.uint8) for n, side in ((50, 10), (3, 40))
    )
    both = concat_feeds([{"photo": small}, {"photo": large}])["photo"]
    answers = [run(spy, {"photo": given}) for given in (small, large, both)]
    np.testing.assert_array_equal(np.concatenate(answers[:2]), answers[2])
    apart = [(20, 10, 10), (20, 10, 10), (10, 10, 10), *[(1, 40, 40)] * 3]
    assert asked == apart * 2
    assert max(np.prod(shape) for shape in asked) <= decoded.budget


def test_the_reference_and_the_answers_of_a_run_decode_few_pictures_at_once(album: Any, decoded: Any) -> None:
    schema = album.card.schema
    part = Dataset(album.rows, album.card.task, schema)
    prepared: Any = SimpleNamespace(parts={"train": part, "valid": part, "test": part}, schema=schema)
    reference = column_reference(prepared)
    exported: Any = SimpleNamespace(model=load(album.artifact), calibration=album.card.calibration)
    taught: Any = SimpleNamespace(answers={})
    answers = _answers({"student": exported, "twin": exported}, taught, prepared)
    assert decoded.most <= 3 * decoded.budget
    for name in ("student", "twin"):
        np.testing.assert_allclose(answers[name], album.expected, rtol=1e-5)
    assert reference.n_rows == 120
    twice = [graph_inputs(album.rows, schema)] * 2
    assert reference.columns == column_histograms(twice, schema)
