"""How resolution changes through the thickness of a tomogram."""

import csv
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import zarr

from distres.engine.run import Run
from distres.io.grid import Grid
from distres.kernels.wedge import AXES
from distres.methods.products import FLAG_OUTSIDE

_SECTIONS = 32
# A specimen stands out where this share of a section's voxels shows detail, beyond false ones.
LEAST_SHARE = 0.1
# A specimen ends where so much of its plateau is left: detail thins out before the ice ends.
END_SHARE = 0.25

Floats = npt.NDArray[np.float64]


@dataclass(frozen=True, slots=True, kw_only=True)
class DepthProfile:
    """One value a section, along the beam.

    Attributes
    ----------
    axis
        ``x``, ``y`` or ``z``.
    depth_angstrom
        Position of the section in the coordinates of the tomogram.
    median_angstrom
        Median resolution of the resolved voxels; NaN where there is none.
    share_resolved
        Share of the voxels with a resolution.
    share_detailed
        Share of the voxels better than the geometric mean of the range tested: coarse waves reach
        far beyond a specimen, fine ones show where it ends.
    """

    axis: str
    depth_angstrom: Floats
    median_angstrom: Floats
    share_resolved: Floats
    share_detailed: Floats

    @property
    def specimen(self) -> tuple[float, float] | None:
        """First and last depth in angstrom with a quarter of the plateau's share, if any has."""
        plateau = float(np.nanpercentile(self.share_detailed, 90))
        if plateau < LEAST_SHARE:
            return None
        inside = np.flatnonzero(self.share_detailed >= plateau * END_SHARE)
        return float(self.depth_angstrom[inside[0]]), float(self.depth_angstrom[inside[-1]])

    def as_json(self) -> dict[str, Any]:
        """Return the thickness and where it lies."""
        found = self.specimen
        step = float(np.diff(self.depth_angstrom).mean()) if len(self.depth_angstrom) > 1 else 0.0
        return {
            "axis": self.axis,
            "specimen_angstrom": None if found is None else list(found),
            "thickness_angstrom": None if found is None else round(found[1] - found[0] + step, 2),
        }

    def write_csv(self, path: Path) -> Path:
        """Write one row a section."""
        with path.open("w", newline="") as file:
            writer = csv.writer(file)
            writer.writerow(
                ["depth_angstrom", "median_angstrom", "share_resolved", "share_detailed"]
            )
            for row in zip(
                self.depth_angstrom,
                self.median_angstrom,
                self.share_resolved,
                self.share_detailed,
                strict=True,
            ):
                writer.writerow([f"{value:.4f}" for value in row])
        return path


def depth_profile(
    run: Run,
    locres: str,
    flags: str,
    grid: Grid,
    axis: str,
    range_angstrom: tuple[float, float],
) -> DepthProfile:
    """Take the median resolution of every section across the beam.

    Parameters
    ----------
    run
        Where the arrays lie.
    locres, flags
        Paths of (1, z, y, x) arrays.
    grid
        Grid of the tomogram.
    axis
        Direction of the beam.
    range_angstrom
        Finest and coarsest resolution tested.
    """
    detail = (range_angstrom[0] * range_angstrom[1]) ** 0.5
    place = AXES.index(axis)
    values = zarr.open_array(run.store, path=locres, mode="r")
    bits = zarr.open_array(run.store, path=flags, mode="r")
    medians, shares, details = [], [], []
    for first in range(0, grid.shape[place], _SECTIONS):
        part: list[slice | int] = [0, slice(None), slice(None), slice(None)]
        part[place + 1] = slice(first, min(first + _SECTIONS, grid.shape[place]))
        block = np.moveaxis(np.asarray(values[tuple(part)]), place, 0)
        outside = np.moveaxis(np.asarray(bits[tuple(part)]) & FLAG_OUTSIDE, place, 0) != 0
        for section, out in zip(block, outside, strict=True):
            inside = section[~out]
            known = inside[np.isfinite(inside)]
            medians.append(float(np.median(known)) if len(known) else float("nan"))
            shares.append(len(known) / max(len(inside), 1))
            details.append(np.count_nonzero(known <= detail) / max(len(inside), 1))
    step = grid.voxel_size_angstrom[place]
    steps = np.arange(grid.shape[place], dtype=np.float64)
    depth = np.asarray(grid.origin_angstrom[place] + step * steps, dtype=np.float64)
    return DepthProfile(
        axis=axis,
        depth_angstrom=depth,
        median_angstrom=np.asarray(medians),
        share_resolved=np.asarray(shares),
        share_detailed=np.asarray(details),
    )
