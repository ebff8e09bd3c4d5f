"""Planes of a volume, read alone, and the colours they are shown in."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from distres.engine.jobs import Source
from distres.report.colours import Limits, colour

Floats = npt.NDArray[np.floating[Any]]
Triple = tuple[float, float, float]
Place = tuple[int, int, int]

# A picture shows no more samples than this along an edge; a larger plane is thinned out.
_EDGE_SAMPLES = 1200
AXES = "zyx"


@dataclass(frozen=True, slots=True, kw_only=True)
class Plane:
    """One slice across the volume, ready to be drawn.

    Attributes
    ----------
    axis
        0, 1 or 2: the slice is normal to z, y or x.
    index
        Voxel along that axis.
    density, resolution, mask
        (rows, columns) float32; the rows are the slower remaining axis. The resolution is None
        where only the mask is shown.
    extent_angstrom
        Height and width of the slice.
    """

    axis: int
    index: int
    density: Floats
    resolution: Floats | None
    mask: Floats
    extent_angstrom: tuple[float, float]

    @property
    def names(self) -> tuple[str, str]:
        """Names of the vertical and the horizontal axis."""
        rest = AXES.replace(AXES[self.axis], "")
        return rest[0], rest[1]


def read_planes(
    density: Sequence[Source],
    resolution: Source | None,
    mask: Source,
    *,
    voxel_size_angstrom: Triple,
    at: Place | None = None,
) -> tuple[Plane, Plane, Plane]:
    """Read the three slices through one voxel, and nothing else.

    Parameters
    ----------
    density
        One source, or two half maps to be averaged; (z, y, x).
    resolution
        Local resolution in angstrom, NaN where there is none; None shows the mask alone.
    mask
        In [0, 1].
    voxel_size_angstrom
        (z, y, x).
    at
        Voxel (z, y, x) that all three slices hold; the centre of the box when not given.
    """
    shape = mask.shape[-3:]
    place = at or tuple(n // 2 for n in shape)
    planes = []
    for axis in range(3):
        region = tuple(
            slice(p, p + 1) if a == axis else slice(0, n)
            for a, (p, n) in enumerate(zip(place, shape, strict=True))
        )
        height, width = (
            n * v
            for a, (n, v) in enumerate(zip(shape, voxel_size_angstrom, strict=True))
            if a != axis
        )
        planes.append(
            Plane(
                axis=axis,
                index=place[axis],
                density=np.mean([_thin(s.read(region), axis) for s in density], axis=0),
                resolution=None if resolution is None else _thin(resolution.read(region), axis),
                mask=_thin(mask.read(region), axis),
                extent_angstrom=(height, width),
            )
        )
    return planes[0], planes[1], planes[2]


def mask_centre(occupancy: Source, divisor: int, shape: tuple[int, ...]) -> Place:
    """Return the voxel in the middle of the mask, from its coarse occupancy.

    Parameters
    ----------
    occupancy
        One value for `divisor` voxels along every axis.
    divisor
        Voxels per value.
    shape
        Voxels of the volume.
    """
    weight = np.asarray(occupancy.read((slice(None),) * 3), dtype=np.float64)
    total = weight.sum()
    if not total:
        return shape[0] // 2, shape[1] // 2, shape[2] // 2
    z, y, x = (
        min(
            int(
                ((np.arange(n) + 0.5) * weight.sum(axis=tuple({0, 1, 2} - {a}))).sum()
                / total
                * divisor
            ),
            shape[a] - 1,
        )
        for a, n in enumerate(weight.shape)
    )
    return z, y, x


def _thin(block: npt.NDArray[Any], axis: int) -> Floats:
    plane: Floats = np.take(np.asarray(block, dtype=np.float32), 0, axis=axis)
    rows, columns = (-(-n // _EDGE_SAMPLES) for n in plane.shape)
    return plane[::rows, ::columns]


def paint(plane: Plane, limits: Limits, grey_range: tuple[float, float]) -> npt.NDArray[np.uint8]:
    """Colour a slice: resolution where the mask exceeds one half, density in grey elsewhere.

    Returns
    -------
    numpy.ndarray
        (rows, columns, 3) uint8.
    """
    grey = np.repeat(grey_levels(plane, grey_range)[..., None], 3, axis=-1)
    # Paler grey beside the colours, so that the eye stays on them.
    painted = (128 + grey.astype(np.int16) // 2).astype(np.uint8)
    inside = plane.mask > 0.5
    if plane.resolution is not None:
        painted[inside] = colour(plane.resolution, limits)[inside]
    return painted


def grey_levels(plane: Plane, grey_range: tuple[float, float]) -> npt.NDArray[np.uint8]:
    """Return the density as (rows, columns) uint8, black and white at the ends of `grey_range`."""
    low, high = grey_range
    scaled = (np.nan_to_num(plane.density) - low) / max(high - low, 1e-30)
    return np.asarray(np.rint(255 * np.clip(scaled, 0, 1)), dtype=np.uint8)
