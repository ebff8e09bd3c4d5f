"""What the numbers in another program's resolution map mean."""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

Float32 = npt.NDArray[np.float32]

# Values that programs write for "not computed" (0, and -1), "never below" or "never above" (100
# from ResMap, 200 from Bsoft, 999 from others).
SENTINELS = (-1.0, 0.0, 100.0, 200.0, 999.0)

# A map with fewer values than this was drawn by hand or swept in steps: its largest may be meant.
FEWEST_VALUES = 50


@dataclass(frozen=True, slots=True, kw_only=True)
class Convention:
    """How to read a resolution map.

    Attributes
    ----------
    empty
        Values that stand for "no resolution here"; NaN, infinities and all values of 0 or less do
        so always.
    per_pixel
        The map holds frequencies in 1/pixel instead of angstrom.
    """

    empty: tuple[float, ...] = ()
    per_pixel: bool = False


def recognise(values: Float32, voxel_angstrom: float, edge_angstrom: float) -> Convention:
    """Guess the convention of a map from its values.

    A map that never exceeds 1/2 holds frequencies in 1/pixel: half a voxel of resolution cannot be
    measured. Among the known marks, 100, 200 and 999 are taken as such when no other value lies
    within a tenth of them, since a resolution map is continuous and a mark is not. A background
    that fills all voxels outside the particle with one number is a mark too, when it is the map's
    largest value, stands alone, and holds a third of the voxels of a map of many values.

    Parameters
    ----------
    values
        The map or a sample of it.
    voxel_angstrom, edge_angstrom
        Voxel edge and longest edge of the volume: nothing coarser than the edge is a measurement.
    """
    known = values[np.isfinite(values) & (values > 0)]
    if known.size == 0:
        return Convention()
    if known.max() <= 0.5 and voxel_angstrom > 0.25:
        return Convention(per_pixel=True)
    empty = []
    for mark in SENTINELS:
        near = np.abs(known - mark) <= 0.1 * abs(mark)
        same = np.abs(known - mark) <= 1e-3 * abs(mark)
        if mark > 0 and same.any() and same.sum() == near.sum():
            empty.append(mark)
    top = float(known.max())
    number = int((known == top).sum())
    # A gap below it tells a filled background from the coarsest resolution of a sweep.
    below = known[known < top]
    alone = below.size == 0 or float(below.max()) < 0.9 * top
    continuous = np.unique(below[:: max(below.size // 4096, 1)]).size >= FEWEST_VALUES
    if number > 0.3 * known.size and alone and continuous and top not in empty:
        empty.append(top)
    if top > edge_angstrom and top not in empty:
        empty.append(top)
    return Convention(empty=tuple(empty))


def resolution_angstrom(values: Float32, convention: Convention, voxel_angstrom: float) -> Float32:
    """Read a resolution map in angstrom, NaN where it holds no resolution."""
    resolution = np.array(values, np.float32)
    resolution[~(np.isfinite(resolution) & (resolution > 0))] = np.nan
    for mark in convention.empty:
        resolution[np.abs(resolution - mark) <= 1e-3 * abs(mark)] = np.nan
    if convention.per_pixel:
        resolution = np.float32(voxel_angstrom) / resolution
    return resolution
