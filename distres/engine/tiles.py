"""How a volume is cut: cores that partition it, and what each core must read around itself."""

from collections.abc import Iterator
from dataclasses import dataclass
from math import prod

from distres.errors import UsageError
from distres.io.grid import Region, Shape3

__all__ = ["Region", "Shape3", "Tile", "TilePlan"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Tile:
    """One unit of work: the voxels it answers for and the voxels it reads.

    All slices are (z, y, x) on the plan's grid and lie inside the volume.

    Attributes
    ----------
    index
        Place in the plan's order (C order of the tile grid).
    core
        Voxels this tile writes; cores partition the volume, or the plan's window.
    read
        Core plus halo, clipped to the volume.
    missing
        Per axis, how many halo voxels were clipped before and after: what a kernel that wants the
        full halo everywhere has to invent (reflect, taper, zero).
    """

    index: int
    core: Region
    read: Region
    missing: tuple[tuple[int, int], tuple[int, int], tuple[int, int]]

    @property
    def crop(self) -> Region:
        """Slices that cut the core out of a block that was read with `read`."""
        return tuple(  # type: ignore[return-value]
            slice(c.start - r.start, c.stop - r.start)
            for c, r in zip(self.core, self.read, strict=True)
        )

    @property
    def core_shape(self) -> Shape3:
        """Shape of the core in voxels."""
        z, y, x = (s.stop - s.start for s in self.core)
        return z, y, x


@dataclass(frozen=True, slots=True, kw_only=True)
class TilePlan:
    """The tiles of one volume.

    Parameters
    ----------
    shape
        Volume in voxels (z, y, x).
    core
        Edge lengths of a full core; tiles at the far faces are smaller. The core is also the unit
        in which outputs are stored (their shard), so no two tiles ever write one file.
    halo
        Voxels read beyond the core on every side, per axis.
    window
        Voxels wanted; None for all. Cores are cut to it, and what they store beyond it stays
        unwritten; tiles outside of it must not be computed.

    Raises
    ------
    UsageError
        When a length is not positive or the halo is negative.
    """

    shape: Shape3
    core: Shape3
    halo: Shape3
    window: Region | None = None

    def __post_init__(self) -> None:
        if min(self.shape) < 1 or min(self.core) < 1 or min(self.halo) < 0:
            raise UsageError(
                f"a tile plan needs positive shapes and a halo of 0 or more, not shape {self.shape}"
                f", core {self.core}, halo {self.halo}"
            )

    @classmethod
    def whole(cls, shape: Shape3) -> "TilePlan":
        """Return the plan of one tile that is the whole volume."""
        return cls(shape=shape, core=shape, halo=(0, 0, 0))

    @property
    def counts(self) -> Shape3:
        """Tiles along each axis."""
        z, y, x = (-(-n // c) for n, c in zip(self.shape, self.core, strict=True))
        return z, y, x

    def __len__(self) -> int:
        return prod(self.counts)

    def __iter__(self) -> Iterator[Tile]:
        return (
            self.tile(index)
            for index in range(len(self))
            if all(lo < hi for lo, hi in self._ends(index))
        )

    def _ends(self, index: int) -> list[tuple[int, int]]:
        """Return first voxel and end of a tile's core along each axis, cut to the window."""
        _, ny, nx = self.counts
        place = (index // (ny * nx), index // nx % ny, index % nx)
        windows = self.window or tuple(slice(0, n) for n in self.shape)
        return [
            (max(i * c, window.start), min((i + 1) * c, n, window.stop))
            for i, n, c, window in zip(place, self.shape, self.core, windows, strict=True)
        ]

    def tile(self, index: int) -> Tile:
        """Return the tile at `index` of the plan's order."""
        if not 0 <= index < len(self):
            raise IndexError(f"tile {index} of a plan of {len(self)}")
        core, read, missing = [], [], []
        for (lo, hi), n, h in zip(self._ends(index), self.shape, self.halo, strict=True):
            if lo >= hi:
                raise IndexError(f"tile {index} lies outside the window of its plan")
            first, last = max(lo - h, 0), min(hi + h, n)
            core.append(slice(lo, hi))
            read.append(slice(first, last))
            missing.append((h - (lo - first), h - (last - hi)))
        return Tile(
            index=index,
            core=(core[0], core[1], core[2]),
            read=(read[0], read[1], read[2]),
            missing=(missing[0], missing[1], missing[2]),
        )

    @property
    def read_shape(self) -> Shape3:
        """Largest block any tile reads."""
        wanted = self.shape
        if self.window is not None:
            wanted = tuple(w.stop - w.start for w in self.window)
        z, y, x = (
            min(n, min(c, w) + 2 * h)
            for n, c, h, w in zip(self.shape, self.core, self.halo, wanted, strict=True)
        )
        return z, y, x

    @property
    def overhead(self) -> float:
        """Voxels read divided by voxels of the volume: 1 when nothing is read twice."""
        read = 1
        for n, c, h in zip(self.shape, self.core, self.halo, strict=True):
            # Axes are independent: the sum over tiles of a product is the product of sums.
            read *= sum(min(i + c + h, n) - max(i - h, 0) for i in range(0, n, c))
        return float(read / prod(self.shape))
