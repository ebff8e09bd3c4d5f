"""Resample a block to another voxel size and back, so that any tile gives what the whole gives.

A windowed sinc of finite reach, one axis after the other: a place of the new grid is a sum over
source voxels within `reach_vox`, whatever block they were read in. Its cutoff is the Nyquist
frequency of the coarser of the two grids, so that going to larger voxels folds nothing back and
going to smaller ones invents nothing. With 20 coarse voxels on either side under a Kaiser window
(beta 7.42, 76 dB; Kaiser 1974) the response is flat to 1e-3 up to 0.88 of that frequency in every
direction, and below 1e-3 from 1.12 on.

Positions are counted from the centre of voxel 0 of the volume, where both grids have a voxel.
"""

from math import ceil, floor

import numpy as np

from distres.kernels.interpolate import Matrix, sinc_matrix

REACH_COARSE_VOX = 20
PASS_NYQUIST = 0.88
STOP_NYQUIST = 1.12
_KAISER_BETA = 7.416


def reach_vox(step_angstrom: float, target_angstrom: float) -> int:
    """Return how many source voxels around a place its value is made of.

    Parameters
    ----------
    step_angstrom, target_angstrom
        Voxel edges of the source and of the new grid.
    """
    return ceil(REACH_COARSE_VOX * max(target_angstrom / step_angstrom, 1.0))


def source_span(
    places: range, step_angstrom: float, target_angstrom: float, *, target_step: int = 1
) -> tuple[int, int]:
    """Return the source voxels [first, last) that places of the new grid are made of.

    They may lie outside the volume, before voxel 0 or beyond the last one.

    Parameters
    ----------
    places
        Indices on the new grid.
    step_angstrom, target_angstrom
        Voxel edges of the source and of the new grid.
    target_step
        Voxels of the new grid from one index to the next.
    """
    ratio = target_angstrom * target_step / step_angstrom
    reach = reach_vox(step_angstrom, target_angstrom)
    first = floor(places.start * ratio) - reach
    last = ceil((places.stop - 1) * ratio) + reach + 1
    return first, last


def rescaling_matrix(
    places: range, source: range, step_angstrom: float, target_angstrom: float
) -> Matrix:
    """Return the weights of source voxels in the voxels of a new grid, along one axis.

    Parameters
    ----------
    places
        Indices on the new grid: index j lies at ``j * target_angstrom``.
    source
        Indices of the block's voxels on the volume's grid.
    step_angstrom, target_angstrom
        Voxel edges of the source and of the new grid.

    Returns
    -------
    (places, source) float32; each row sums to one, so that a constant stays what it is.
    """
    widening = max(target_angstrom / step_angstrom, 1.0)
    position = np.array(places, np.float64)[:, None] * (target_angstrom / step_angstrom)
    distance = (position - np.array(source)) / widening
    return sinc_matrix(distance, REACH_COARSE_VOX, _KAISER_BETA)


def node_span(places: range, step_angstrom: float, node_angstrom: float) -> range:
    """Return the nodes, one every `node_angstrom`, between which voxels of a volume lie."""
    first = floor(places.start * step_angstrom / node_angstrom + 1e-9)
    last = ceil((places.stop - 1) * step_angstrom / node_angstrom - 1e-9)
    return range(first, max(last, first) + 1)
