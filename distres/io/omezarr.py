"""OME-Zarr images (0.4 and 0.5) and plain Zarr arrays as volumes, local or through fsspec."""

import hashlib
import json
import logging
import warnings
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import zarr
from zarr.errors import BaseZarrError

from distres.errors import InputError, TrustWarning
from distres.io.damage import readable
from distres.io.grid import Float3, Grid, Region, Shape3
from distres.io.mrc import MrcHeader
from distres.io.stores import as_store

logger = logging.getLogger(__name__)

OWN = "distres"  # the one attribute that is ours, on groups and arrays
MARKERS = ("zarr.json", ".zgroup", ".zarray", ".zattrs")
UNITS_ANGSTROM = {
    "angstrom": 1.0,
    "picometer": 1e-2,
    "nanometer": 10.0,
    "micrometer": 1e4,
    "millimeter": 1e7,
    "meter": 1e10,
}
_STORE_ERRORS = (BaseZarrError, OSError, ValueError, KeyError, TypeError, ImportError)


@dataclass(frozen=True, slots=True, kw_only=True)
class Level:
    """One level of a pyramid: the array's path inside the store, and its grid."""

    path: str
    grid: Grid


@dataclass(frozen=True, slots=True, kw_only=True)
class OmeZarrVolume:
    """One level of an OME-Zarr image, or a plain Zarr array.

    Attributes
    ----------
    path
        What the user named.
    store
        Address of the group that `levels` are relative to.
    levels
        All levels, the finest first; a plain array is its own only level.
    level
        Which one is read.
    header
        MRC header of the file it was converted from, when that was one of ours.
    halving
        Name of the filter that made the levels, when we made them; empty otherwise.
    statistics
        What the conversion counted (minimum, maximum, mean, rms, nonfinite); empty otherwise.
    digest
        SHA-256 of all metadata, for fingerprints.
    """

    path: str
    store: str
    levels: tuple[Level, ...]
    level: int = 0
    header: MrcHeader | None = None
    halving: str = ""
    statistics: tuple[tuple[str, float], ...] = ()
    digest: str = ""

    @classmethod
    def open(
        cls, path: str | Path, *, pixel_size_angstrom: float | None = None, level: int = 0
    ) -> "OmeZarrVolume":
        """Read the metadata and make sure they describe a volume.

        Parameters
        ----------
        path
            Folder or URL of an image group, of one of its levels, or of a plain array.
        pixel_size_angstrom
            Voxel size of the finest level, instead of what the metadata say.
        level
            Level to read, 0 for the finest.

        Raises
        ------
        InputError
            When it cannot be used, with the reason.

        Warns
        -----
        TrustWarning
            When the voxel size is exactly 1.0 angstrom.
        """
        name = str(path).rstrip("/")
        node = open_node(name)
        if isinstance(node, zarr.Array):
            volume = _open_array(name, node, pixel_size_angstrom)
        else:
            volume = _open_image(name, node, pixel_size_angstrom)
        if not 0 <= level < len(volume.levels):
            raise InputError(f"{name} has {len(volume.levels)} levels, there is no level {level}")
        if pixel_size_angstrom is None and volume.grid.voxel_size_angstrom == (1.0, 1.0, 1.0):
            warnings.warn(
                f"{name}: the voxel size is exactly 1.0 angstrom, which often means it was never "
                "set; give --pixel-size if it is something else",
                TrustWarning,
                stacklevel=3,
            )
        return volume if level == 0 else volume.at_level(level)

    def at_level(self, level: int) -> "OmeZarrVolume":
        """Return the same image at another level."""
        changes = {field.name: getattr(self, field.name) for field in fields(self)}
        return OmeZarrVolume(**{**changes, "level": level})

    @property
    def grid(self) -> Grid:
        """Shape, voxel size and position of the level."""
        return self.levels[self.level].grid

    @property
    def shape(self) -> Shape3:
        """Voxels (z, y, x) of the level."""
        return self.grid.shape

    @property
    def random_access(self) -> bool:
        """True: chunks are read one by one."""
        return True

    @property
    def contiguous_axis(self) -> int:
        """x, the axis along which chunks are stored."""
        return 2

    @property
    def slab_axis(self) -> int:
        """Axis of (z, y, x) along which `slabs` goes forward."""
        return 0

    def read(self, region: tuple[slice, ...]) -> npt.NDArray[np.float32]:
        """Read a region as float32 (z, y, x)."""
        array = zarr.open_array(as_store(self.store), path=self.levels[self.level].path, mode="r")
        lead = (0,) * (array.ndim - 3)
        remedy = "take it from a copy, or convert the source again"
        with readable(self.path, region, remedy=remedy, error=InputError):
            return np.ascontiguousarray(array[lead + tuple(region)], dtype=np.float32)

    def slabs(self, thickness: int) -> Iterator[tuple[Region, npt.NDArray[np.float32]]]:
        """Read everything once along z."""
        depth, height, width = self.shape
        for first in range(0, depth, thickness):
            region = (
                slice(first, min(first + thickness, depth)),
                slice(0, height),
                slice(0, width),
            )
            yield region, self.read(region)

    def identity(self) -> dict[str, Any]:
        """Say what decides the content: name, level, and a hash and time of the metadata."""
        return {
            "kind": "zarr",
            "name": self.path.rsplit("/", 1)[-1],
            "level": self.level,
            "shape": list(self.shape),
            "voxel_size_angstrom": list(self.grid.voxel_size_angstrom),
            "metadata_sha256": self.digest,
            "modified_ns": _modified_ns(self.store, self.levels[self.level].path),
        }


def is_zarr(path: str) -> bool:
    """Tell whether a path or URL names a Zarr group or array."""
    if "://" in path:
        return ".zarr" in path
    folder = Path(path)
    if any((folder / marker).is_file() for marker in MARKERS):
        return True
    return folder.suffix == ".zarr" and not folder.is_file()


def open_node(path: str) -> zarr.Array[Any] | zarr.Group:
    """Open a Zarr group or array for reading.

    Raises
    ------
    InputError
        When there is none, or its metadata cannot be read.
    """
    if "://" not in path and not Path(path).exists():
        raise InputError(f"{path} does not exist")
    try:
        return zarr.open(as_store(path), mode="r")
    except _STORE_ERRORS as error:
        reason = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
        raise InputError(f"{path} cannot be opened as Zarr: {reason}") from error


def multiscale_of(attributes: Mapping[str, Any]) -> dict[str, Any] | None:
    """Return the first multiscale image of a group's attributes, 0.4 or 0.5; None without one."""
    ome = attributes.get("ome")
    images = ome.get("multiscales") if isinstance(ome, Mapping) else attributes.get("multiscales")
    if isinstance(images, list) and images and isinstance(images[0], dict):
        return images[0]
    return None


def own_attributes(attributes: Mapping[str, Any]) -> dict[str, Any]:
    """Return what we wrote into the attributes of a group or array."""
    own = attributes.get(OWN)
    return dict(own) if isinstance(own, Mapping) else {}


def describe(grid: Grid, header: MrcHeader | None) -> dict[str, Any]:
    """Put grid and header into attributes, so that an array can be exported on its own."""
    return {
        "grid": json.loads(json.dumps(asdict(grid))),
        "header": None if header is None else json.loads(json.dumps(asdict(header))),
    }


def described(own: Mapping[str, Any]) -> tuple[Grid | None, MrcHeader | None]:
    """Read back what `describe` wrote."""
    grid = own.get("grid")
    header = own.get("header")
    return (
        Grid(**{key: tuple(value) for key, value in grid.items()}) if grid else None,
        header_from_json(header) if header else None,
    )


def header_from_json(values: Mapping[str, Any]) -> MrcHeader:
    """Rebuild a header from its attributes; keys of other versions are left out."""
    known = {field.name for field in fields(MrcHeader)}
    kept: dict[str, Any] = {
        key: tuple(value) if isinstance(value, list) else value
        for key, value in values.items()
        if key in known
    }
    return MrcHeader(**kept)


def _open_image(name: str, group: zarr.Group, pixel_size_angstrom: float | None) -> OmeZarrVolume:
    attributes = dict(group.attrs)
    image = multiscale_of(attributes)
    if image is None:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of folders that are no part of the hierarchy
            arrays = ", ".join(sorted(key for key, _ in group.arrays())) or "none"
        raise InputError(
            f"{name} is a Zarr group without an OME-Zarr image (arrays in it: {arrays}); name one "
            "of its arrays"
        )
    try:
        levels = tuple(_levels(name, group, image, pixel_size_angstrom))
    except InputError:
        raise
    except (KeyError, TypeError, IndexError, AttributeError, ValueError) as error:
        raise InputError(f"{name} has damaged OME-Zarr metadata ({error!r})") from error
    own = own_attributes(attributes)
    statistics = own.get("statistics") or {}
    return OmeZarrVolume(
        path=name,
        store=_absolute(name),
        levels=levels,
        header=described(own)[1],
        halving=str(own.get("halving", "")),
        statistics=tuple((str(key), float(value)) for key, value in statistics.items()),
        digest=_digest(attributes),
    )


def _open_array(
    name: str, array: zarr.Array[Any], pixel_size_angstrom: float | None
) -> OmeZarrVolume:
    """Open an array by itself: a level of an image, one of our results, or a foreign array."""
    parent, _, key = name.rpartition("/")
    if parent and is_zarr(parent):
        group = open_node(parent)
        image = multiscale_of(dict(group.attrs))
        paths = [str(entry.get("path")) for entry in image["datasets"]] if image else []
        if isinstance(group, zarr.Group) and key in paths:
            volume = _open_image(parent, group, pixel_size_angstrom)
            place = paths.index(key)
            return OmeZarrVolume(
                path=name,
                store=volume.store,
                levels=volume.levels[place:],
                header=volume.header,
                digest=volume.digest,
            )
    attributes = dict(array.attrs)
    grid, header = described(own_attributes(attributes))
    shape = _spatial_shape(name, array)
    if pixel_size_angstrom is not None:
        voxel = (pixel_size_angstrom,) * 3
        grid = Grid(
            shape=shape,
            voxel_size_angstrom=voxel,
            origin_angstrom=grid.origin_angstrom if grid else (0.0, 0.0, 0.0),
        )
    if grid is None:
        raise InputError(f"{name} is a Zarr array without a voxel size; give --pixel-size")
    return OmeZarrVolume(
        path=name,
        store=_absolute(name),
        levels=(Level(path="", grid=grid),),
        header=header,
        digest=_digest(attributes),
    )


def _levels(
    name: str, group: zarr.Group, image: Mapping[str, Any], pixel_size_angstrom: float | None
) -> Iterator[Level]:
    units = _units(name, image)
    common = _transform(image.get("coordinateTransformations") or [])
    finest: Float3 | None = None
    for entry in image["datasets"]:
        array = group[entry["path"]]
        if not isinstance(array, zarr.Array):
            raise InputError(f"{name}/{entry['path']} is no array")
        shape = _spatial_shape(f"{name}/{entry['path']}", array)
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
            step = _triple([pixel_size_angstrom * ratio for ratio in ratios])
        if not all(1e-3 <= size <= 1e5 for size in step):
            raise InputError(f"{name} has an unusable scale {step} angstrom; give --pixel-size")
        yield Level(
            path=str(entry["path"]),
            grid=Grid(shape=shape, voxel_size_angstrom=step, origin_angstrom=_triple(origin)),
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
    return _triple(factors)


def _transform(steps: list[Mapping[str, Any]]) -> tuple[Float3 | None, Float3]:
    """Return scale (None when there is none) and translation of the last three axes."""
    scale: Float3 | None = None
    shift: Float3 = (0.0, 0.0, 0.0)
    for step in steps:
        if step.get("type") == "scale":
            scale = _triple(step["scale"][-3:])
        elif step.get("type") == "translation":
            shift = _triple(step["translation"][-3:])
        elif step.get("type") != "identity":
            raise InputError(f"coordinate transformation {step.get('type')!r} is not supported")
    return scale, shift


def _combine(first: Float3, second: Float3, units: Float3) -> Float3:
    return _triple([a * b * u for a, b, u in zip(first, second, units, strict=True)])


def _triple(values: Iterable[Any]) -> Float3:
    a, b, c = (float(value) for value in values)
    return a, b, c


def _spatial_shape(name: str, array: zarr.Array[Any]) -> Shape3:
    if np.dtype(array.dtype).kind not in "biuf":
        raise InputError(f"{name} holds {array.dtype}; a volume holds real numbers")
    if array.ndim < 3 or any(n != 1 for n in array.shape[:-3]) or min(array.shape[-3:]) < 2:
        raise InputError(f"{name} has shape {array.shape}; a volume has three axes z, y, x")
    z, y, x = array.shape[-3:]
    return z, y, x


def _digest(attributes: Mapping[str, Any]) -> str:
    text = json.dumps(attributes, sort_keys=True, default=str)
    return hashlib.sha256(text.encode()).hexdigest()


def _absolute(path: str) -> str:
    """Name a local store from the root, for workers that run in another folder."""
    return path if "://" in path else str(Path(path).absolute())


def _modified_ns(store: str, path: str) -> int:
    """Time of the newest metadata of a local array; 0 for URLs, which tell none."""
    folder = Path(store) / path
    times = [file.stat().st_mtime_ns for name in MARKERS if (file := folder / name).is_file()]
    return max(times, default=0)
