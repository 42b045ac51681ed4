"""Whatever happened to a file on its way, it is noticed before anything is asked of it."""

from __future__ import annotations

import numpy as np
import onnx
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from onnx import TensorProto

from potstill.artifact import inspect, load, verify_file
from potstill.artifact.envelope import CARD_KEY, HASH_KEY, graph_hash, open_envelope, with_metadata
from potstill.errors import ArtifactError, UserError
from potstill.graph import GraphBuilder

NOT_ONNX = "hint: Give the .onnx file that `potstill distill` wrote; a copy that was cut off is none."
CHANGED = (
    "the file was changed after potstill wrote it: its bytes do not match the hash it carries.\n\n"
    "hint: Copy the file again from where it was made, in binary mode, or export it anew."
)
NO_CARD = (
    "the file is an ONNX model, but it carries no potstill card.\n\n"
    "hint: Only files written by potstill can be loaded; open others with onnxruntime itself."
)


def bare_model():
    graph = GraphBuilder()
    graph.output(
        graph.node("Relu", graph.input("x", TensorProto.FLOAT, ["n"])), "y", TensorProto.FLOAT, ["n"]
    )
    return graph.model()


def refusal(data: bytes) -> str:
    with pytest.raises(ArtifactError) as error:
        open_envelope(data, source="the file")
    return str(error.value)


@given(st.data())
@settings(deadline=None)
def test_one_changed_byte_anywhere_is_noticed(binary, data):
    position = data.draw(st.integers(0, len(binary) - 1))
    changed = bytearray(binary)
    changed[position] ^= data.draw(st.integers(1, 255))
    with pytest.raises(ArtifactError):
        load(bytes(changed))


def test_every_digit_of_the_hash_and_its_key_are_guarded(binary):
    start = binary.rindex(HASH_KEY.encode())
    for position in range(start, len(binary)):
        changed = bytearray(binary)
        changed[position] ^= 0x20
        with pytest.raises(ArtifactError):
            load(bytes(changed))


@given(st.binary(max_size=300))
def test_noise_is_no_artifact(noise):
    with pytest.raises(ArtifactError):
        load(noise)


def test_truncated_and_extended_files_are_noticed(binary):
    for length in (0, 1, len(binary) // 2, len(binary) - 1):
        with pytest.raises(ArtifactError):
            load(binary[:length])
    assert refusal(binary + b"\x08\x0a") == CHANGED


def test_each_refusal_says_what_is_wrong(binary):
    assert refusal(b"") == f"the file is empty; wanted an artifact written by potstill.\n\n{NOT_ONNX}"
    csv = b"age,income\n39,<=50K\n"
    assert (
        refusal(csv)
        == f"the file is not an ONNX model; wanted an artifact written by potstill.\n\n{NOT_ONNX}"
    )
    assert refusal(bare_model().SerializeToString()) == NO_CARD
    assert refusal(binary.replace(b"Sales", b"sales")) == CHANGED


def test_a_file_saved_again_by_another_tool_is_noticed(binary):
    model = onnx.load_from_string(binary)
    model.producer_name = "another"
    assert refusal(model.SerializeToString()) == CHANGED
    del model.metadata_props[:]
    assert refusal(model.SerializeToString()) == NO_CARD


def test_a_second_card_is_noticed(binary):
    twice = onnx.load_from_string(binary)
    twice.metadata_props.add(key=CARD_KEY, value="{}")
    assert refusal(twice.SerializeToString()) == CHANGED


def test_a_card_beside_another_graph_is_noticed(binary):
    metadata = {
        entry.key: entry.value
        for entry in onnx.load_from_string(binary).metadata_props
        if entry.key != HASH_KEY
    }
    with pytest.raises(ArtifactError) as error:
        load(with_metadata(bare_model().SerializeToString(), metadata))
    assert str(error.value) == "The card in the artifact describes another graph than the one beside it."


def test_metadata_is_what_onnx_reads_and_the_graph_is_untouched(binary):
    model = onnx.load_from_string(binary)
    envelope = open_envelope(binary, source="the file")
    assert dict(envelope.metadata) == {entry.key: entry.value for entry in model.metadata_props}
    onnx.checker.check_model(model, full_check=True)
    bare = onnx.ModelProto()
    bare.CopyFrom(model)
    del bare.metadata_props[:]
    assert graph_hash(bare.SerializeToString(deterministic=True)) == envelope.graph_hash


@given(st.dictionaries(st.text(min_size=1), st.text()))
def test_any_text_comes_back(metadata):
    sealed = with_metadata(bare_model().SerializeToString(), metadata)
    read = {entry.key: entry.value for entry in onnx.load_from_string(sealed).metadata_props}
    assert {key: value for key, value in read.items() if key != HASH_KEY} == {
        key: value for key, value in metadata.items() if key != HASH_KEY
    }


def test_inspect_tells_the_file_and_the_card(binary, tmp_path):
    path = tmp_path / "small.onnx"
    path.write_bytes(binary)
    told = inspect(path)
    assert told["file"]["path"] == str(path)
    assert told["file"]["size_bytes"] == len(binary) == told["card"]["volatile"]["size_bytes"]["student"]
    assert told["file"]["content_hash"] == load(path).card.content_hash
    assert told["card"]["task"]["classes"] == ("<=50K", ">50K")


def test_verify_file_replays_the_probes(binary, tmp_path):
    path = tmp_path / "small.onnx"
    path.write_bytes(binary)
    assert verify_file(path).n_rows == 16
    assert np.isfinite(verify_file(path).max_difference)


def test_no_file_is_one_sentence(tmp_path):
    with pytest.raises(UserError) as error:
        load(tmp_path / "none.onnx")
    assert str(error.value) == (
        f"There is no file {tmp_path / 'none.onnx'}.\n\nhint: Check the path; artifacts end in .onnx."
    )
    with pytest.raises(UserError) as error:
        inspect(tmp_path)
    assert str(error.value) == (
        f"{tmp_path} cannot be read: Is a directory.\n\nhint: Check what it is and who owns it."
    )
