"""A loaded artifact answers, in every way it can be asked and wherever it is opened."""

from __future__ import annotations

import json
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import msgspec
import numpy as np
import onnx
import onnxruntime as ort
import pandas as pd
import polars as pl
import pytest

from potstill.artifact import load
from potstill.artifact.card import decode_card, encode_card
from potstill.artifact.envelope import CARD_KEY, HASH_KEY, PROBES_KEY, graph_hash, with_metadata
from potstill.artifact.probes import Probes
from potstill.errors import ArtifactError, UserError

GOLDEN = Path(__file__).parent / "golden"


@pytest.fixture(scope="module")
def model(binary):
    return load(binary)


def table_of(rows):
    return {name: [row[name] for row in rows] for name in rows[0]}


def test_what_a_model_says_of_itself(model):
    assert model.classes == ("<=50K", ">50K")
    assert model.task.kind == "binary"
    assert model.schema.names == ("age", "job", "member", "since", "hours")
    assert model.card.name == "small"


def test_all_ways_of_asking_agree(model, rows):
    probabilities = model.predict_proba(rows)
    assert probabilities.shape == (24, 2)
    assert probabilities.dtype == np.float32
    np.testing.assert_allclose(probabilities.sum(axis=1), 1, atol=1e-6)
    assert len({tuple(row) for row in probabilities.round(4).tolist()}) > 12
    frame = pd.DataFrame(rows).drop(columns="not used")
    for other in (frame, pl.from_pandas(frame), table_of(rows)):
        np.testing.assert_array_equal(model.predict_proba(other), probabilities)
    labels = model.predict(rows)
    assert labels.tolist() == [model.classes[best] for best in probabilities.argmax(axis=1)]
    assert set(labels.tolist()) == set(model.classes)
    for row, expected, label in zip(rows, probabilities.tolist(), labels.tolist(), strict=True):
        answer = model.predict_one(row)
        assert list(answer) == ["label", "probabilities"]
        assert answer["label"] == label
        assert list(answer["probabilities"]) == list(model.classes)
        assert list(answer["probabilities"].values()) == pytest.approx(expected, abs=1e-6)
    json.dumps(model.predict_one(rows[0]))


def test_labels_keep_their_own_type(multiclass, rows):
    model = load(multiclass)
    assert model.predict(rows).dtype == np.int64
    assert set(model.predict(rows).tolist()) <= {1, 2, 5}
    assert type(model.predict_one(rows[0])["label"]) is int


def test_regression(regression, rows):
    model = load(regression)
    values = model.predict(rows)
    assert values.shape == (24,)
    assert values.dtype == np.float32
    assert values.std() > 1
    assert [model.predict_one(row) for row in rows] == [
        {"value": pytest.approx(v, rel=1e-6)} for v in values.tolist()
    ]
    with pytest.raises(UserError) as error:
        model.predict_proba(rows)
    assert str(error.value) == (
        "the artifact predicts values of 'price', which have no probabilities.\n\nhint: Call predict."
    )


def test_no_rows_and_many_rows(model, rows, regression):
    assert model.predict_proba([]).shape == (0, 2)
    assert model.predict([]).shape == (0,)
    assert load(regression).predict([]).shape == (0,)
    many = rows * 800
    np.testing.assert_allclose(
        model.predict_proba(many), np.tile(model.predict_proba(rows), (800, 1)), atol=1e-6
    )


WRONG = {
    "no mapping": (
        [1, 2],
        "The row is a list; wanted a dict of column names to values.\n\nhint: "
        "For several rows at once call predict or predict_proba.",
    ),
    "absent": (
        {"Age": 1, "job": "a", "member": True, "since": None, "hours": 1},
        "The rows lack column 'age', which the model takes.\n\nhint: The rows do have 'Age' (for 'age').",
    ),
    "wrong number": (
        {"age": "39", "job": "a", "member": True, "since": None, "hours": 1},
        "Column 'age' takes numbers; got '39' (str).\n\nhint: "
        "Text is not read as a number: pass 39 itself, and None where one is missing.",
    ),
    "wrong flag": (
        {"age": 39, "job": "a", "member": "no", "since": None, "hours": 1},
        "Column 'member' takes true, false, 0 or 1; got 'no' (str).\n\nhint: "
        "Map the values to booleans first; None means missing.",
    ),
    "wrong date": (
        {"age": 39, "job": "a", "member": None, "since": 19000, "hours": 1},
        "Column 'since' takes dates; got 19000 (int).\n\nhint: "
        "A number does not say its unit or epoch: convert to datetime first.",
    ),
    "wrong category": (
        {"age": 39, "job": ["a"], "member": None, "since": None, "hours": 1},
        "Column 'job' takes one category a row; got ['a'] (list).\n\nhint: "
        "Give one text, number or boolean a row; None means missing.",
    ),
    "huge": (
        {"age": 10**400, "job": "a", "member": None, "since": None, "hours": 1},
        "Column 'age' takes numbers that fit a 64-bit float; got "
        f"1{'0' * 58}… (int).\n\nhint: Leave such values out, or declare the column categorical.",
    ),
    "half a character": (
        {"age": 1, "job": "\ud800", "member": None, "since": None, "hours": 1},
        "A category holds text that UTF-8 cannot say: '\\ud800'.\n\nhint: "
        "Clean the text first, for instance with text.encode('utf-8', 'replace').decode().",
    ),
}


@pytest.mark.parametrize("case", WRONG)
def test_a_wrong_row_gets_one_clear_sentence(model, case):
    row, message = WRONG[case]
    with pytest.raises(UserError) as error:
        model.predict_one(row)
    assert str(error.value) == message


def test_half_a_character_in_a_table(model, rows):
    with pytest.raises(UserError, match=r"^A category holds text that UTF-8 cannot say"):
        model.predict([rows[0] | {"job": "\ud800"}])


def test_numbers_beyond_float32_and_infinities_are_answered(model, rows):
    for value in (1e300, float("inf"), -float("inf"), 2**70):
        answer = model.predict_one(rows[0] | {"age": value})
        assert sum(answer["probabilities"].values()) == pytest.approx(1)
        batch = model.predict_proba([rows[0] | {"age": value}])[0]
        assert list(answer["probabilities"].values()) == batch.tolist()


def test_threads_share_a_model_and_get_their_own_answers(model, rows):
    expected = [model.predict_one(row) for row in rows]
    order = [
        index for start in range(8) for index in np.random.default_rng(start).permutation(len(rows)).tolist()
    ] * 8
    with ThreadPoolExecutor(8) as pool:
        answers = list(pool.map(lambda index: model.predict_one(rows[index]), order))
    assert answers == [expected[index] for index in order]


def test_verify_replays_every_kind_of_probe(binary):
    model = load(binary, verify=True)
    assert model.verify().n_rows == 16
    assert model.verify().max_difference < 1e-6
    metadata = {entry.key: entry.value for entry in onnx.load_from_string(binary).metadata_props}
    probes = msgspec.json.decode(metadata[PROBES_KEY], type=Probes)
    assert all(None in values for values in probes.rows.values())
    assert any("never seen" in (job or "") for job in probes.rows["job"])


def test_verify_notices_another_answer(binary):
    opened = onnx.load_from_string(binary)
    metadata = {entry.key: entry.value for entry in opened.metadata_props if entry.key != HASH_KEY}
    probes = msgspec.json.decode(metadata[PROBES_KEY], type=Probes)
    probes.outputs[3] = [probe + 0.01 for probe in probes.outputs[3]]
    metadata[PROBES_KEY] = msgspec.json.encode(probes).decode()
    changed = with_metadata(opened.SerializeToString(), metadata)
    assert load(changed).predict([]).shape == (0,)
    with pytest.raises(ArtifactError) as error:
        load(changed, verify=True)
    assert str(error.value) == (
        "the artifact answers 1 of its 16 probe rows otherwise than when it was written: "
        "row 3 is off by 0.01.\n\n"
        f"hint: Report this with your processor and ONNX Runtime's version, {ort.__version__}."
    )


@pytest.mark.parametrize("name", ["small_v1.onnx"])
def test_artifacts_of_old_are_still_answered(name):
    model = load(GOLDEN / name, verify=True)
    row = {"age": 41, "job": "café", "member": True, "since": "2001-02-03T04:05:06", "hours": 7.5}
    expected = json.loads((GOLDEN / f"{name}.json").read_text(encoding="utf-8"))
    answer = model.predict_one(row)
    assert answer["label"] == expected["label"]
    assert answer["probabilities"] == pytest.approx(expected["probabilities"], abs=1e-5)


BARE = """
import sys
sys.modules["potstill"] = None
import numpy as np, onnxruntime as ort
session = ort.InferenceSession(sys.argv[1], providers=["CPUExecutionProvider"])
feeds = {
    "age": np.array([41, np.nan], np.float32), "job": np.array(["café", ""], object),
    "member": np.array([1, np.nan], np.float32), "since": np.array([11356.17, np.nan], np.float64),
    "hours": np.array([7.5, np.inf], np.float32),
}
names = [output.name for output in session.get_outputs()]
answers = dict(zip(names, session.run(None, feeds)))
print(names, {name: (answer.shape, str(answer.dtype)) for name, answer in answers.items()})
print(answers["label"].tolist(), [float(p) for p in answers["probabilities"].ravel()])
"""


def test_plain_onnxruntime_opens_and_answers_it(binary, model, tmp_path):
    path = tmp_path / "small.onnx"
    path.write_bytes(binary)
    done = subprocess.run([sys.executable, "-c", BARE, path], capture_output=True, text=True, check=True)
    names, answers = done.stdout.splitlines()
    assert names == (
        "['probabilities', 'label'] {'probabilities': ((2, 2), 'float32'), 'label': ((2,), 'object')}"
    )
    rows = {"age": [41, None], "job": ["café", None], "member": [True, None], "hours": [7.5, float("inf")]}
    rows["since"] = [np.datetime64("1970-01-01") + np.timedelta64(round(11356.17 * 86400), "s"), None]
    assert eval(answers.split("] ")[0] + "]") == model.predict(rows).tolist()
    assert eval(answers.split("] ")[1]) == pytest.approx(model.predict_proba(rows).ravel().tolist(), abs=1e-6)


CARD_ONLY = """
import sys
sys.modules["onnxruntime"] = None
from potstill.artifact import inspect
print(inspect(sys.argv[1])["card"]["name"])
"""


def test_reading_a_card_opens_no_runtime(binary, tmp_path):
    path = tmp_path / "small.onnx"
    path.write_bytes(binary)
    done = subprocess.run([sys.executable, "-c", CARD_ONLY, path], capture_output=True, text=True, check=True)
    assert done.stdout == "small\n"


def test_a_file_the_runtime_cannot_open_is_one_sentence(binary):
    opened = onnx.load_from_string(binary)
    metadata = {entry.key: entry.value for entry in opened.metadata_props if entry.key != HASH_KEY}
    next(opset for opset in opened.opset_import if opset.domain == "").version = 999
    bare = onnx.ModelProto()
    bare.CopyFrom(opened)
    del bare.metadata_props[:]
    data = bare.SerializeToString(deterministic=True)
    card = decode_card(metadata[CARD_KEY], source="the file")
    metadata[CARD_KEY] = encode_card(msgspec.structs.replace(card, graph_hash=graph_hash(data)))
    with pytest.raises(ArtifactError) as error:
        load(with_metadata(data, metadata))
    assert error.value.message.startswith(f"ONNX Runtime {ort.__version__} cannot open the artifact: ")
    assert error.value.hint == "Upgrade it: pip install --upgrade onnxruntime."


LIGHT = """
import sys
for name in ("torch", "sklearn", "pandas", "pyarrow", "polars", "narwhals", "onnx", "scipy", "lightgbm"):
    sys.modules[name] = None
from potstill.artifact import load
model = load(sys.argv[1], verify=True)
print(model.predict_one({"age": 41, "job": "Sales", "member": None, "since": None, "hours": 1})["label"])
print(model.predict([{"age": 41, "job": "Sales", "member": None, "since": None, "hours": 1}])[0])
"""


def test_the_runtime_half_needs_nothing_of_the_training_half(binary, model, tmp_path):
    path = tmp_path / "small.onnx"
    path.write_bytes(binary)
    command = [sys.executable, "-W", "error", "-c", LIGHT, path]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    label = model.predict_one({"age": 41, "job": "Sales", "member": None, "since": None, "hours": 1})["label"]
    assert (done.stdout.split(), done.stderr) == ([label, label], "")
