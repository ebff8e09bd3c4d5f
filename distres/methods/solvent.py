"""Where the solvent of a single map holds noise: outside the mask, inside a sphere."""

import logging
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from distres.engine.jobs import Source
from distres.errors import InputError
from distres.io.grid import Float3, Grid
from distres.methods.mask_tiles import OCCUPANCY_DIVISOR

logger = logging.getLogger(__name__)

# A shell whose variance falls below this share of its inner neighbour's lies outside a mask that
# somebody applied (the rule of MonoRes).
CLIFF_RATIO = 0.01
# Solvent this much weaker than the particle was masked or denoised: what is left is no noise.
FAINT = 1e-3
FEWEST_SHELLS = 3


@dataclass(frozen=True, slots=True, kw_only=True)
class NoiseSphere:
    """A sphere in angstrom, (z, y, x) from the centre of voxel 0."""

    centre_angstrom: Float3
    radius_angstrom: float

    @classmethod
    def everywhere(cls, grid: Grid) -> "NoiseSphere":
        """Return a sphere that holds the whole volume."""
        z, y, x = (n // 2 * d for n, d in zip(grid.shape, grid.voxel_size_angstrom, strict=True))
        lengths = (n * d for n, d in zip(grid.shape, grid.voxel_size_angstrom, strict=True))
        return cls(centre_angstrom=(z, y, x), radius_angstrom=sum(lengths))


def find_noise_sphere(coarse: Source, grid: Grid, occupancy: Source) -> NoiseSphere:
    """Find how far around the particle a single map still holds its noise.

    Parameters
    ----------
    coarse
        A level of the map that fits into memory; voxel i lies on voxel ``i * factor`` of `grid`.
    grid
        Grid of level 0.
    occupancy
        Largest mask value in cells of `OCCUPANCY_DIVISOR` voxels.

    Raises
    ------
    InputError
        No shell of solvent is left, or the solvent is silent: the map was masked or denoised.
    """
    values = np.asarray(coarse.read((slice(None),) * 3), dtype=np.float64)
    factor = round(grid.shape[2] / values.shape[2]) or 1
    spacing = [d * factor for d in grid.voxel_size_angstrom]
    centre = [n // 2 * d for n, d in zip(grid.shape, grid.voxel_size_angstrom, strict=True)]
    distance = _distances(values.shape, spacing, centre)
    occupied = _occupied(occupancy, values.shape, factor)
    if not occupied.any():
        raise InputError("the mask is empty; no voxel can get a resolution")
    step = max(spacing)
    shell = (distance / step).astype(np.int64)
    inner = int(shell[occupied].max()) + 1
    reach = min((min(c, n * d - c) for c, n, d in zip(centre, values.shape, spacing, strict=True)))
    outer = int(reach / step)
    count = np.bincount(shell.ravel())
    mean = np.bincount(shell.ravel(), values.ravel()) / np.maximum(count, 1)
    variance = np.bincount(shell.ravel(), values.ravel() ** 2) / np.maximum(count, 1) - mean**2
    for r in range(max(inner, 1), min(outer, len(variance))):
        if variance[r] < CLIFF_RATIO * variance[r - 1]:
            outer = r - 1
            break
    solvent = ~occupied & (shell < outer)
    logger.info("noise is taken from the solvent within %.0f angstrom", outer * step)
    if outer * step <= FEWEST_SHELLS * step or not solvent.any():
        raise InputError(_NO_SOLVENT)
    if values[solvent].std() < FAINT * values[occupied].std():
        raise InputError(_NO_SOLVENT)
    return NoiseSphere(
        centre_angstrom=(centre[0], centre[1], centre[2]), radius_angstrom=outer * step
    )


_NO_SOLVENT = (
    "the solvent around the particle holds no noise: the map was masked or denoised; give its half "
    "maps, the map as it was reconstructed, or --noise-region"
)


def _distances(
    shape: tuple[int, ...], spacing: list[float], centre: list[float]
) -> npt.NDArray[np.float64]:
    squared = np.zeros(shape)
    for axis, (n, d, c) in enumerate(zip(shape, spacing, centre, strict=True)):
        along = (np.arange(n) * d - c) ** 2
        squared += along.reshape([-1 if a == axis else 1 for a in range(3)])
    return np.sqrt(squared)


def _occupied(occupancy: Source, shape: tuple[int, ...], factor: int) -> npt.NDArray[np.bool_]:
    """Return which voxels of the coarse level may hold mask."""
    cells = np.asarray(occupancy.read((slice(None),) * 3)) > 0
    for axis, n in enumerate(shape):
        index = np.minimum(np.arange(n) * factor // OCCUPANCY_DIVISOR, cells.shape[axis] - 1)
        cells = np.take(cells, index, axis=axis)
    return cells
