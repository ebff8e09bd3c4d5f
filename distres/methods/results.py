"""Find arrays by the names users type: a run, an image, or an array inside one of them."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import zarr

from distres.engine.elsewhere import BINDING, store_of
from distres.engine.jobs import Source, ZarrSource
from distres.errors import InputError
from distres.io.grid import Grid
from distres.io.mrc import MrcHeader
from distres.io.omezarr import (
    OmeZarrVolume,
    described,
    is_zarr,
    open_node,
    own_attributes,
)
from distres.io.stores import address_of

STORE = "run.zarr"
_INPUTS = ("inputs/half1", "inputs/map")


@dataclass(frozen=True, slots=True, kw_only=True)
class Result:
    """An array that can be exported.

    Attributes
    ----------
    source
        (..., z, y, x) array.
    grid
        Where it lies.
    header
        Header of the input it came from, if that was a file.
    name
        What to call it in labels.
    """

    source: Source
    grid: Grid
    header: MrcHeader | None
    name: str


def find_result(path: str, *, level: int = 0, pixel_size: float | None = None) -> Result:
    """Find what a user named.

    Parameters
    ----------
    path
        ``RUN/array``, ``IMAGE.zarr``, ``IMAGE.zarr/level`` or any Zarr array.
    level
        Level, when the path names an image.
    pixel_size
        Voxel size in angstrom, for arrays that say nothing about their place.

    Raises
    ------
    InputError
        There is no such array; a run without an array name lists what it holds.
    """
    store, inner = split_run(path)
    if store is None:
        volume = OmeZarrVolume.open(path, pixel_size_angstrom=pixel_size, level=level)
        return Result(source=volume, grid=volume.grid, header=volume.header, name="")
    arrays = list_arrays(arrays_of(store))
    if inner not in arrays:
        raise InputError(
            f"{path} is no array of a run; this run holds {', '.join(sorted(arrays)) or 'none'}"
        )
    array = arrays[inner]
    shape = (array.shape[-3], array.shape[-2], array.shape[-1])
    grid, header = _place(store, inner, arrays)
    if pixel_size is not None:
        grid = Grid(shape=shape, voxel_size_angstrom=(pixel_size,) * 3)
    if grid is None:
        raise InputError(f"{path} does not say its voxel size; give --pixel-size")
    return Result(
        source=ZarrSource.of(store_of(Path(store).parent), inner),
        grid=_fitted(grid, shape, path),
        header=header,
        name=inner,
    )


def split_run(path: str) -> tuple[str | None, str]:
    """Split ``RUN/array`` into the run's store and the array's path; (None, path) for no run."""
    parts = path.rstrip("/").split("/")
    for count in range(len(parts), 0, -1):
        folder = "/".join(parts[:count]) or "/"
        for store in (folder, f"{folder}/{STORE}"):
            if Path(store).name != STORE:
                continue
            here = is_zarr(store) and Path(store).is_dir()
            if here or (Path(store).parent / BINDING).is_file():
                return store, "/".join(parts[count:])
    return None, path


def arrays_of(store: str) -> str:
    """Return where the arrays of a run lie whose store `split_run` named."""
    return address_of(store_of(Path(store).parent))


def list_arrays(store: str) -> dict[str, zarr.Array[Any]]:
    """Return all arrays with at least three axes of a store, by path."""
    group = open_node(store)
    if not isinstance(group, zarr.Group):
        return {}
    return {
        path: node
        for path, node in group.members(max_depth=None)
        if isinstance(node, zarr.Array) and node.ndim >= 3
    }


def _place(
    store: str, inner: str, arrays: Mapping[str, zarr.Array[Any]]
) -> tuple[Grid | None, MrcHeader | None]:
    """Ask the array itself, then the run's input, then the run's record."""
    grid, header = described(own_attributes(dict(arrays[inner].attrs)))
    if grid is not None:
        return grid, header
    root = zarr.open_group(store_of(Path(store).parent), mode="r")
    for name in _INPUTS:
        if name in root:
            grid, header = described(own_attributes(dict(root[name].attrs)))
            if grid is not None:
                return grid, header
    record = Path(store).parent / "run.json"
    if record.is_file():
        kept = json.loads(record.read_text()).get("grid")
        if isinstance(kept, Mapping):
            known = {k: tuple(v) for k, v in kept.items() if isinstance(v, list)}
            return Grid(**known), None
    return None, None


def _fitted(grid: Grid, shape: tuple[int, int, int], path: str) -> Grid:
    """Return the grid itself, or the coarser one that has the array's shape."""
    for power in range(12):
        coarse = grid.coarser(2**power)
        if coarse.shape == shape:
            return coarse
    raise InputError(f"{path} has shape {shape}, which is no level of the run's grid {grid.shape}")
