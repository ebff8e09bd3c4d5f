"""Means of maps over shells around a centre, and the slope of resolution against radius.

Vilas et al. 2020 (doi:10.1038/s41467-019-13742-w): errors of the angles blur a map in proportion to
the distance from the centre, so resolution falls with radius; errors of shifts blur it everywhere
alike.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from distres.kernels.centred import Float3

# Columns of shell sums: voxels, values, squares of values.
COLUMNS = 3
# Shells of fewer voxels say nothing.
FEWEST_VOXELS = 50
FEWEST_SHELLS = 3
RIM_RESOLUTIONS = 2.0

Float = npt.NDArray[np.float64]


@dataclass(frozen=True, slots=True, kw_only=True)
class Line:
    """A straight line through a profile, fitted with the number of voxels as weight.

    Attributes
    ----------
    slope, slope_error
        Angstrom of resolution per angstrom of radius, and its standard error from the scatter of
        shells around the line; NaN when there are too few shells.
    intercept_angstrom
        Resolution at radius 0.
    """

    slope: float
    slope_error: float
    intercept_angstrom: float


def shell_of(
    start: Sequence[int], shape: Sequence[int], voxel: Float3, centre: Float3, width: float
) -> npt.NDArray[np.int64]:
    """Return the shell of every voxel of a block.

    Parameters
    ----------
    start, shape
        First voxel of the block (z, y, x) and its size.
    voxel
        Voxel lengths in angstrom.
    centre
        In angstrom from voxel 0.
    width
        Thickness of a shell in angstrom.
    """
    squared = np.zeros(tuple(shape))
    for axis, (first, n, d, c) in enumerate(zip(start, shape, voxel, centre, strict=True)):
        along = ((first + np.arange(n)) * d - c) ** 2
        squared += along.reshape([-1 if a == axis else 1 for a in range(3)])
    return (np.sqrt(squared) / width).astype(np.int64)


def shell_sums(shell: npt.NDArray[np.int64], values: npt.NDArray[np.float32], bins: int) -> Float:
    """Sum a map over shells, NaN left out.

    Returns
    -------
    array
        (bins, 3) float64: voxels, sum of values, sum of their squares.
    """
    known = np.isfinite(values) & (shell < bins)
    index, chosen = shell[known], values[known].astype(np.float64)
    columns = (None, chosen, chosen**2)
    return np.stack([np.bincount(index, weight, minlength=bins) for weight in columns], axis=1)


def means_and_deviations(sums: Float) -> tuple[Float, Float]:
    """Return mean and standard deviation per shell from (..., bins, 3) sums; NaN when sparse."""
    count = sums[..., 0]
    enough = count >= FEWEST_VOXELS
    safe = np.where(enough, count, 1)
    mean = sums[..., 1] / safe
    variance = np.maximum(sums[..., 2] / safe - mean**2, 0)
    return np.where(enough, mean, np.nan), np.where(enough, np.sqrt(variance), np.nan)


def inner_shells(radius_angstrom: Float, mean: Float, voxels: Float) -> npt.NDArray[np.bool_]:
    """Return the shells away from the rim, which straight lines are fitted to.

    At the rim of a particle the window around a voxel holds less of it, and resolution falls for
    that reason alone: over `RIM_RESOLUTIONS` mean resolutions it is left out, unless too little
    remains.

    Parameters
    ----------
    radius_angstrom, mean, voxels
        See `fit_line`.
    """
    known = np.isfinite(mean)
    if not known.any():
        return known
    width = RIM_RESOLUTIONS * float(np.average(mean[known], weights=voxels[known]))
    inner = known & (radius_angstrom <= radius_angstrom[known].max() - width)
    return inner if inner.sum() >= FEWEST_SHELLS else known


def fit_line(radius_angstrom: Float, mean: Float, voxels: Float) -> Line:
    """Fit a straight line to a profile.

    Parameters
    ----------
    radius_angstrom, mean, voxels
        (bins,) radius of each shell, mean resolution (NaN left out), and voxels.
    """
    known = np.isfinite(mean)
    if known.sum() < FEWEST_SHELLS:
        nan = float("nan")
        return Line(slope=nan, slope_error=nan, intercept_angstrom=nan)
    r, y, w = radius_angstrom[known], mean[known], voxels[known] / voxels[known].mean()
    middle, level = (w @ r) / w.sum(), (w @ y) / w.sum()
    spread = float(w @ (r - middle) ** 2)
    slope = float(w @ ((r - middle) * (y - level))) / spread
    rest = y - level - slope * (r - middle)
    error = (float(w @ rest**2) / (len(r) - 2) / spread) ** 0.5
    return Line(slope=slope, slope_error=error, intercept_angstrom=float(level - slope * middle))


def z_score(
    values: npt.NDArray[np.float32],
    shell: npt.NDArray[np.int64],
    mean: Float,
    deviation: Float,
) -> npt.NDArray[np.float32]:
    """Return how far each voxel lies from the mean of its shell, in standard deviations.

    NaN where the value or the shell is unknown; 0 where all of the shell agrees.
    """
    place = np.minimum(shell, len(mean) - 1)
    away = np.abs(values - mean[place])
    scale = deviation[place]
    with np.errstate(invalid="ignore", divide="ignore"):
        score = np.where(scale > 0, away / scale, np.where(away > 0, np.nan, 0.0))
    score = np.where(np.isfinite(away) & np.isfinite(scale), score, np.nan)
    return np.where(shell < len(mean), score, np.nan).astype(np.float32)
