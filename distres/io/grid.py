"""Where the voxels of a volume lie, and whether two volumes lie on the same grid."""

import warnings
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any, Protocol

from distres.errors import InputError, TrustWarning

Float3 = tuple[float, float, float]
Shape3 = tuple[int, int, int]
Region = tuple[slice, slice, slice]

VOXEL_SIZE_TOLERANCE = 1e-3  # relative; headers keep rounded cells, real differences are larger
ORIGIN_TOLERANCE_VOX = 0.1


@dataclass(frozen=True, slots=True, kw_only=True)
class Grid:
    """Where the voxels of a volume lie. All triples are (z, y, x).

    Attributes
    ----------
    shape
        Voxels.
    voxel_size_angstrom
        Edge lengths of one voxel in angstrom; may differ between axes.
    origin_angstrom
        Position of the centre of voxel (0, 0, 0) in angstrom.
    """

    shape: Shape3
    voxel_size_angstrom: Float3
    origin_angstrom: Float3 = (0.0, 0.0, 0.0)

    def coarser(self, divisor: int) -> "Grid":
        """Return the grid that keeps every `divisor`-th voxel, the first one included."""
        z, y, x = (-(-n // divisor) for n in self.shape)
        dz, dy, dx = (size * divisor for size in self.voxel_size_angstrom)
        return Grid(
            shape=(z, y, x),
            voxel_size_angstrom=(dz, dy, dx),
            origin_angstrom=self.origin_angstrom,
        )


def in_xyz(values: tuple[float, float, float]) -> str:
    """Write a (z, y, x) triple the way users read it: x, y, z."""
    return ", ".join(f"{value:.6g}" for value in reversed(values))


def float3(values: Iterable[Any]) -> Float3:
    """Return three numbers as a triple of floats."""
    a, b, c = (float(value) for value in values)
    return a, b, c


def slabs_of(shape: tuple[int, ...], thickness: int) -> Iterator[Region]:
    """Cut a volume (z, y, x) into slabs along z, the first voxels first."""
    depth, height, width = shape
    for first in range(0, depth, thickness):
        yield slice(first, min(first + thickness, depth)), slice(0, height), slice(0, width)


def warn_of_unit_voxels(name: str, grid: Grid) -> None:
    """Warn the caller of a caller when voxels are exactly 1.0 angstrom: often "never set".

    Warns
    -----
    TrustWarning
        Naming the volume.
    """
    if grid.voxel_size_angstrom == (1.0, 1.0, 1.0):
        warnings.warn(
            f"{name}: the voxel size is exactly 1.0 angstrom, which often means it was never "
            "set; give --pixel-size if it is something else",
            TrustWarning,
            stacklevel=4,
        )


class Placed(Protocol):
    """Anything that lies on a grid and has a name: a volume."""

    @property
    def path(self) -> str:
        """Name for messages."""
        ...

    @property
    def grid(self) -> Grid:
        """Where its voxels lie."""
        ...


def require_same_grid(
    first: Grid | Placed, second: Grid | Placed, *, names: tuple[str, str] | None = None
) -> None:
    """Refuse two volumes that cannot be compared voxel by voxel.

    Parameters
    ----------
    first, second
        Volumes or grids. Voxel sizes may differ by 0.1 % (headers keep rounded cells) and origins
        by a tenth of a voxel.
    names
        What the error calls them; the paths of volumes when not given.

    Raises
    ------
    InputError
        Naming both values of the first thing that differs: shape, voxel size, or origin.
    """
    a, b = names or (getattr(first, "path", "the first"), getattr(second, "path", "the second"))
    first = first if isinstance(first, Grid) else first.grid
    second = second if isinstance(second, Grid) else second.grid
    if first.shape != second.shape:
        raise InputError(
            f"{b} has {in_xyz(second.shape)} voxels (x, y, z) but {a} has {in_xyz(first.shape)}; "
            "both must cover the same box"
        )
    sizes = zip(first.voxel_size_angstrom, second.voxel_size_angstrom, strict=True)
    if any(abs(p - q) > VOXEL_SIZE_TOLERANCE * p for p, q in sizes):
        raise InputError(
            f"{b} has voxels of {in_xyz(second.voxel_size_angstrom)} angstrom (x, y, z) but {a} "
            f"has {in_xyz(first.voxel_size_angstrom)}; correct the header that is wrong or give "
            "--pixel-size"
        )
    origins = zip(
        first.origin_angstrom, second.origin_angstrom, first.voxel_size_angstrom, strict=True
    )
    if any(abs(p - q) > ORIGIN_TOLERANCE_VOX * size for p, q, size in origins):
        raise InputError(
            f"{b} starts at {in_xyz(second.origin_angstrom)} angstrom (x, y, z) but {a} starts at "
            f"{in_xyz(first.origin_angstrom)}; both must lie at the same place"
        )
