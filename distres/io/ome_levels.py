"""The levels of an OME-Zarr image as grids: axes, units and transformations (0.4 and 0.5)."""

import logging
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import zarr

from distres.errors import InputError
from distres.io.grid import Float3, Grid, Shape3, float3

logger = logging.getLogger(__name__)

UNITS_ANGSTROM = {
    "angstrom": 1.0,
    "picometer": 1e-2,
    "nanometer": 10.0,
    "micrometer": 1e4,
    "millimeter": 1e7,
    "meter": 1e10,
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Level:
    """One level of a pyramid: the array's path inside the store, and its grid."""

    path: str
    grid: Grid


def levels_of(
    name: str, group: zarr.Group, image: Mapping[str, Any], pixel_size_angstrom: float | None
) -> Iterator[Level]:
    """Yield the levels of an image, the finest first.

    Parameters
    ----------
    name
        What errors call the image.
    group
        Holds the arrays.
    image
        A multiscale of its metadata.
    pixel_size_angstrom
        Voxel size of the finest level, instead of what the metadata say.

    Raises
    ------
    InputError
        They do not describe volumes, or in units that are not understood.
    """
    units = _units(name, image)
    common = _transform(image.get("coordinateTransformations") or [])
    finest: Float3 | None = None
    for entry in image["datasets"]:
        array = group[entry["path"]]
        if not isinstance(array, zarr.Array):
            raise InputError(f"{name}/{entry['path']} is no array")
        shape = spatial_shape(f"{name}/{entry['path']}", array)
        scale, shift = _transform(entry.get("coordinateTransformations") or [])
        if scale is None and pixel_size_angstrom is None:
            raise InputError(f"{name} has no scale for level {entry['path']}; give --pixel-size")
        step = _combine(scale or (1.0,) * 3, common[0] or (1.0,) * 3, units)
        origin = tuple(
            (s * c + t) * u
            for s, c, t, u in zip(shift, common[0] or (1.0,) * 3, common[1], units, strict=True)
        )
        finest = finest or step
        if pixel_size_angstrom is not None:
            ratios = [round(s / f) or 1 for s, f in zip(step, finest, strict=True)]
            origin = tuple(o * pixel_size_angstrom / f for o, f in zip(origin, finest, strict=True))
            step = float3([pixel_size_angstrom * ratio for ratio in ratios])
        if not all(1e-3 <= size <= 1e5 for size in step):
            raise InputError(f"{name} has an unusable scale {step} angstrom; give --pixel-size")
        yield Level(
            path=str(entry["path"]),
            grid=Grid(shape=shape, voxel_size_angstrom=step, origin_angstrom=float3(origin)),
        )


def _units(name: str, image: Mapping[str, Any]) -> Float3:
    """Angstroms per unit of the z, y, x axes, which must be the last three in this order."""
    axes = image["axes"][-3:]
    names = [axis["name"] if isinstance(axis, Mapping) else axis for axis in axes]
    if names != ["z", "y", "x"]:
        raise InputError(f"{name} has axes {', '.join(names)}; a volume ends in z, y, x")
    factors = []
    for axis in axes:
        unit = axis.get("unit") if isinstance(axis, Mapping) else None
        if unit is None:
            logger.info("%s: axis %s has no unit; angstrom is assumed", name, axis)
        elif unit not in UNITS_ANGSTROM:
            raise InputError(f"{name} is measured in {unit}; use angstrom or nanometer")
        factors.append(UNITS_ANGSTROM[unit] if unit else 1.0)
    return float3(factors)


def _transform(steps: list[Mapping[str, Any]]) -> tuple[Float3 | None, Float3]:
    """Return scale (None when there is none) and translation of the last three axes."""
    scale: Float3 | None = None
    shift: Float3 = (0.0, 0.0, 0.0)
    for step in steps:
        if step.get("type") == "scale":
            scale = float3(step["scale"][-3:])
        elif step.get("type") == "translation":
            shift = float3(step["translation"][-3:])
        elif step.get("type") != "identity":
            raise InputError(f"coordinate transformation {step.get('type')!r} is not supported")
    return scale, shift


def _combine(first: Float3, second: Float3, units: Float3) -> Float3:
    return float3([a * b * u for a, b, u in zip(first, second, units, strict=True)])


def spatial_shape(name: str, array: zarr.Array[Any]) -> Shape3:
    """Return (z, y, x) of an array that can be a volume; axes before them have length 1.

    Raises
    ------
    InputError
        It is of another kind or shape.
    """
    if np.dtype(array.dtype).kind not in "biuf":
        raise InputError(f"{name} holds {array.dtype}; a volume holds real numbers")
    if array.ndim < 3 or any(n != 1 for n in array.shape[:-3]) or min(array.shape[-3:]) < 2:
        raise InputError(f"{name} has shape {array.shape}; a volume has three axes z, y, x")
    z, y, x = array.shape[-3:]
    return z, y, x
