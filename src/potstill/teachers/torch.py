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
from potstill.teachers.answers import checked, sigmoid, softmax, speaking_for
from potstill.teachers.digests import code_digest, digest
from potstill.teachers.files import require_trust
from potstill.teachers.rows import matrix, model_columns, select
from potstill.types import Dataset, Doubles, Floats, Task, Teacher, Trainable

_VERSION = "1"
_SUM_TOLERANCE = 1e-4

Output = Literal["auto", "logits", "probabilities"]


@dataclass(frozen=True, eq=False)
class TorchTeacher:
    """A module called as ``module(x)``, ``x`` float32 ``(n, F)``: the columns of the rows, in order.

    Those are all columns or the schema's, whichever its first layer is as wide as; the schema's when it does
    not say.

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

        width = _width(self.module)
        chosen = (
            model_columns(dataset) if width is None else select(dataset, None, self.name, n_columns=width)
        )
        rows = torch.from_numpy(matrix(chosen, self.name))
        parameter = next(iter(self.module.parameters()), None)
        device = torch.device("cpu") if parameter is None else parameter.device
        answers = []
        with speaking_for(self.name, "answer the rows"), torch.no_grad(), _evaluating(self.module):
            for start in range(0, len(rows), self.batch_rows):
                batch = self.module(rows[start : start + self.batch_rows].to(device))
                answers.append(batch.detach().to("cpu", torch.float64).numpy())
        values: Doubles = np.concatenate(answers) if answers else np.empty((0, dataset.task.n_outputs))
        if dataset.task.is_classification:
            values = self._probabilities(values)
        return checked(values, task=dataset.task, n_rows=len(dataset), teacher=self.name)

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
        within = ((values >= 0.0) & (values <= 1.0)).all()
        return bool(within and (np.abs(values.sum(axis=1) - 1.0) <= _SUM_TOLERANCE).all())


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
