"""``potstill inspect``: what an artifact says of itself."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import click

from potstill.cli.command import command, examples, json_option
from potstill.cli.output import emit_json, emit_table, table


@command(epilog=examples("potstill inspect income.onnx", "potstill inspect income.onnx --json"))
@click.argument("model", type=click.Path(path_type=Path))
@json_option("Print the whole Card as one JSON object on stdout.")
def inspect(model: Path, *, as_json: bool) -> None:
    """Show the Card of the artifact MODEL.

    What it takes, what it answers, where it comes from and what was measured.
    """
    import msgspec

    from potstill.artifact import inspect as described_by
    from potstill.cli.columns import HEADS, rows_of
    from potstill.types import Schema

    described = described_by(model)
    if as_json:
        emit_json(described)
        return
    card = described["card"]
    emit_table(table(card["name"], ("", ""), list(_facts(described["file"], card)), left=2))
    schema = msgspec.convert(card["schema"], Schema)
    emit_table(table("Columns", HEADS, rows_of(schema), left=len(HEADS)))
    if card["measured"]["metrics"]:
        emit_table(_measured(card))


def _facts(file: Mapping[str, Any], card: Mapping[str, Any]) -> list[tuple[str, str]]:
    task, lineage = card["task"], card["lineage"]
    classes = ", ".join(map(str, task["classes"][:12])) + (", …" if len(task["classes"]) > 12 else "")
    members = [f"{name} {weight:.0%}" for name, weight in lineage["members"].items() if weight > 0]
    rows = ", ".join(f"{count:,} {origin}" for origin, count in lineage["transfer_rows"].items())
    settings = ", ".join(f"{name}={value}" for name, value in lineage["hyper_parameters"].items())
    dropped = ", ".join(f"{column['name']} ({column['reason']})" for column in card["schema"]["dropped"])
    facts = {
        "file": f"{file['path']}, {file['size_bytes']:,} bytes",
        "predicts": f"{task['target']} ({task['kind']}{': ' + classes if classes else ''})",
        "shipped": f"the {card['shipped']}, {lineage['student']}" + (f": {settings}" if settings else ""),
        "teacher": ", ".join(members),
        "learned from": rows
        + (f" rows, {lineage['objective']} at T = {lineage['temperature']:g}" if rows else ""),
        "left out": dropped,
        "written": f"{card['volatile']['created']} by potstill {card['potstill_version']}",
        "seed": str(lineage["seed"]),
        "data": lineage["data_hash"],
        "contents": file["content_hash"],
        "sha256": file["sha256"],
    }
    return [(name, value) for name, value in facts.items() if value]


def _measured(card: Mapping[str, Any]) -> Any:
    from potstill.report import words
    from potstill.report.contenders import in_order, name_of

    measured, volatile = card["measured"], card["volatile"]
    models = in_order(measured["metrics"])
    metrics = dict.fromkeys(metric for name in models for metric in measured["metrics"][name])
    rows = [
        (
            words.METRICS.get(metric, metric),
            *(words.score(measured["metrics"][name].get(metric), metric) for name in models),
        )
        for metric in metrics
    ]
    latency = [volatile["latency_us"].get(name, {}).get("p50") for name in models]
    sizes = [volatile["size_bytes"].get(name) for name in models]
    rows.append(("one row, median", *map(words.micros, latency)))
    rows.append(("size", *map(words.size, sizes)))
    title = f"Measured on {measured['n_rows']:,} {measured['rows'] or 'rows'}"
    return table(title, ("", *(name_of(name) for name in models)), rows)
