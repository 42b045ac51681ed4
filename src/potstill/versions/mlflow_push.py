"""An artifact as a version of a registered model in MLflow, with what its Card says was measured.

The file goes there as it is, byte for byte, and comes back through `potstill.versions.pyfunc`: nothing is
pickled, and what a value means is decided by the Card and not by MLflow's types.
"""

from __future__ import annotations

import re
import sys
import textwrap
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, redirect_stdout
from os import PathLike
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

import msgspec

from potstill import __version__
from potstill.artifact import Card
from potstill.errors import PotstillError, UserError
from potstill.versions.admission import Admitted, admit, check_alias, checked_name
from potstill.versions.gate import figures
from potstill.versions.manifest import CHAMPION
from potstill.versions.pyfunc import output_names

if TYPE_CHECKING:
    from mlflow.models import ModelSignature
    from mlflow.tracking import MlflowClient

_HASH, _CONTENT_HASH, _GATE = "potstill.hash", "potstill.content_hash", "potstill.gate"
_RESERVED = re.compile(r"latest|v[0-9]+")
_LOADER = "potstill.versions.pyfunc"


class Registered(msgspec.Struct, frozen=True):
    """A version of a model in MLflow's registry.

    Parameters
    ----------
    name, version
        As MLflow has them.
    hash
        SHA-256 of the artifact, 64 hex digits.
    uri
        What ``mlflow.pyfunc.load_model`` takes: ``models:/income/3``.
    aliases
        What points to it now, sorted.
    """

    name: str
    version: int
    hash: str
    uri: str
    aliases: tuple[str, ...] = ()


def push_to_mlflow(
    path: str | PathLike[str],
    uri: str,
    name: str | None = None,
    *,
    gate: Iterable[str] = (),
    alias: str | None = None,
) -> Registered:
    """Register an artifact as the newest version of a model; the first of a model is its champion at once.

    An artifact that is already there is not registered again. The run it is logged under belongs to the
    experiment that MLflow's own settings name (``MLFLOW_EXPERIMENT_NAME``).

    Parameters
    ----------
    path
        The ``.onnx`` file.
    uri
        Of the tracking server, such as ``http://localhost:5000`` or ``sqlite:///mlflow.db``.
    name
        Of the registered model; the stem of the file where it is not given.
    gate
        Conditions on the Card, such as ``recovery>=0.5``; see `figures`.
    alias
        Also let this point to it, such as ``challenger``.

    Raises
    ------
    UserError
        When MLflow is not installed, cannot be reached or refuses; when there is no such file, or a name or
        condition is none.
    ArtifactError
        When the file was changed since it was written, or answers its probe rows otherwise.
    GateFailed
        When a condition does not hold.
    """
    model = _checked_for_mlflow(Path(path).stem if name is None else name, alias)
    admitted = admit(path, gate)
    with _speaking_to(uri) as client:
        version = _known(client, model, admitted.hash) or _register(admitted, model)
        taken = client.get_registered_model(model).aliases
        for each in dict.fromkeys((alias, None if CHAMPION in taken else CHAMPION)):
            if each is not None and int(taken.get(each, 0)) != version:
                client.set_registered_model_alias(model, each, str(version))
        now = client.get_registered_model(model).aliases
    aliases = sorted(each for each, number in now.items() if int(number) == version)
    return Registered(model, version, admitted.hash, f"models:/{model}/{version}", tuple(aliases))


def _checked_for_mlflow(model: str, alias: str | None) -> str:
    """The name, if it and the alias can be had there: asked before anything is registered."""
    checked_name(model)
    if "." in model:
        raise UserError(
            f"MLflow takes no '.' in the name of a model; got {model!r}.", hint="Give another with --name."
        )
    if alias is not None:
        check_alias(alias)
        if _RESERVED.fullmatch(alias):
            raise UserError(
                f"MLflow keeps the alias {alias!r} to itself.",
                hint="The usual ones are champion and challenger.",
            )
    return model


@contextmanager
def _speaking_to(uri: str) -> Iterator[MlflowClient]:
    """MLflow pointed at ``uri`` for a while; what it prints goes to stderr, what it raises is told."""
    try:
        import mlflow
    except ModuleNotFoundError as error:
        raise UserError(
            f"Pushing to MLflow needs {error.name}, which is not installed.",
            hint="pip install 'potstill[mlflow]'",
        ) from None
    before = mlflow.get_tracking_uri()
    try:
        with redirect_stdout(sys.stderr):
            # the registry follows, unless MLFLOW_REGISTRY_URI says otherwise; once set it would not
            mlflow.set_tracking_uri(uri)
            yield mlflow.MlflowClient()
    except (PotstillError, OSError):
        raise
    except Exception as error:  # its own, its database's, its drivers': they share no other base
        raise UserError(
            f"MLflow says: {textwrap.shorten(str(error), 300, placeholder=' …').rstrip('.')}.",
            hint="Is the address that of an MLflow server or database, and is it running?",
        ) from error
    finally:
        mlflow.set_tracking_uri(before)


def _known(client: MlflowClient, model: str, digest: str) -> int | None:
    """The version of ``model`` that has this artifact, if one has."""
    token: str | None = None
    while True:
        page = client.search_model_versions(f"name = '{model}'", page_token=token)
        for version in page:
            if version.tags.get(_HASH) == digest:
                return int(version.version)
        token = page.token
        if not token:
            return None


def _register(admitted: Admitted, model: str) -> int:
    """Log the artifact under a run of its own and register it; the number of its version."""
    import mlflow

    card = admitted.card
    tags = {
        _HASH: admitted.hash,
        _CONTENT_HASH: card.content_hash,
        _GATE: " ".join(admitted.gate),
    }
    with TemporaryDirectory() as folder, mlflow.start_run(run_name=model, tags=tags):
        file = Path(folder) / "model.onnx"
        file.write_bytes(admitted.data)
        mlflow.log_params(_parameters(card))
        mlflow.log_metrics({name: value for name, value in figures(card).items() if value is not None})
        logged = mlflow.pyfunc.log_model(
            name=model,
            loader_module=_LOADER,
            data_path=str(file),
            signature=_signature(card),
            pip_requirements=[f"potstill[mlflow]=={__version__}"],
            metadata={"content_hash": card.content_hash},
        )
        # tagged as it is made, so that a push that is killed leaves no version that a second would not know
        version = mlflow.register_model(logged.model_uri, model, tags=tags)
    return int(version.version)


def _parameters(card: Card) -> dict[str, Any]:
    return {
        "target": card.task.target,
        "task": card.task.kind,
        "student": card.lineage.student,
        "shipped": card.shipped,
        "seed": card.lineage.seed,
        "data_hash": card.lineage.data_hash,
    }


def _signature(card: Card) -> ModelSignature:
    """Names of columns in, names and types out.

    Types of what goes in are left open: MLflow refuses whole numbers in a column of floats and codes in a
    column of text, which the artifact takes.
    """
    from mlflow.models import ModelSignature
    from mlflow.types.schema import AnyType, ColSpec, DataType, Schema

    names = output_names(card.task.classes)
    label = {str: DataType.string, bool: DataType.boolean, int: DataType.long}
    first = label[type(card.task.classes[0])] if card.task.is_classification else DataType.float
    return ModelSignature(
        inputs=Schema([ColSpec(AnyType(), column) for column in card.schema.names]),
        outputs=Schema([ColSpec(first, names[0]), *(ColSpec(DataType.float, each) for each in names[1:])]),
    )
