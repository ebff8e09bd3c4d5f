"""Carry values past the edge of where they are known, for colouring surfaces."""

import numpy as np
import numpy.typing as npt
from scipy import ndimage

Volume = npt.NDArray[np.float32]


def extend_nearest(values: Volume, *, reach_vox: int | None = None, cell_vox: int = 1) -> Volume:
    """Give every NaN voxel the value of the nearest voxel that has one.

    Parameters
    ----------
    values
        (z, y, x) float32 with NaN where nothing is known.
    reach_vox
        Voxels farther away than this stay NaN; None reaches everywhere.
    cell_vox
        What is nearest is looked for among cubes of so many voxels, each with the largest of its
        values: for cubes of 2 an eighth of the time, and places a little farther than the nearest.

    Returns
    -------
    (z, y, x) float32. NaN is left only beyond the reach, or everywhere when nothing is known.
    """
    unknown = np.isnan(values)
    if not unknown.any() or unknown.all():
        return values
    if cell_vox == 1:
        return _nearest(values, reach_vox)
    cells = _nearest(
        _largest(values, cell_vox), None if reach_vox is None else reach_vox // cell_vox
    )
    for axis, n in enumerate(values.shape):
        cells = np.repeat(cells, cell_vox, axis=axis).take(range(n), axis=axis)
    return np.where(unknown, cells, values)


def _nearest(values: Volume, reach_vox: int | None) -> Volume:
    unknown = np.isnan(values)
    if reach_vox is None:
        # Distances would cost as much again as finding what is nearest.
        places = ndimage.distance_transform_edt(
            unknown, return_distances=False, return_indices=True
        )
        return np.asarray(values[tuple(places)])
    distance, nearest = ndimage.distance_transform_edt(unknown, return_indices=True)
    extended: Volume = values[tuple(nearest)]
    extended[distance > reach_vox] = np.nan
    return extended


def _largest(values: Volume, edge: int) -> Volume:
    """Return the largest known value of every cube; NaN where it has none."""
    found = np.full([-(-n // edge) for n in values.shape], np.nan, np.float32)
    for offset in np.ndindex(edge, edge, edge):
        part = values[tuple(slice(o, None, edge) for o in offset)]
        place = tuple(slice(0, n) for n in part.shape)
        np.fmax(found[place], part, out=found[place])
    return found


def cell_means(values: Volume, edge: int) -> Volume:
    """Average the known voxels of each cubic cell; NaN where a cell has none.

    Parameters
    ----------
    values
        (z, y, x) float32 with NaN where nothing is known.
    edge
        Voxels along a cell; cells at the far faces may be smaller.
    """
    known = ~np.isnan(values)
    sums = np.where(known, values, 0).astype(np.float64)
    counts = known.astype(np.float64)
    for axis, n in enumerate(values.shape):
        starts = np.arange(0, n, edge)
        sums = np.add.reduceat(sums, starts, axis=axis)
        counts = np.add.reduceat(counts, starts, axis=axis)
    with np.errstate(invalid="ignore"):
        return np.asarray(sums / np.where(counts > 0, counts, np.nan), dtype=np.float32)
