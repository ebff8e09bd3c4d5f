"""Volumes as `xarray.DataArray`: coordinates in angstrom, voxels read when they are needed."""

from dataclasses import asdict
from typing import Any

import numpy as np
import numpy.typing as npt
import xarray as xr
from xarray.backends import BackendArray
from xarray.core import indexing

from distres.io.grid import Grid
from distres.io.names import stem_of
from distres.io.volume import Volume, VolumeLike, open_volume


class _LazyVoxels(BackendArray):
    """Lets xarray read regions of a volume."""

    def __init__(self, volume: Volume) -> None:
        self.volume = volume
        self.shape = volume.shape
        self.dtype = np.dtype(np.float32)

    def __getitem__(self, key: indexing.ExplicitIndexer) -> npt.NDArray[np.float32]:
        values = indexing.explicit_indexing_adapter(
            key, self.shape, indexing.IndexingSupport.BASIC, self._read
        )
        return np.asarray(values, dtype=np.float32)

    def _read(self, key: tuple[Any, ...]) -> npt.NDArray[np.float32]:
        """Read a region given by integers and slices, also with steps or backwards."""
        region: list[slice] = []
        rest: list[slice | int] = []
        for index, n in zip(key, self.shape, strict=True):
            if isinstance(index, slice):
                chosen = range(n)[index]
                low = min(chosen[0], chosen[-1]) if chosen else 0
                region.append(slice(low, max(chosen[0], chosen[-1]) + 1 if chosen else 0))
                rest.append(slice(None, None, index.step))
            else:
                region.append(slice(int(index) % n, int(index) % n + 1))
                rest.append(0)
        return np.asarray(self.volume.read(tuple(region))[tuple(rest)])


def open_dataarray(
    source: VolumeLike, pixel_size: float | None = None, *, level: int = 0
) -> xr.DataArray:
    """Open anything that can be a volume as a lazy `xarray.DataArray`.

    Parameters
    ----------
    source, pixel_size, level
        See `distres.io.volume.open_volume`.

    Returns
    -------
    (z, y, x) float32 with the positions of voxel centres in angstrom as coordinates, and in
    `attrs` where it came from. Nothing is read until values are asked for; ``.chunk()`` makes it a
    Dask array.
    """
    volume = open_volume(source, pixel_size, level=level)
    header = volume.header
    return xr.DataArray(
        indexing.LazilyIndexedArray(_LazyVoxels(volume)),
        dims=("z", "y", "x"),
        coords=coordinates(volume.grid),
        name=stem_of(volume.path),
        attrs={
            "source": volume.identity(),
            "voxel_size_angstrom": list(volume.grid.voxel_size_angstrom),
            "mrc_header": None if header is None else asdict(header),
        },
    )


def coordinates(grid: Grid) -> dict[str, xr.DataArray]:
    """Return the coordinates of a grid: positions of voxel centres in angstrom."""
    found = {}
    for axis, n, size, start in zip(
        ("z", "y", "x"), grid.shape, grid.voxel_size_angstrom, grid.origin_angstrom, strict=True
    ):
        values = start + size * np.arange(n, dtype=np.float64)
        found[axis] = xr.DataArray(values, dims=(axis,), attrs={"units": "angstrom"})
    return found
