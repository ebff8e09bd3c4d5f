"""One face for every kind of volume: what it is, where it lies, and reading a region of it."""

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass
from math import prod
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

from distres.errors import InputError, UsageError
from distres.io.grid import Float3, Grid, Region, Shape3, require_same_grid, slabs_of
from distres.io.mrc import MrcHeader
from distres.io.mrc_volume import MrcVolume
from distres.io.omezarr import OmeZarrVolume, is_zarr

__all__ = [
    "ArrayVolume",
    "Float3",
    "Grid",
    "Region",
    "Shape3",
    "Volume",
    "VolumeLike",
    "open_volume",
    "require_same_grid",
]

ArrayLike = Any  # NumPy array, xarray.DataArray, or anything with shape, dtype and slicing
VolumeLike = Any  # str, Path, Volume or ArrayLike


class Volume(Protocol):
    """A three-dimensional image that can be read region by region.

    Volumes are small and picklable: they hold names and open their files when read, so that they
    can be the `Source` of a tile job.
    """

    @property
    def path(self) -> str:
        """What the user named."""
        ...

    @property
    def grid(self) -> Grid:
        """Shape, voxel size and position."""
        ...

    @property
    def shape(self) -> Shape3:
        """Voxels (z, y, x)."""
        ...

    @property
    def header(self) -> MrcHeader | None:
        """The MRC header that exports copy; None for volumes that never had one."""
        ...

    @property
    def random_access(self) -> bool:
        """Whether regions can be read in any order; if not, `slabs` reads them all once."""
        ...

    @property
    def contiguous_axis(self) -> int:
        """Axis of (z, y, x) along which neighbours lie next to each other on disk."""
        ...

    @property
    def slab_axis(self) -> int:
        """Axis of (z, y, x) along which `slabs` goes forward."""
        ...

    def read(self, region: tuple[slice, ...]) -> npt.NDArray[np.float32]:
        """Read a region as float32 (z, y, x), whatever the stored type and axis order."""
        ...

    def slabs(self, thickness: int) -> Iterator[tuple[Region, npt.NDArray[np.float32]]]:
        """Read everything once in the order of storage, `thickness` voxels at a time."""
        ...

    def identity(self) -> dict[str, Any]:
        """Say what decides the content: place, size, modification time, header hash."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class ArrayVolume:
    """A volume that the caller holds: a NumPy array or anything that is sliced like one.

    Lazy arrays (Dask behind xarray) are evaluated slab by slab. It is not `random_access`: sending
    it to workers would send all of it, so the driver stores it first.

    Attributes
    ----------
    array
        (z, y, x), real numbers.
    grid
        Voxel size and position.
    path
        A name for messages and outputs.
    """

    array: Any
    grid: Grid
    path: str = "array"
    header: MrcHeader | None = None

    def __post_init__(self) -> None:
        if tuple(self.array.shape) != self.grid.shape:
            raise UsageError(
                f"the array has shape {tuple(self.array.shape)} but its grid says {self.grid.shape}"
            )
        if np.dtype(self.array.dtype).kind not in "biuf":
            raise InputError(f"{self.path} holds {self.array.dtype}; a volume holds real numbers")

    @property
    def shape(self) -> Shape3:
        """Voxels (z, y, x)."""
        return self.grid.shape

    @property
    def random_access(self) -> bool:
        """False: see the class."""
        return False

    @property
    def contiguous_axis(self) -> int:
        """x, as NumPy lays arrays out."""
        return 2

    @property
    def slab_axis(self) -> int:
        """Axis of (z, y, x) along which `slabs` goes forward."""
        return 0

    def read(self, region: tuple[slice, ...]) -> npt.NDArray[np.float32]:
        """Read a region as float32 (z, y, x)."""
        return np.ascontiguousarray(self.array[region], dtype=np.float32)

    def slabs(self, thickness: int) -> Iterator[tuple[Region, npt.NDArray[np.float32]]]:
        """Read everything once along z."""
        for region in slabs_of(self.shape, thickness):
            yield region, self.read(region)

    def identity(self) -> dict[str, Any]:
        """Say what decides the content: a hash of every voxel."""
        digest = hashlib.blake2b(digest_size=16)
        for _, values in self.slabs(max(1, (1 << 24) // prod(self.shape[1:]))):
            digest.update(values.tobytes())
        return {
            "kind": "array",
            "shape": list(self.shape),
            "voxel_size_angstrom": list(self.grid.voxel_size_angstrom),
            "blake2b": digest.hexdigest(),
        }


def open_volume(source: VolumeLike, pixel_size: float | None = None, *, level: int = 0) -> Volume:
    """Open anything that can be a volume.

    Parameters
    ----------
    source
        Path of an MRC or CCP4 file (plain, .gz, .bz2), path or URL of an OME-Zarr image or Zarr
        array, an `xarray.DataArray` with coordinates in angstrom, a NumPy array (which needs
        `pixel_size`), or a volume, which is returned as it is.
    pixel_size
        Voxel size in angstrom that replaces what the file says, for all axes.
    level
        Level of an OME-Zarr pyramid.

    Raises
    ------
    InputError
        When it cannot be used, with the reason.

    Warns
    -----
    TrustWarning
        When the voxel size is exactly 1.0 angstrom.
    """
    if pixel_size is not None and not 1e-3 <= pixel_size <= 1e5:
        raise UsageError(f"a pixel size of {pixel_size:g} angstrom cannot be right")
    if isinstance(source, str | Path):
        path = str(source)
        if is_zarr(path):
            return OmeZarrVolume.open(path, pixel_size_angstrom=pixel_size, level=level)
        if "://" in path:
            raise InputError(
                f"{path}: only OME-Zarr can be read at an address; copy the file here, and "
                "distres convert FILE s3://bucket/place.zarr puts it where workers share no disk"
            )
        if Path(path).is_dir():
            raise InputError(f"{path} is a folder, neither an MRC file nor an OME-Zarr image")
        return MrcVolume.open(path, pixel_size_angstrom=pixel_size)
    if hasattr(source, "slabs") and hasattr(source, "identity"):
        volume: Volume = source
        return volume
    if hasattr(source, "coords") and hasattr(source, "dims"):
        return _from_dataarray(source, pixel_size)
    if hasattr(source, "shape") and hasattr(source, "dtype"):
        if pixel_size is None:
            raise UsageError("a plain array has no voxel size; give one in angstrom")
        return _from_array(source, (pixel_size,) * 3, (0.0, 0.0, 0.0), "array")
    raise UsageError(f"a {type(source).__name__} is not a volume; give a path, URL or array")


def _from_array(array: ArrayLike, voxel: Float3, origin: Float3, name: str) -> ArrayVolume:
    if len(array.shape) != 3 or min(array.shape) < 2:
        raise InputError(f"{name} has shape {tuple(array.shape)}; a volume has three axes z, y, x")
    z, y, x = array.shape
    grid = Grid(shape=(z, y, x), voxel_size_angstrom=voxel, origin_angstrom=origin)
    return ArrayVolume(array=array, grid=grid, path=name)


def _from_dataarray(data: ArrayLike, pixel_size: float | None) -> ArrayVolume:
    """Take voxel size and position from the coordinates of an `xarray.DataArray`."""
    name = str(data.name or "array")
    if set(data.dims) != {"z", "y", "x"}:
        raise InputError(f"{name} has dimensions {tuple(data.dims)}; a volume has z, y, x")
    data = data.transpose("z", "y", "x")
    steps, starts = [], []
    for axis in ("z", "y", "x"):
        if axis not in data.coords or data.sizes[axis] < 2:
            if pixel_size is None:
                raise InputError(f"{name} has no {axis} coordinate in angstrom; give a pixel size")
            starts.append(0.0)
            steps.append(0.0)
            continue
        values = np.asarray(data.coords[axis], dtype=np.float64)
        step = (values[-1] - values[0]) / (len(values) - 1)
        if step <= 0 or np.abs(np.diff(values) - step).max() > 1e-3 * abs(step):
            raise InputError(f"the {axis} coordinate of {name} does not grow in equal steps")
        starts.append(float(values[0]))
        steps.append(float(step))
    voxel = (pixel_size,) * 3 if pixel_size else (steps[0], steps[1], steps[2])
    return _from_array(data, voxel, (starts[0], starts[1], starts[2]), name)
