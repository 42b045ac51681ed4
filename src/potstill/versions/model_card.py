"""An artifact as a folder of the kind that Hugging Face's hub shows: the model and a README with its card."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import msgspec

from potstill.artifact import Card, load
from potstill.artifact.envelope import read_file
from potstill.errors import UserError
from potstill.files import write_whole

MODEL, CARD, README = "model.onnx", "card.json", "README.md"
_METRICS = {
    "log_loss": "log-loss",
    "roc_auc": "ROC AUC",
    "ece": "ECE",
    "r2": "R²",
    "rmse": "RMSE",
    "mae": "MAE",
}


def save_model_folder(path: Path, folder: Path) -> tuple[Path, ...]:
    """Write ``model.onnx``, ``card.json`` and ``README.md`` into a new or empty folder; return their paths.

    Raises
    ------
    UserError
        When there is no such file, or the folder holds something or cannot be made.
    ArtifactError
        When the file was changed, or answers its probe rows otherwise.
    """
    _, data = read_file(path)
    card = load(data, verify=True).card
    try:
        if folder.exists() and any(folder.iterdir()):
            raise UserError(f"The folder {folder} is not empty.", hint="Name a new folder, or an empty one.")
        folder.mkdir(exist_ok=True)
    except OSError as error:
        raise UserError(
            f"The folder {folder} cannot be made: {error.strerror}.",
            hint="Name another, in a folder there is.",
        ) from None
    contents = {
        MODEL: data,
        CARD: msgspec.json.format(msgspec.json.encode(card), indent=1),
        README: readme(card, size_bytes=len(data)).encode(),
    }
    for name, content in contents.items():
        write_whole(content, folder / name)
    return tuple(folder / name for name in contents)


def readme(card: Card, *, size_bytes: int) -> str:
    """The model card: metadata that the hub reads, then what a reader wants to know."""
    task = "tabular-classification" if card.task.is_classification else "tabular-regression"
    # JSON is YAML, and quotes whatever a column or a class is called
    head = [f"{key}: {msgspec.json.encode(value).decode()}" for key, value in _metadata(card, task).items()]
    answer = (
        "probabilities of " + ", ".join(f"`{_plain(label)}`" for label in card.task.classes)
        if card.task.is_classification
        else "its value"
    )
    columns = [f"| {_plain(each.name)} | {each.kind} |" for each in card.schema.columns]
    return "\n".join(
        [
            "---",
            *head,
            "---",
            "",
            f"# {_plain(card.name)}",
            "",
            f"Predicts `{_plain(card.task.target)}` ({card.task.kind}): {answer}. One ONNX file of "
            f"{size_bytes / 1000:,.1f} kB that takes raw columns, missing values and unseen "
            "categories included.",
            "",
            "```python",
            "import potstill",
            "",
            f'model = potstill.load("{MODEL}")',
            f"model.{'predict_proba' if card.task.is_classification else 'predict'}(rows)",
            "```",
            "",
            "## What was measured",
            "",
            *_scores(card),
            "",
            "## Columns",
            "",
            "| column | kind |",
            "|---|---|",
            *columns,
            "",
            "## Where it comes from",
            "",
            f"Distilled into {_plain(card.lineage.student or 'a small model')}"
            + (" from labels alone (the twin won)." if card.shipped == "twin" else " from an ensemble."),
            f"Content hash `{card.content_hash}`, seed {card.lineage.seed}; all of it is in `{CARD}`.",
            "",
        ]
    )


def _metadata(card: Card, task: str) -> dict[str, Any]:
    scores = card.measured.metrics.get("student", {})
    metrics = [
        {"type": name, "name": _METRICS.get(name, name), "value": value}
        for name, value in scores.items()
        if value is not None
    ]
    metadata: dict[str, Any] = {
        "library_name": "onnx",
        "pipeline_tag": task,
        "tags": ["onnx", "tabular", "knowledge-distillation", "potstill"],
    }
    if metrics:
        data = {"name": card.measured.rows or "test rows", "type": "tabular"}
        results = [{"task": {"type": task}, "dataset": data, "metrics": metrics}]
        metadata["model-index"] = [{"name": card.name, "results": results}]
    return metadata


def _scores(card: Card) -> list[str]:
    metrics = card.measured.metrics
    shown = [name for name in ("student", "teacher", "twin") if name in metrics]
    if not shown:
        return ["Nothing: it was distilled without test rows."]
    lines = [f"On {card.measured.n_rows:,} rows: {_plain(card.measured.rows)}.", ""]
    lines += ["| | " + " | ".join({"student": "this model"}.get(each, each) for each in shown) + " |"]
    lines += ["|---" * (len(shown) + 1) + "|"]
    for name in metrics[shown[0]]:
        values = [metrics[each].get(name) for each in shown]
        cells = ["–" if value is None else f"{value:.4g}" for value in values]
        lines.append(f"| {_METRICS.get(name, name)} | {' | '.join(cells)} |")
    return lines


def _plain(text: object) -> str:
    """Text that neither ends a line, a cell or code, nor begins a tag."""
    kept = "".join(letter if letter.isprintable() else " " for letter in str(text))
    return kept.replace("|", "¦").replace("`", "'").replace("<", "‹")
