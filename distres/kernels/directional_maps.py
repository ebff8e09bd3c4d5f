"""From the resolutions in all directions to the maps of MonoDir, and from a lattice to voxels.

Vilas et al. 2020 (doi:10.1038/s41467-019-13742-w): highest and lowest directional resolution, their
mean (ADR), half the interquartile range, and the resolution along the radius and across it.
"""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch

from distres.kernels.centred import Shape3
from distres.kernels.interpolate import interpolate_known, linear_matrix
from distres.kernels.sweep import NEVER

# Percentiles: highest and lowest resolution, and what lies between them halfway.
HIGHEST, LOWEST = 0.05, 0.95
QUARTILES = (0.17, 0.83)
# Angles between direction and radius that count as radial and as tangential.
RADIAL_DEGREES, TANGENTIAL_DEGREES = 45.0, 70.0
# Points are reduced this many at a time: all their directions then fit a core's cache.
CHUNK = 1 << 12

MAPS = ("adr", "highest", "lowest", "anisotropy", "radial", "tangential")

Float = npt.NDArray[np.float32]


@dataclass(frozen=True, slots=True, kw_only=True)
class DirectionalMaps:
    """What the directions say at every point.

    Attributes
    ----------
    values
        By name of `MAPS`, (points,) float32 in angstrom; NaN where no direction passed any test.
    hits
        (directions,) int64: points that have their highest resolution along a direction.
    hit_sums
        (directions,) float64: sum of their resolutions there, in angstrom.
    """

    values: Mapping[str, Float]
    hits: npt.NDArray[np.int64]
    hit_sums: npt.NDArray[np.float64]


def reduce_directions(
    last: npt.NDArray[np.int16],
    resolutions: npt.NDArray[np.float64],
    directions: npt.NDArray[np.float64],
    positions_angstrom: npt.NDArray[np.float64],
    counted: npt.NDArray[np.bool_],
    tolerance_angstrom: float,
) -> DirectionalMaps:
    """Reduce the resolutions in all directions, point by point.

    A direction that passed no test has the coarsest resolution that was tested.

    Parameters
    ----------
    last
        (directions, points): finest test passed, -1 for none.
    resolutions
        (tests,) angstrom, coarse to fine.
    directions
        (directions, 3) unit vectors (z, y, x).
    positions_angstrom
        (points, 3) places (z, y, x) from the centre that radial and tangential refer to.
    counted
        (points,): which points enter the table of preferred directions.
    tolerance_angstrom
        A direction has the highest resolution when it is no coarser than that by more than this.
    """
    count, points = last.shape
    table = np.append(resolutions, resolutions[0]).astype(np.float32)
    found = {name: np.full(points, np.nan, dtype=np.float32) for name in MAPS}
    hits = np.zeros(count, dtype=np.int64)
    sums = np.zeros(count, dtype=np.float64)
    for start in range(0, points, CHUNK):
        part = slice(start, min(start + CHUNK, points))
        values = table[last[:, part].T]
        maps = _percentiles(values)
        along = _along(directions, positions_angstrom[part])
        maps |= _radial_and_tangential(values, along, maps["adr"])
        known = (last[:, part] != NEVER).any(axis=0)
        for name in MAPS:
            found[name][part] = np.where(known, maps[name], np.nan)
        best = values <= (maps["highest"] + tolerance_angstrom)[:, None]
        best &= (known & counted[part])[:, None]
        hits += best.sum(axis=0)
        sums += np.where(best, values, 0).sum(axis=0, dtype=np.float64)
    return DirectionalMaps(values=found, hits=hits, hit_sums=sums)


def _percentiles(values: Float) -> dict[str, Float]:
    """Return the maps that owe nothing to where directions point; (points, directions) in."""
    ordered = np.sort(values, axis=1)

    def at(share: float) -> Float:
        return ordered[:, round(share * (values.shape[1] - 1))]

    best, worst = at(HIGHEST), at(LOWEST)
    low, high = (at(share) for share in QUARTILES)
    return {
        "highest": best,
        "lowest": worst,
        "adr": (best + worst) * np.float32(0.5),
        "anisotropy": (high - low) * np.float32(0.5),
    }


def _along(
    directions: npt.NDArray[np.float64], positions: npt.NDArray[np.float64]
) -> npt.NDArray[np.float64]:
    """Return (points, directions): cosine between radius and direction, NaN at the centre."""
    radius = np.linalg.norm(positions, axis=1)
    with np.errstate(invalid="ignore", divide="ignore"):
        cosine: npt.NDArray[np.float64] = np.abs(positions @ directions.T) / radius[:, None]
    return cosine


def _radial_and_tangential(
    values: Float, along: npt.NDArray[np.float64], fallback: Float
) -> dict[str, Float]:
    """Average over directions near the radius, and over those near the plane across it."""
    near = along >= np.cos(np.radians(RADIAL_DEGREES))
    across = along <= np.cos(np.radians(TANGENTIAL_DEGREES))
    found = {}
    for name, chosen in (("radial", near), ("tangential", across)):
        number = chosen.sum(axis=1)
        total = np.where(chosen, values, 0).sum(axis=1, dtype=np.float32)
        mean = total / np.maximum(number, 1).astype(np.float32)
        found[name] = np.where(number > 0, mean, fallback)
    return found


def to_voxels(
    values: Mapping[str, Float], points: npt.NDArray[np.bool_], spacing: int, shape: Shape3
) -> dict[str, Float]:
    """Interpolate values at lattice points to voxels, linearly and only between known ones.

    Parameters
    ----------
    values
        By name, (points,) float32; all NaN at the same points.
    points
        (z, y, x) lattice: which of its points they belong to, in C order.
    spacing
        Voxels between lattice points; the first lies on the first voxel.
    shape
        Voxels wanted; those beyond the last point take its value.

    Returns
    -------
    dict
        `shape` float32 by name; NaN where less than half of the weight lies on known points.
    """
    fields = torch.full((len(values), *points.shape), torch.nan)
    fields[:, torch.from_numpy(points)] = torch.from_numpy(np.stack(list(values.values())))
    matrices = [
        torch.from_numpy(linear_matrix(np.arange(n) / spacing, count))
        for n, count in zip(shape, points.shape, strict=True)
    ]
    return dict(zip(values, interpolate_known(fields, matrices).numpy(), strict=True))
