"""Which tiles lie near the mask: the only ones worth computing."""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from distres.engine.jobs import Source, ZarrSource
from distres.engine.planner import Focus
from distres.engine.tiles import TilePlan
from distres.kernels.masks import bounds
from distres.methods.mask_tiles import OCCUPANCY_DIVISOR


@dataclass(frozen=True, slots=True, kw_only=True)
class FewCells(ZarrSource):
    """The occupancy of so small a part of the volume that tiles are planned around it."""


def tiles_near(
    occupancy: Source | None, plan: TilePlan, *, factor: int = 1, margin_vox: int = 0
) -> tuple[int, ...] | None:
    """Return the tiles whose core, grown by a margin, may hold mask; None for all.

    Parameters
    ----------
    occupancy
        Largest mask value in cells of `OCCUPANCY_DIVISOR` voxels of the finest level; None when
        there is no mask.
    plan
        Tiles of a level with one voxel for `factor` voxels of the finest.
    margin_vox
        Voxels of the plan around a core that matter as well.
    """
    if occupancy is None:
        return None
    near = _near(_totals(occupancy), plan, factor, margin_vox)
    return tuple(int(index) for index in np.flatnonzero(near))


def focus_on(occupancy: Source | None, *, factor: int = 1, margin_vox: int = 0) -> Focus | None:
    """Return what the planner must know of the tiles that `tiles_near` names.

    Parameters
    ----------
    occupancy, factor, margin_vox
        As for `tiles_near`.

    Returns
    -------
    None unless the occupancy is of `FewCells`: a mask that fills a good part of the volume leaves
    the plan as it is.
    """
    if not isinstance(occupancy, FewCells):
        return None
    totals = _totals(occupancy)
    cells = np.diff(np.diff(np.diff(totals, axis=0), axis=1), axis=2) > 0
    box = bounds(cells) if cells.any() else (slice(0, 1),) * 3
    z, y, x = (
        slice(
            part.start * OCCUPANCY_DIVISOR // factor - margin_vox,
            -(-part.stop * OCCUPANCY_DIVISOR // factor) + margin_vox,
        )
        for part in box
    )
    return Focus(
        window=(z, y, x),
        count=lambda plan: int(_near(totals, plan, factor, margin_vox).sum()),
    )


def _totals(occupancy: Source) -> npt.NDArray[np.int64]:
    """Return how many occupied cells lie before each corner of the grid of cells, on all axes."""
    cells = np.asarray(occupancy.read((slice(None),) * 3)) > 0
    totals = np.pad(cells.astype(np.int64), ((1, 0),) * 3)
    for axis in range(3):
        np.cumsum(totals, axis=axis, out=totals)
    return totals


def _near(
    totals: npt.NDArray[np.int64], plan: TilePlan, factor: int, margin_vox: int
) -> npt.NDArray[np.bool_]:
    """Tell which tiles, in the plan's order, have an occupied cell under core and margin."""
    ends = []
    for n, core, cells in zip(plan.shape, plan.core, totals.shape, strict=True):
        start = np.arange(0, n, core)
        first = np.maximum(start - margin_vox, 0) * factor // OCCUPANCY_DIVISOR
        stop = -(-(np.minimum(start + core, n) + margin_vox) * factor // OCCUPANCY_DIVISOR)
        ends.append((np.minimum(first, cells - 1), np.minimum(stop, cells - 1)))
    count = np.zeros(plan.counts, np.int64)
    for corner in np.ndindex(2, 2, 2):
        index = [pair[which] for pair, which in zip(ends, corner, strict=True)]
        count += (-1) ** (3 - sum(corner)) * totals[np.ix_(*index)]
    return (count > 0).ravel()
