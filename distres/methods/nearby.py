"""Which tiles lie near the mask: the only ones worth computing."""

import numpy as np

from distres.engine.jobs import Source
from distres.engine.tiles import TilePlan
from distres.methods.mask_tiles import OCCUPANCY_DIVISOR


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
    cells = np.asarray(occupancy.read((slice(None),) * 3)) > 0
    near = []
    for tile in plan:
        z, y, x = (
            slice(
                max((s.start - margin_vox) * factor, 0) // OCCUPANCY_DIVISOR,
                -(-(s.stop + margin_vox) * factor // OCCUPANCY_DIVISOR),
            )
            for s in tile.core
        )
        if cells[z, y, x].any():
            near.append(tile.index)
    return tuple(near)
