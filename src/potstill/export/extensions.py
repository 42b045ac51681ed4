"""A transformer's artifact as a graph that takes the text itself: its tokenizer as a node.

The operator is not a standard one: it needs onnxruntime-extensions, which there is for as many languages as
ONNX Runtime. It cuts one text in a call, so the graph answers one row at a time.
"""

from __future__ import annotations

from collections.abc import Sequence

import msgspec
import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from potstill.artifact import Card, Model
from potstill.artifact.columns import feeds
from potstill.artifact.wordpiece import END, PAD, START, UNKNOWN, WordPiece
from potstill.errors import ParityFailed, UserError

DOMAIN = "ai.onnx.contrib"
ATOL = 1e-5

CLEANED = r"[\x{fffd}\p{Cf}\p{Co}\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f]"
"""Characters that no word has, which the operator would take for unknown words."""


def with_tokenizer(data: bytes, card: Card) -> onnx.ModelProto:
    """The graph of an artifact behind a node that cuts its texts into word pieces.

    Parameters
    ----------
    data
        The artifact.
    card
        Its Card.

    Returns
    -------
    A model with an input STRING ``(1,)`` for each text column; without the Card, which tells of another
    graph.

    Raises
    ------
    UserError
        The artifact's graph takes raw values already.
    """
    if isinstance(card.tokenizer, msgspec.UnsetType):
        raise UserError(
            "The graph of this artifact takes raw values: there is no tokenizer to put into it.",
            hint="Any ONNX runtime can run it as it is.",
        )
    model = onnx.load_model_from_string(data)
    del model.metadata_props[:]
    graph = model.graph
    (taken,) = graph.input
    pieces = f"{taken.name}_pieces"
    for node in graph.node:
        node.input[:] = [pieces if name == taken.name else name for name in node.input]
    joining, text = _joining(card.schema.names, pieces)
    nodes, constants = _cutting(card.tokenizer, text, pieces)
    graph.initializer.extend(constants)
    whole = [*joining, *nodes, *graph.node]
    del graph.node[:], graph.input[:]
    graph.node.extend(whole)
    graph.input.extend(
        helper.make_tensor_value_info(name, TensorProto.STRING, [1]) for name in card.schema.names
    )
    model.opset_import.append(helper.make_opsetid(DOMAIN, 1))
    return model


def check_tokenizer(model: onnx.ModelProto, artifact: Model) -> bool:
    """Ask the new graph about the rows that the artifact carries.

    Returns
    -------
    False where onnxruntime-extensions is not installed: then nothing was asked.

    Raises
    ------
    ParityFailed
        It answers otherwise than the artifact.
    """
    try:
        from onnxruntime_extensions import get_library_path
    except ImportError:
        return False
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    options.register_custom_ops_library(get_library_path())
    session = onnxruntime.InferenceSession(
        model.SerializeToString(), options, providers=["CPUExecutionProvider"]
    )
    for row in artifact.probe_rows:
        asked = feeds([row], artifact.schema)
        answers = session.run(None, asked)[0].ravel()
        expected = artifact.outputs(asked).ravel()
        if not np.allclose(answers, expected, atol=ATOL, rtol=ATOL):
            raise ParityFailed(
                f"With its tokenizer inside the graph answers {answers} to {row}, the artifact {expected}.",
                hint="This version of onnxruntime-extensions may cut texts in another way.",
            )
    return True


def _joining(columns: Sequence[str], pieces: str) -> tuple[list[onnx.NodeProto], str]:
    """The nodes that put the texts of ``columns`` together, a blank between them, and the result's name."""
    blank, whole = f"{pieces}_blank", columns[0]
    nodes = [helper.make_node("Constant", [], [blank], value_strings=[" "])] if len(columns) > 1 else []
    for at, column in enumerate(columns[1:]):
        open_end, longer = f"{pieces}_open_{at}", f"{pieces}_longer_{at}"
        nodes.append(helper.make_node("StringConcat", [whole, blank], [open_end]))
        nodes.append(helper.make_node("StringConcat", [open_end, column], [longer]))
        whole = longer
    return nodes, whole


def _cutting(
    tokenizer: WordPiece, text: str, pieces: str
) -> tuple[list[onnx.NodeProto], list[onnx.TensorProto]]:
    """The nodes from text ``(1,)`` to ids ``(1, P)``, `END` last also where a long text is cut off."""
    numbers = {
        "first": 0,
        "last": -1,
        "most": tokenizer.max_pieces - 1,
        "end": tokenizer.vocab.index(END),
    }
    names = {name: f"{pieces}_{name}" for name in (*numbers, "all", "open", "short", "closed")}
    constants = [
        numpy_helper.from_array(np.array([value], dtype=np.int64), names[name])
        for name, value in numbers.items()
    ]
    for name, said in (("nothing", ""), ("cleaned", CLEANED)):
        names[name] = f"{pieces}_{name}"
        constants.append(numpy_helper.from_array(np.array([said], dtype=object), names[name]))
    clean = helper.make_node(
        "StringRegexReplace", [text, names["cleaned"], names["nothing"]], [f"{pieces}_clean"], domain=DOMAIN
    )
    cut = helper.make_node(
        "BertTokenizer",
        [f"{pieces}_clean"],
        [names["all"], f"{pieces}_kinds", f"{pieces}_mask"],
        domain=DOMAIN,
        vocab_file="\n".join(tokenizer.vocab),
        do_lower_case=int(tokenizer.lower),
        strip_accents=int(tokenizer.lower),
        unk_token=UNKNOWN,
        cls_token=START,
        sep_token=END,
        pad_token=PAD,
        mask_token=PAD,  # one that every vocabulary has
    )
    nodes = [
        clean,
        cut,
        helper.make_node("Slice", [names["all"], names["first"], names["last"]], [names["open"]]),
        helper.make_node("Slice", [names["open"], names["first"], names["most"]], [names["short"]]),
        helper.make_node("Concat", [names["short"], names["end"]], [names["closed"]], axis=0),
        helper.make_node("Unsqueeze", [names["closed"], names["first"]], [pieces]),
    ]
    return nodes, constants
