"""A finished run as an `xarray.Dataset`: lazy, in angstrom, with its provenance."""

import json
from collections.abc import Hashable
from pathlib import Path
from typing import Any

import numpy as np
import xarray as xr
import zarr

from distres.engine.elsewhere import store_of
from distres.errors import InputError

_SPACE = ("z", "y", "x")


def open_run(directory: str | Path, *, load: bool = False) -> xr.Dataset:
    """Open the result of a run.

    Parameters
    ----------
    directory
        Run directory.
    load
        Read everything into memory; by default arrays are read when they are used.

    Returns
    -------
    xarray.Dataset
        ``locres`` and ``flags`` (threshold, z, y, x), ``mask`` (z, y, x) and what else the method
        made; coordinates in angstrom; the record in ``attrs``.

    Raises
    ------
    InputError
        The directory holds no finished run.
    """
    path = Path(directory)
    try:
        record = json.loads((path / "run.json").read_text())
    except (OSError, json.JSONDecodeError) as error:
        raise InputError(f"{path} holds no finished run; finish it with --resume") from error
    coords = grid_coordinates(record["grid"])
    variables = {}
    for name, place in record["arrays"].items():
        array = zarr.open_array(store_of(path), path=place, mode="r")
        dims: tuple[Hashable, ...] = _SPACE if array.ndim == 3 else ("threshold", *_SPACE)
        if array.shape[-3:] != tuple(record["grid"]["shape"]) or array.ndim > 4:
            continue
        data: Any = np.asarray(array[...]) if load else lazy_array(array)
        variables[name] = xr.Variable(dims, data, _attributes(name))
    thresholds = {"threshold": record["thresholds"]} if "thresholds" in record else {}
    attrs = {key: value for key, value in record.items() if key not in ("histograms", "arrays")}
    return xr.Dataset(variables, {**thresholds, **coords}, attrs)


def grid_coordinates(grid: dict[str, Any]) -> dict[str, xr.Variable]:
    """Return the z, y and x coordinates in angstrom of a recorded grid."""
    facts = zip(
        _SPACE, grid["shape"], grid["voxel_size_angstrom"], grid["origin_angstrom"], strict=True
    )
    return {
        axis: xr.Variable(axis, origin + step * np.arange(size), {"units": "angstrom"})
        for axis, size, step, origin in facts
    }


def lazy_array(array: "zarr.Array[Any]") -> object:
    """Wrap a stored array so that it is read when it is used."""
    import dask.array

    return dask.array.from_array(array, chunks=array.chunks)  # type: ignore[no-untyped-call]


def _attributes(name: str) -> dict[str, str]:
    if name == "locres":
        return {"units": "angstrom", "long_name": "local resolution"}
    if name == "flags":
        return {"long_name": "why a voxel has no number, see the documentation"}
    if name == "uncertainty":
        return {"units": "angstrom", "long_name": "standard uncertainty of the local resolution"}
    return {"long_name": name}
