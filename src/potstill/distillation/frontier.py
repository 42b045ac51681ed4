"""The Pareto set as files: a folder of artifacts, and what each of them is worth."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import msgspec

from potstill.errors import UserError
from potstill.files import write_whole
from potstill.training.candidates import ranked
from potstill.types import Latency, Progress, Silent

if TYPE_CHECKING:
    from potstill.distillation.result import Result

LISTING = "frontier.json"


class FrontierPoint(msgspec.Struct, frozen=True):
    """One artifact of the folder.

    Parameters
    ----------
    number
        What ``--pick`` takes; the file is called by it.
    file
        Name of the artifact in the folder.
    name
        Family, size and what it was told.
    loss
        On the validation rows, before it was fitted again with them.
    size_bytes, latency
        Of the artifact; one raw row, in microseconds, None where there were no test rows to time it on.
    scores
        On the test rows: metric to score; empty where there were none.
    chosen
        It is the one that ships where none is picked.
    """

    number: int
    file: str
    name: str
    loss: float
    size_bytes: int
    latency: Latency | None
    scores: dict[str, float]
    chosen: bool


def save_frontier(
    result: Result, folder: str | Path, *, progress: Progress | None = None
) -> tuple[FrontierPoint, ...]:
    """Write every Pareto point as ``NUMBER.onnx`` and what they are worth as ``frontier.json``.

    Each is fitted again with the held-out rows, calibrated, checked for parity and measured as the one that
    ships is. Artifacts of an earlier run in the folder are replaced.

    Raises
    ------
    UserError
        The folder holds something else, or cannot be written to.
    """
    from potstill.distillation.prove import describe_candidate

    place, progress = check_frontier_folder(folder), progress or Silent()
    front = result.pareto
    progress.start("fitting and measuring the Pareto points", len(front))
    points = []
    places = {id(one): place for place, one in enumerate(ranked(result.candidates), start=1)}
    for candidate in front:
        number = places[id(candidate)]
        picked = result.pick(number)
        facts = picked.facts
        measured = facts.models.get("student") if facts else None
        points.append(
            FrontierPoint(
                number=number,
                file=f"{number}.onnx",
                name=describe_candidate(candidate),
                loss=candidate.assessment.loss,
                size_bytes=len(picked.artifact),
                latency=measured.latency if measured else None,
                scores=facts.evidence.scores.get("student", {}) if facts else {},
                chosen=picked.card.content_hash == result.card.content_hash,
            )
        )
        place.mkdir(parents=True, exist_ok=True)
        if len(points) == 1:
            _clear(place)
        write_whole(picked.artifact, place / f"{number}.onnx")
        progress.advance(1, note=points[-1].name)
    listing = msgspec.json.format(msgspec.json.encode(points), indent=1)
    write_whole(listing, place / LISTING)
    return tuple(points)


def check_frontier_folder(folder: str | Path) -> Path:
    """The folder, if it is new, empty, or one that `save_frontier` wrote.

    Raises
    ------
    UserError
        It holds something else.
    """
    place = Path(folder)
    if place.exists() and not place.is_dir():
        raise UserError(
            f"Wanted a folder for the Pareto points, but {place} is a file.", hint="Name another."
        )
    if place.is_dir() and any(place.iterdir()) and not (place / LISTING).is_file():
        raise UserError(
            f"The folder {place} holds files that are no Pareto points of an earlier run.",
            hint="Name a new folder, or an empty one.",
        )
    return place


def _clear(place: Path) -> None:
    """Remove what an earlier run wrote: `compare` takes all of the folder for one set."""
    listing = place / LISTING
    if not listing.is_file():
        return
    for point in msgspec.json.decode(listing.read_bytes(), type=list[FrontierPoint]):
        (place / Path(point.file).name).unlink(missing_ok=True)
    listing.unlink()
