"""What a method asks of the engine: a function over tiles, its inputs, outputs and row."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt
import zarr

from distres.engine.files import folder_name
from distres.engine.tiles import Region, Tile, TilePlan
from distres.errors import ClusterError
from distres.io.damage import readable
from distres.io.stores import StoreLike, address_of, as_store

Json = None | bool | int | float | str | list["Json"] | dict[str, "Json"]
Array = npt.NDArray[Any]


class Source(Protocol):
    """Something a tile can be read from. It is pickled to workers, so it holds names, not data."""

    @property
    def shape(self) -> tuple[int, ...]:
        """Shape; the last three axes are z, y, x."""
        ...

    def read(self, region: tuple[slice, ...]) -> Array:
        """Read the voxels of `region`: one slice for each of the last axes."""
        ...

    def identity(self) -> dict[str, Json]:
        """Say what decides the content (place, size, time, hash): it goes into the fingerprint."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class ZarrSource:
    """An array of a Zarr store, named by address so that it travels as a few bytes."""

    store: str
    path: str
    shape: tuple[int, ...]
    made_by: str = ""

    @classmethod
    def of(cls, store: StoreLike, path: str) -> "ZarrSource":
        """Name an array that exists."""
        array = zarr.open_array(as_store(store), path=path, mode="r")
        made_by = str(array.attrs.get("made_by", ""))
        return cls(store=address_of(store), path=path, shape=array.shape, made_by=made_by)

    def read(self, region: tuple[slice, ...]) -> Array:
        """Read the voxels of `region`; leading axes that it does not name are read whole."""
        array = zarr.open_array(as_store(self.store), path=self.path, mode="r")
        lead = (slice(None),) * (len(self.shape) - len(region))
        remedy = "take it from a copy, or compute it again"
        if job := array.attrs.get("job"):
            ledger = f"ledger/{folder_name(str(job))}"
            remedy = f"remove {ledger} of that run and go on with --resume: it is made again"
        what = f"{self.path} in {self.store}"
        with readable(what, region, remedy=remedy, error=ClusterError):
            return np.asarray(array[lead + region])

    def identity(self) -> dict[str, Json]:
        """Say place and shape, and for a run's own arrays the fingerprint of what filled them."""
        return {"path": self.path, "shape": list(self.shape), "made_by": self.made_by}


@dataclass(frozen=True, slots=True, kw_only=True)
class OutputSpec:
    """An array that the tiles of a job fill, each its own part.

    Parameters
    ----------
    dtype
        NumPy name of the stored type.
    lead
        Axes before (z, y, x), for instance bands; every tile writes them whole.
    divisor
        One stored voxel for `divisor` plan voxels along every axis (a result on a coarser grid).
        Stored voxel i lies at plan voxel ``i * divisor``; the plan's core must be its multiple.
    fill_value
        What voxels hold that no tile writes.
    """

    dtype: str = "float32"
    lead: tuple[int, ...] = ()
    divisor: int = 1
    fill_value: float = float("nan")

    def region(self, tile: Tile) -> Region:
        """Return where the tile's part lies on the stored grid."""
        d = self.divisor
        z, y, x = (slice(-(-s.start // d), -(-s.stop // d)) for s in tile.core)
        return z, y, x


@dataclass(frozen=True, slots=True, kw_only=True)
class TileInputs:
    """What a tile function reads from."""

    tile: Tile
    sources: Mapping[str, Source]

    def __contains__(self, name: str) -> bool:
        return name in self.sources

    def block(self, name: str) -> Array:
        """Read core plus halo of one input."""
        return self.sources[name].read(self.tile.read)

    def core(self, name: str) -> Array:
        """Read the core alone of one input."""
        return self.sources[name].read(self.tile.core)


@dataclass(frozen=True, slots=True, kw_only=True)
class TileResult:
    """What a tile function gives back.

    Parameters
    ----------
    arrays
        For each output (all or some), the part of the core: ``lead + ceil(core / divisor)``.
    row
        Numbers to reduce over tiles: scalars or small arrays, the same names, dtypes and shapes
        from every tile. Integers and float64 only, so that reductions are exact or `fsum`-ed.
    """

    arrays: Mapping[str, Array] = field(default_factory=dict)
    row: Mapping[str, Any] = field(default_factory=dict)


TileFunction = Callable[[TileInputs, Mapping[str, Any]], TileResult]


@dataclass(frozen=True, slots=True, kw_only=True)
class TileJob:
    """One pass over a volume.

    Parameters
    ----------
    name
        Unique inside a run; names the ledger and shows in progress and errors.
    plan
        The tiles.
    function
        A module-level function ``f(inputs, parameters) -> TileResult``.
    inputs
        Sources by the name the function uses.
    outputs
        Arrays of the run's store by path. They are created before the first tile starts.
    parameters
        JSON values handed to the function; part of the fingerprint.
    version
        Raised when the function's answer changes; part of the fingerprint.
    tiles
        Indices to compute, None for all: tiles without mask are never read.
    bytes_per_voxel
        Working memory of the function per voxel of the block it reads (all inputs together).
    """

    name: str
    plan: TilePlan
    function: TileFunction
    inputs: Mapping[str, Source]
    outputs: Mapping[str, OutputSpec] = field(default_factory=dict)
    parameters: Mapping[str, Any] = field(default_factory=dict)
    version: int = 1
    tiles: tuple[int, ...] | None = None
    bytes_per_voxel: float = 32.0

    @property
    def todo(self) -> tuple[int, ...]:
        """Indices of the tiles that the job computes."""
        return self.tiles if self.tiles is not None else tuple(range(len(self.plan)))
