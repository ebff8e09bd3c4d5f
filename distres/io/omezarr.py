"""OME-Zarr images (0.4 and 0.5) and plain Zarr arrays as volumes, local or through fsspec."""

import hashlib
import json
import warnings
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, fields, replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import zarr
from zarr.errors import BaseZarrError

from distres.errors import InputError
from distres.io.damage import first_line, readable
from distres.io.grid import Grid, Region, Shape3, slabs_of, warn_of_unit_voxels
from distres.io.mrc import MrcHeader
from distres.io.ome_levels import Level, levels_of, spatial_shape
from distres.io.stores import as_store

OWN = "distres"  # the one attribute that is ours, on groups and arrays
MARKERS = ("zarr.json", ".zgroup", ".zarray", ".zattrs")
_STORE_ERRORS = (BaseZarrError, OSError, ValueError, KeyError, TypeError, ImportError)


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
        if pixel_size_angstrom is None:
            warn_of_unit_voxels(name, volume.grid)
        return volume if level == 0 else volume.at_level(level)

    def at_level(self, level: int) -> "OmeZarrVolume":
        """Return the same image at another level."""
        return replace(self, level=level)

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
        for region in slabs_of(self.shape, thickness):
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
        raise InputError(f"{path} cannot be opened as Zarr: {first_line(error)}") from error


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
        levels = tuple(levels_of(name, group, image, pixel_size_angstrom))
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
    shape = spatial_shape(name, array)
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
