"""The local FSC curve of one point, from the curves a run keeps."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import zarr
from scipy.ndimage import map_coordinates

from distres.engine.elsewhere import store_of
from distres.errors import InputError, UsageError
from distres.methods.symmetry_tiles import Frame

Curve = tuple[npt.NDArray[np.float64], npt.NDArray[np.float64]]


def curve_at(directory: Path, point_angstrom: tuple[float, float, float]) -> Curve:
    """Interpolate the kept curves at one point; with a symmetry, at its mate that was solved.

    Parameters
    ----------
    directory
        A finished run of the local FSC.
    point_angstrom
        (z, y, x) in the coordinates of the map.

    Returns
    -------
    frequency, correlation
        Both (bands,) float64, frequency in 1/angstrom, ascending. NaN where no tile was computed.

    Raises
    ------
    InputError
        The directory holds no finished local FSC.
    UsageError
        The point lies outside the map.
    """
    try:
        record = json.loads((directory / "run.json").read_text())
        bands, places = record["localfsc"]["bands"], record["localfsc"]["curves"]
    except (OSError, json.JSONDecodeError, KeyError) as error:
        raise InputError(f"{directory} holds no finished local FSC with its curves") from error
    voxel = _voxel_at(record["grid"], point_angstrom)
    if "symmetry" in record:
        frame = Frame.of(record["symmetry"])
        [(_, mates)] = frame.mates(frame.points(voxel[None]))
        voxel = mates[0]
    frequency: list[float] = []
    correlation: list[float] = []
    for level, path in sorted(((int(k), v) for k, v in places.items()), reverse=True):
        array = zarr.open_array(store_of(directory), path=path, mode="r")
        node = voxel / (2**level * record["localfsc"]["curve_stride"])
        correlation += _interpolate(array, node)
        frequency += [1 / band["centre_angstrom"] for band in bands if band["level"] == level]
    return np.array(frequency), np.array(correlation)


def _voxel_at(grid: dict[str, Any], point: tuple[float, float, float]) -> npt.NDArray[np.float64]:
    """Return the (z, y, x) voxel coordinates of a point."""
    step, origin = np.array(grid["voxel_size_angstrom"]), np.array(grid["origin_angstrom"])
    voxel = (np.array(point, dtype=np.float64) - origin) / step
    if (voxel < 0).any() or (voxel > np.array(grid["shape"]) - 1).any():
        last = origin + step * (np.array(grid["shape"]) - 1)
        raise UsageError(
            f"the point {tuple(point)} lies outside the map, which reaches from "
            f"{tuple(origin.tolist())} to {tuple(last.tolist())} angstrom (z, y, x)"
        )
    return np.asarray(voxel)


def _interpolate(array: "zarr.Array[Any]", node: npt.NDArray[np.float64]) -> list[float]:
    """Interpolate all bands of one level linearly at a node position."""
    low = np.clip(np.floor(node).astype(int), 0, np.maximum(np.array(array.shape[1:]) - 2, 0))
    z, y, x = (slice(int(i), int(i) + 2) for i in low)
    cells = np.asarray(array[:, z, y, x], dtype=np.float64)
    at = (node - low)[:, None]
    return [float(map_coordinates(cell, at, order=1, mode="nearest")[0]) for cell in cells]
