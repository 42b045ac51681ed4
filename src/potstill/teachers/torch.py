"""torch modules: live ones, and files of TorchScript, pickled and exported modules."""

from __future__ import annotations

import warnings
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np

from potstill.errors import UserError
from potstill.teachers.adapter import extension, library, path_of
from potstill.teachers.answers import are_probabilities, checked, sigmoid, softmax, speaking_for
from potstill.teachers.digests import code_digest, digest
from potstill.teachers.files import require_trust
from potstill.teachers.pixels import Pixels, answers_to_pictures, is_of_pictures
from potstill.teachers.rows import matrix, model_columns, select
from potstill.types import Dataset, Doubles, Floats, Task, Teacher, Trainable

_VERSION = "1"
TEXTS_AT_ONCE = 64
_OWN_SIZES = (
    "Pictures come in their own sizes, from 0 to 1, and new views of them in the size at which the student "
    "looks at them: put what resizes and normalises them before the module, in a torch.nn.Sequential."
)

Output = Literal["auto", "logits", "probabilities"]


@dataclass(frozen=True, eq=False)
class TorchTeacher:
    """A module called as ``module(x)``.

    Of a table ``x`` is float32 ``(n, F)``: the columns of the rows, in order. Those are all columns or the
    schema's, whichever its first layer is as wide as; the schema's when it does not say. Of pictures it is
    float32 ``(n, C, H, W)`` from 0 to 1, as torchvision's ``ToTensor`` gives them, each in its own size and
    in as many channels as the first convolution takes; a module that wants them resized or normalised does
    so itself. Of texts it is a list of n strings, several text columns joined by a blank.

    It is asked in evaluation mode, without gradients, in batches, on the device of its parameters; its own
    mode is put back afterwards.

    Parameters
    ----------
    name, fingerprint
        See `potstill.types.Teacher`.
    module
        The ``torch.nn.Module``.
    output
        What it returns for classification: ``logits`` or ``probabilities`` ``(n, K)``; for two classes also
        ``(n,)`` or ``(n, 1)``, of the second class. ``auto``: K outputs that lie within [0, 1] and sum to 1
        in every row are probabilities, so is a single output that ends in a ``Sigmoid``; all else is logits.
    batch_rows
        Rows in one call.
    """

    name: str
    fingerprint: str
    module: Any
    output: Output = "auto"
    batch_rows: int = 4096

    def predict(self, dataset: Dataset) -> Floats:
        import torch

        from potstill.modalities.text import joined_texts, text_columns  # brings the library onnx along

        parameter = next(iter(self.module.parameters()), None)
        device = torch.device("cpu") if parameter is None else parameter.device

        def ask(given: Any) -> Doubles:
            answers: Doubles = self.module(given).detach().to("cpu", torch.float64).numpy()
            return answers

        def ask_pictures(pixels: Pixels) -> Doubles:
            return ask(torch.from_numpy(pixels).to(device).permute(0, 3, 1, 2).float() / 255)

        def in_batches(rows: Any, size: int) -> Doubles:
            answers = [ask(rows[start : start + size]) for start in range(0, len(rows), size)]
            return np.concatenate(answers) if answers else np.empty((0, dataset.task.n_outputs))

        with torch.no_grad(), _evaluating(self.module):
            if is_of_pictures(dataset):
                with speaking_for(self.name, "answer the pictures", hint=_OWN_SIZES):
                    values = answers_to_pictures(dataset, ask_pictures, channels=_channels(self.module))
            elif text_columns(dataset.schema):
                with speaking_for(self.name, "answer a list of texts"):
                    values = in_batches(joined_texts(dataset.rows, dataset.schema), TEXTS_AT_ONCE)
            else:
                table = matrix(self._columns(dataset), self.name)
                with speaking_for(self.name, "answer the rows"):
                    values = in_batches(torch.from_numpy(table).to(device), self.batch_rows)
        if dataset.task.is_classification:
            values = self._probabilities(values)
        return checked(values, task=dataset.task, n_rows=len(dataset), teacher=self.name)

    def _columns(self, dataset: Dataset) -> Dataset:
        width = _width(self.module)
        if width is None:
            return model_columns(dataset)
        return select(dataset, None, self.name, n_columns=width)

    def _probabilities(self, values: Doubles) -> Doubles:
        single = values.ndim == 1 or values.shape[1] == 1
        if self.output == "probabilities" or (
            self.output == "auto" and self._are_probabilities(values, single)
        ):
            return values
        return sigmoid(values) if single else softmax(values)

    def _are_probabilities(self, values: Doubles, single: bool) -> bool:
        if single:
            *_, last = self.module.modules()
            return type(last).__name__ == "Sigmoid"
        return are_probabilities(values)


class TorchAdapter:
    """Adapter of ``torch.nn.Module`` and of ``.pt``, ``.pth`` and ``.pt2`` files, which need trust."""

    @classmethod
    def recognises(cls, source: object) -> bool:
        is_module = any(f"{base.__module__}.{base.__name__}" == _MODULE for base in type(source).__mro__)
        return is_module or extension(source) in {".pt", ".pth", ".pt2", ".safetensors"}

    @classmethod
    def adopt(
        cls, source: Any, *, task: Task, trust: bool, name: str | None, output: Output = "auto"
    ) -> Teacher | Trainable:
        path = path_of(source)
        module = source if path is None else _open(path, trust)
        name = name or (type(source).__name__ if path is None else path.stem)
        _check_width(module, task, name)
        return TorchTeacher(name, digest(_fingerprint(module, name), output), module, output)


_MODULE = "torch.nn.modules.module.Module"


def _open(path: Path, trust: bool) -> Any:
    if path.suffix.lower() == ".safetensors":
        raise UserError(
            f"{str(path)!r} holds weights but no module to put them in: wanted a torch module.",
            hint="Build the module, load the weights with safetensors.torch.load_model, and hand "
            "over the module.",
        )
    require_trust(path, trust, instead="ONNX")
    torch = library("torch", wanted_for=f"Opening {str(path)!r}", install="potstill[train]")
    with speaking_for(path.stem, f"be read from {str(path)!r}"):
        if path.suffix.lower() == ".pt2":
            return torch.export.load(path).module()
        if _is_torchscript(path):
            with warnings.catch_warnings():
                # The library advises against TorchScript, but this file exists.
                warnings.simplefilter("ignore", DeprecationWarning)
                return torch.jit.load(str(path), map_location="cpu")
        module = torch.load(path, map_location="cpu", weights_only=False)
    if not isinstance(module, torch.nn.Module):
        raise UserError(
            f"{str(path)!r} holds a {type(module).__name__}: wanted a whole torch module.",
            hint="Weights alone need their module: build it, load_state_dict, and hand over the module.",
        )
    return module


def _is_torchscript(path: Path) -> bool:
    if not zipfile.is_zipfile(path):
        return False
    with zipfile.ZipFile(path) as archive:
        return any(name.endswith("/constants.pkl") for name in archive.namelist())


@contextmanager
def _evaluating(module: Any) -> Iterator[None]:
    modes = [(part, part.training) for part in module.modules()]
    try:
        try:
            module.eval()
        except NotImplementedError:
            # An exported program has the mode it was exported in and refuses to be asked.
            modes = []
        yield
    finally:
        for part, mode in modes:
            if part.training != mode:
                part.training = mode


def _width(module: Any) -> int | None:
    """How many columns the first layer takes; None when it does not say."""
    leaves = [part for part in module.modules() if not list(part.children())]
    width = getattr(leaves[0], "in_features", getattr(leaves[0], "num_features", None)) if leaves else None
    return width if isinstance(width, int) else None


def _channels(module: Any) -> int | None:
    """How many channels the first convolution takes; None when that is neither 1 nor 3."""
    found = [part.in_channels for part in module.modules() if hasattr(part, "in_channels")]
    return found[0] if found and found[0] in (1, 3) else None


def _check_width(module: Any, task: Task, name: str) -> None:
    layers = [part for part in module.modules() if type(part).__name__ == "Linear"]
    width = getattr(layers[-1], "out_features", None) if layers else None
    allowed = {task.n_outputs, 1} if task.kind == "binary" else {task.n_outputs}
    is_last = bool(layers) and [*module.modules()][-1] is layers[-1]
    if is_last and width is not None and width not in allowed:
        raise UserError(
            f"Teacher {name!r} ends in a layer of {width} outputs: wanted {task.n_outputs} for the "
            f"{task.kind} "
            f"target {task.target!r}, one for each class in the order {list(task.classes)}."
            if task.is_classification
            else f"Teacher {name!r} ends in a layer of {width} outputs: wanted 1, the value of "
            f"{task.target!r}."
        )


def _fingerprint(module: Any, name: str) -> str:
    parts: list[str | bytes] = ["torch", _VERSION, repr(module)]
    for kind in sorted({type(part) for part in module.modules()}, key=lambda kind: kind.__qualname__):
        parts.append(kind.__qualname__)
        if kind.__module__.partition(".")[0] != "torch":
            parts.append(code_digest(kind.forward, name))
    for key, tensor in sorted(module.state_dict().items()):
        values = tensor.detach().cpu().contiguous().flatten()
        parts += [
            key,
            str(tensor.dtype),
            str(tuple(tensor.shape)),
            values.view(_byte_type()).numpy().tobytes(),
        ]
    return digest(*parts)


def _byte_type() -> Any:
    import torch

    return torch.uint8
