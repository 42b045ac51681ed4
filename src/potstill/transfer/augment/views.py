"""Pictures seen anew: shifted, mirrored, turned, zoomed, or two of them blended or pasted together."""

from __future__ import annotations

from typing import Any, ClassVar

import msgspec
import narwhals as nw
import numpy as np
from numpy.typing import NDArray

from potstill.artifact.pictures import pnm_bytes
from potstill.data.columns import arrow_column
from potstill.modalities.image import pixels_of
from potstill.modalities.mirroring import mirrors_alike
from potstill.transfer.augment.rows import spread_parents
from potstill.types import ColumnKind, Dataset, Ints

PICTURES_AT_ONCE = 2_000

MANY_PICTURES, NEARER = 30_000, 0.4
"""From so many pictures on, students have no time to learn from views that are far from them: they are
shifted, turned and zoomed by a part of what is said."""


class Views(msgspec.Struct, frozen=True):
    """Pictures shifted, turned and zoomed a little, maybe mirrored; some may be mixed with another.

    The teacher is asked about exactly the picture that the student will see (function matching). New pictures
    have the size in which the model looks at them. Where pictures are many, views keep nearer to them.

    Parameters
    ----------
    shift
        Part of the height and width by which a picture is moved at most; what moves in is a reflection.
    turn
        Degrees that a picture is turned at most, either way.
    zoom
        By how much its size changes at most, as a logarithm.
    flips
        Whether half of the pictures are mirrored. None: where mirrored ones look like their labels, as
        objects do, and letters and digits do not.
    blended, pasted
        Shares of the pictures that are blended with another (mixup), and that have a rectangle of another
        (CutMix): none by default, for students do not learn as well from mixtures (LOG.md).

    References
    ----------
    Beyer et al. (2022), Knowledge distillation: A good teacher is patient and consistent.
    Zhang et al. (2018), mixup: Beyond Empirical Risk Minimization.
    Yun et al. (2019), CutMix: Regularization Strategy to Train Strong Classifiers.
    """

    name: ClassVar[str] = "views"
    reads: ClassVar[frozenset[ColumnKind]] = frozenset({"image"})
    shift: float = 0.1
    turn: float = 9.0
    zoom: float = 0.15
    flips: bool | None = None
    blended: float = 0.0
    pasted: float = 0.0

    def augment(self, dataset: Dataset, n_rows: int, *, seed: int) -> tuple[nw.DataFrame[Any], Ints]:
        """``n_rows`` new rows, and ``(n_rows,)`` the position of each one's parent in ``dataset``."""
        if n_rows < 1 or not len(dataset):
            return dataset.rows.head(0), np.empty(0, dtype=np.int64)
        column = dataset.schema.columns[0]
        rng = np.random.default_rng(seed)
        pixels = pixels_of(arrow_column(dataset.rows, column.name), column.shape)
        parents = spread_parents(len(dataset), n_rows, rng)
        flips = self.flips
        if flips is None:
            flips = dataset.labels is None or mirrors_alike(pixels, dataset.labels)
        part = NEARER if len(pixels) >= MANY_PICTURES else 1.0
        views = self._moved(pixels[parents], flips, part, rng)
        others = self._moved(pixels[rng.integers(0, len(pixels), n_rows)], flips, part, rng)
        kind = rng.random(n_rows)
        _blend(views, others, np.flatnonzero(kind < self.blended), rng)
        _paste(views, others, np.flatnonzero(kind > 1 - self.pasted), rng)
        same = np.flatnonzero((views == pixels[parents]).all(axis=(1, 2, 3)))
        views[same, 0, 0] ^= 1  # a picture of one shade looks the same from everywhere
        frame = nw.maybe_reset_index(dataset.rows[parents, :])
        native = nw.get_native_namespace(frame)
        made = nw.new_series(column.name, [pnm_bytes(view) for view in views], backend=native)
        return frame.with_columns(made), parents

    def _moved(
        self, pictures: NDArray[np.uint8], flips: bool, part: float, rng: np.random.Generator
    ) -> NDArray[np.uint8]:
        """Each picture shifted, turned and zoomed, and maybe mirrored, by itself."""
        import torch

        from potstill.networks.views import warped

        draws = torch.Generator().manual_seed(int(rng.integers(2**62)))
        # At least a pixel: a new picture is no copy of an old one.
        shift = max(part * self.shift, 1 / min(pictures.shape[1:3]))
        turn, zoom = part * self.turn, part * self.zoom
        moved = np.empty_like(pictures)
        for start in range(0, len(pictures), PICTURES_AT_ONCE):
            some = slice(start, start + PICTURES_AT_ONCE)
            moved[some] = warped(
                torch.from_numpy(pictures[some]), shift=shift, turn=turn, zoom=zoom, draws=draws
            ).numpy()
        if flips:
            mirrored = rng.random(len(moved)) < 0.5
            moved[mirrored] = moved[mirrored, :, ::-1]
        return moved


def _blend(views: NDArray[np.uint8], others: NDArray[np.uint8], rows: Ints, rng: np.random.Generator) -> None:
    share = rng.uniform(0.1, 0.5, (len(rows), 1, 1, 1)).astype(np.float32)
    mixed = (1 - share) * views[rows] + share * others[rows]
    views[rows] = np.rint(mixed).astype(np.uint8)


def _paste(views: NDArray[np.uint8], others: NDArray[np.uint8], rows: Ints, rng: np.random.Generator) -> None:
    height, width = views.shape[1:3]
    for row in rows:
        side = np.sqrt(rng.uniform(0.1, 0.5))
        tall, wide = max(1, round(height * side)), max(1, round(width * side))
        top, left = rng.integers(0, height - tall + 1), rng.integers(0, width - wide + 1)
        piece = (row, slice(top, top + tall), slice(left, left + wide))
        views[piece] = others[piece]
