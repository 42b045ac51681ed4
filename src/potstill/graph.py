"""One ONNX graph, grown node by node: the encoder, the student and the calibration each add theirs.

No merging of models afterwards: every part is handed the same `GraphBuilder` and the names of the values it
starts from, so names never collide and there is one opset.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple, final

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

from potstill.errors import UserError


class Opset(NamedTuple):
    """Operator sets that came out together, and who can read them.

    Parameters
    ----------
    main
        Version of the main ONNX operator set.
    ml
        Version of ``ai.onnx.ml``.
    ir
        Version of the file format.
    runtime
        The first ONNX Runtime that has every operator we use from them.
    """

    main: int
    ml: int
    ir: int
    runtime: str


OPSETS = (
    Opset(main=21, ml=5, ir=10, runtime="1.21"),
    Opset(main=17, ml=3, ir=8, runtime="1.12"),
)
"""What graphs can be written in, the newest and most compact first."""


def chosen_opset(highest: int | None) -> Opset:
    """The newest of `OPSETS` that a runtime reads which understands the main operator set ``highest``.

    Parameters
    ----------
    highest
        Version of the main ONNX operator set; None for the newest there is.

    Raises
    ------
    UserError
        No graph of ours can be written in so old an operator set.
    """
    for opset in OPSETS:
        if highest is None or opset.main <= highest:
            return opset
    oldest = OPSETS[-1]
    raise UserError(
        f"The budget allows ONNX operator sets up to {highest}; no student can be written in less than "
        f"{oldest.main}.",
        hint=f"Operator set {oldest.main} is read by ONNX Runtime {oldest.runtime} and later: allow that.",
    )


class GraphBuilder:
    """Collects nodes, constants, inputs and outputs; `model` turns them into one checked ModelProto.

    Parameters
    ----------
    name
        Of the graph.
    opset
        What the nodes are written in: parts that have a better form in a newer one ask for it.
    """

    def __init__(self, name: str = "potstill", *, opset: Opset = OPSETS[0]) -> None:
        self.opset = opset
        self._name = name
        self._nodes: list[onnx.NodeProto] = []
        self._constants: list[onnx.TensorProto] = []
        self._inputs: list[onnx.ValueInfoProto] = []
        self._outputs: list[onnx.ValueInfoProto] = []
        self._count = 0
        self._taken: set[str] = set()

    def input(self, name: str, element_type: int, shape: Sequence[int | str]) -> str:
        """Declare a graph input, e.g. ``input("age", TensorProto.FLOAT, ["n"])``; return its name."""
        self._inputs.append(helper.make_tensor_value_info(name, element_type, list(shape)))
        self._taken.add(name)
        return name

    def constant(self, value: NDArray[Any]) -> str:
        """Add an initializer with the array's dtype and shape (text as object or str); return its name."""
        name = self._fresh("const")
        if value.dtype.kind in "OU":
            texts = [str(text).encode() for text in value.ravel()]
            tensor = helper.make_tensor(name, TensorProto.STRING, value.shape, texts)
        else:
            tensor = numpy_helper.from_array(np.ascontiguousarray(value), name)
        self._constants.append(tensor)
        return name

    def node(self, op_type: str, *inputs: str, domain: str = "", **attributes: Any) -> str:
        """Add a node with one output; return the output's name."""
        return self.nodes(op_type, *inputs, n_outputs=1, domain=domain, **attributes)[0]

    def nodes(
        self, op_type: str, *inputs: str, n_outputs: int, domain: str = "", **attributes: Any
    ) -> list[str]:
        """Add a node with several outputs; return their names."""
        outputs = [self._fresh(op_type.lower()) for _ in range(n_outputs)]
        self._nodes.append(helper.make_node(op_type, list(inputs), outputs, domain=domain, **attributes))
        return outputs

    def unused(self, name: str) -> str:
        """``name``, with underscores added until no input is called so."""
        while name in self._taken:
            name += "_"
        return name

    def output(self, value: str, name: str, element_type: int, shape: Sequence[int | str]) -> None:
        """Declare that ``value`` leaves the graph under ``name``."""
        self._nodes.append(helper.make_node("Identity", [value], [name]))
        self._outputs.append(helper.make_tensor_value_info(name, element_type, list(shape)))

    def model(self, metadata: Mapping[str, str] | None = None) -> onnx.ModelProto:
        """The checked model, with ``metadata`` as its ``metadata_props``."""
        graph = helper.make_graph(self._nodes, self._name, self._inputs, self._outputs, self._constants)
        opsets = [helper.make_opsetid("", self.opset.main), helper.make_opsetid("ai.onnx.ml", self.opset.ml)]
        model = helper.make_model(
            graph, opset_imports=opsets, ir_version=self.opset.ir, producer_name="potstill"
        )
        helper.set_model_props(model, dict(metadata or {}))
        onnx.checker.check_model(model, full_check=True)
        return model

    def _fresh(self, stem: str) -> str:
        """A name no value has yet, whatever the inputs are called."""
        self._count += 1
        while f"ps/{stem}_{self._count}" in self._taken:
            self._count += 1
        return f"ps/{stem}_{self._count}"


@final
class Deferred(Mapping[str, str]):
    """Values of a graph by name, each added to it when it is first looked up.

    Parameters
    ----------
    makers
        Name to the function that adds the nodes and returns the value's name in the graph.
    """

    def __init__(self, makers: Mapping[str, Callable[[], str]]) -> None:
        self._makers = makers
        self._made: dict[str, str] = {}

    def __getitem__(self, name: str) -> str:
        if name not in self._made:
            self._made[name] = self._makers[name]()
        return self._made[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._makers)

    def __len__(self) -> int:
        return len(self._makers)
