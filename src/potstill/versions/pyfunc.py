"""What MLflow loads an artifact with: the models it stores name this module, so it stays where it is."""

from __future__ import annotations

from os import PathLike
from typing import TYPE_CHECKING, Any, final

from potstill.artifact import Model, load
from potstill.artifact.values import to_text
from potstill.types import Label

if TYPE_CHECKING:
    import pandas as pd


def output_names(classes: tuple[Label, ...]) -> list[str]:
    """Names of the columns of an answer: as ``potstill predict`` writes them."""
    return ["prediction", *(f"p_{to_text(label)}" for label in classes)]


@final
class PyFunc:
    """An artifact behind ``mlflow.pyfunc``'s ``predict``."""

    def __init__(self, model: Model) -> None:
        self.model = model

    def predict(self, model_input: Any, params: dict[str, Any] | None = None) -> pd.DataFrame:  # noqa: ARG002
        """Answer rows.

        Parameters
        ----------
        model_input
            A DataFrame, or whatever `feeds` takes.
        params
            MLflow's; there are none.

        Returns
        -------
        DataFrame
            One row a row, with its index: ``prediction`` (a label, or a value) and, for classes, ``p_CLASS``
            for each.

        Raises
        ------
        UserError
            When the rows are not as the model takes them.
        """
        import pandas as pd

        task = self.model.task
        outputs = self.model.outputs_of(model_input)
        index = model_input.index if isinstance(model_input, pd.DataFrame) else None
        names = output_names(task.classes)
        if not task.is_classification:
            return pd.DataFrame({names[0]: outputs[:, 0]}, index=index)
        labels = [task.classes[place] for place in outputs.argmax(axis=1)]
        answer = {names[0]: labels} | {name: outputs[:, place] for place, name in enumerate(names[1:])}
        return pd.DataFrame(answer, index=index)


def _load_pyfunc(path: str | PathLike[str]) -> PyFunc:
    """MLflow's entry: the artifact at ``path``, its hash and its probe rows checked."""
    return PyFunc(load(path, verify=True))
