"""The results of `servers.py`, `in_process.py` and `soak.py` as files, and as one page."""

from __future__ import annotations

import os
import platform
from pathlib import Path
from typing import Any

import msgspec

OUT = Path(__file__).parent.parent / "results" / "serving"
BARE, BY_HAND, OURS = "bare asyncio + httptools", "the same, by hand", "potstill, rows"

HEAD = """# Serving

One row at a time, of an artifact of adult (14 mixed columns); callers and servers on one machine. {machine}
"""
SERVERS = """
## Beside other servers

One client that asks the servers in turn, a hundred requests to each, then 16 clients that ask one server
after the other. All servers load the artifact with potstill. *Bare* answers with bytes that are always the
same; *by hand* is that server with `predict_one` in it and nothing else: no limits, no watch, no metrics.

"""
IN_PROCESS = """
## In process

`predict_one` beside the bare `session.run` of the same graph.

"""
SOAK = """
## Soak

16 clients ask for a share of what the server can answer, evenly in time, while the artifact is exchanged
twice a second, others send half a request and stay, and malformed bodies come; all answers are held against
the model's own.

"""


def save(name: str, results: Any, out: Path) -> None:
    """Write ``name.json``, and the page anew out of all that is there."""
    out.mkdir(parents=True, exist_ok=True)
    (out / f"{name}.json").write_bytes(msgspec.json.format(msgspec.json.encode(results)) + b"\n")
    found = {
        each: msgspec.json.decode((out / f"{each}.json").read_bytes())
        for each in ("in_process", "servers", "soak")
        if (out / f"{each}.json").exists()
    }
    page = HEAD.format(
        machine=f"{os.cpu_count()} cores, {platform.system()}, Python {platform.python_version()}."
    )
    if "in_process" in found:
        page += IN_PROCESS + in_process_table(found["in_process"]) + "\n"
    if "servers" in found:
        page += SERVERS + servers_table(found["servers"]) + "\n"
    if "soak" in found:
        page += SOAK + soak_table(found["soak"]) + "\n"
    (out / "README.md").write_text(page, encoding="utf-8")


def servers_table(figures: list[dict[str, Any]]) -> str:
    """One row a server."""
    by_name = {each["name"]: each for each in figures}
    lines = [
        "| server | one client, median | p99 | × bare | × by hand | 16 clients, rows/s | ours is × | wrong |",
        "|---|--:|--:|--:|--:|--:|--:|--:|",
    ]
    for name, each in by_name.items():
        ratios = " | ".join(f"{each['p50_us'] / by_name[other]['p50_us']:.2f}" for other in (BARE, BY_HAND))
        many, ours = each["per_second_at_16"], by_name[OURS]["per_second_at_16"]
        lines.append(
            f"| {name} | {each['p50_us']:.0f} µs | {each['p99_us']:.0f} µs | {ratios} | {many:,.0f} "
            f"| {ours / many:.1f} | {each['wrong_answers']} |"
        )
    return "\n".join(lines)


def in_process_table(results: list[dict[str, Any]]) -> str:
    """One row a model."""
    lines = [
        "| model | columns | bare session.run | predict_one | ratio | p99 | 8 threads, rows/s | wrong |",
        "|---|--:|--:|--:|--:|--:|--:|--:|",
    ]
    for one in results:
        times = f"{one['bare_us']:.1f} µs | {one['predict_one_us']:.1f} µs | {one['ratio']:.2f}"
        rest = f"{one['predict_one_p99_us']:.0f} µs | {one['threads_per_s']:,.0f} | {one['wrong_answers']}"
        lines.append(f"| {one['name']} | {one['n_columns']} | {times} | {rest} |")
    return "\n".join(lines)


def soak_table(soaked: dict[str, Any]) -> str:
    """One row a figure."""
    lines = ["| | |", "|---|--:|"]
    for name, value in soaked.items():
        shown = f"{value:,.2f}" if isinstance(value, float) else f"{value:,}"
        lines.append(f"| {name.replace('_', ' ')} | {shown} |")
    return "\n".join(lines)
