"""Where the solvent of a single map holds noise: outside the mask, inside a sphere."""

import logging
from dataclasses import dataclass
from math import prod

import numpy as np
import numpy.typing as npt
from scipy.ndimage import distance_transform_edt

from distres.engine.jobs import Source
from distres.errors import InputError
from distres.io.grid import Float3, Grid
from distres.kernels.monores_noise import FIELD_INDEPENDENT, INDEPENDENT_CUTOFF
from distres.kernels.noise_threshold import independent_values
from distres.kernels.shellprofile import shell_of, shell_sums
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
        lengths = (n * d for n, d in zip(grid.shape, grid.voxel_size_angstrom, strict=True))
        return cls(centre_angstrom=middle_angstrom(grid), radius_angstrom=sum(lengths))


def middle_angstrom(grid: Grid) -> Float3:
    """Return the middle of a volume in angstrom from voxel 0: radii are counted from there."""
    z, y, x = (n // 2 * d for n, d in zip(grid.shape, grid.voxel_size_angstrom, strict=True))
    return z, y, x


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
    values = np.asarray(coarse.read((slice(None),) * 3), dtype=np.float32)
    factor = round(grid.shape[2] / values.shape[2]) or 1
    spacing, centre = grid.coarser(factor).voxel_size_angstrom, middle_angstrom(grid)
    occupied = _occupied(occupancy, values.shape, factor)
    if not occupied.any():
        raise InputError("the mask is empty; no voxel can get a resolution")
    step = max(spacing)
    shell = shell_of((0, 0, 0), values.shape, spacing, centre, step)
    inner = int(shell[occupied].max()) + 1
    reach = min(min(c, n * d - c) for c, n, d in zip(centre, values.shape, spacing, strict=True))
    outer = int(reach / step)
    count, total, squares = shell_sums(shell, values, int(shell.max()) + 1).T
    count = np.maximum(count, 1)
    variance = squares / count - (total / count) ** 2
    for r in range(max(inner, 1), min(outer, len(variance))):
        if variance[r] < CLIFF_RATIO * variance[r - 1]:
            outer = r - 1
            break
    solvent = ~occupied & (shell < outer)
    logger.info("noise is taken from the solvent within %.0f angstrom", outer * step)
    if outer <= FEWEST_SHELLS or not solvent.any():
        raise InputError(_NO_SOLVENT)
    if values[solvent].std() < FAINT * values[occupied].std():
        raise InputError(_NO_SOLVENT)
    return NoiseSphere(centre_angstrom=centre, radius_angstrom=outer * step)


def cells_near(
    occupancy: Source, grid: Grid, sphere: NoiseSphere, coarsest_angstrom: float
) -> npt.NDArray[np.float32]:
    """Return the cells that the particle's own waves may reach: no noise is taken there.

    Waves go on for about a wavelength beyond what they come from. Where the solvent is too thin to
    leave so much of it out, half is left out, or a quarter, or nothing but the mask.

    Parameters
    ----------
    occupancy
        Largest mask value in cells of `OCCUPANCY_DIVISOR` voxels.
    grid, sphere
        Of the map, and where its solvent holds noise.
    coarsest_angstrom
        Longest wave that is tested.

    Returns
    -------
    array
        (z, y, x) 1 for cells of the mask and around it, 0 for others.
    """
    occupied = np.asarray(occupancy.read((slice(None),) * 3)) > 0
    edges = [OCCUPANCY_DIVISOR * d for d in grid.voxel_size_angstrom]
    distance = distance_transform_edt(~occupied, sampling=edges)
    squared = np.zeros(occupied.shape)
    for axis, (n, edge, c) in enumerate(
        zip(occupied.shape, edges, sphere.centre_angstrom, strict=True)
    ):
        along = ((np.arange(n) + 0.5) * edge - c) ** 2
        squared += along.reshape([-1 if a == axis else 1 for a in range(3)])
    inside = squared < sphere.radius_angstrom**2
    for margin in (coarsest_angstrom, coarsest_angstrom / 2, coarsest_angstrom / 4):
        volume = float(np.count_nonzero(inside & (distance > margin))) * prod(edges)
        if independent_values(volume, INDEPENDENT_CUTOFF / coarsest_angstrom) >= FIELD_INDEPENDENT:
            logger.info("noise is taken %.0f angstrom away from the mask", margin)
            return np.asarray(distance <= margin, dtype=np.float32)
    return occupied.astype(np.float32)


_NO_SOLVENT = (
    "the solvent around the particle holds no noise: the map was masked or denoised; give its half "
    "maps, the map as it was reconstructed, or --noise-region"
)


def _occupied(occupancy: Source, shape: tuple[int, ...], factor: int) -> npt.NDArray[np.bool_]:
    """Return which voxels of the coarse level may hold mask."""
    cells = np.asarray(occupancy.read((slice(None),) * 3)) > 0
    for axis, n in enumerate(shape):
        index = np.minimum(np.arange(n) * factor // OCCUPANCY_DIVISOR, cells.shape[axis] - 1)
        cells = np.take(cells, index, axis=axis)
    return cells
