"""MRC and CCP4 files as volumes: regions of plain files, streams of compressed ones."""

import hashlib
import logging
from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache
from math import prod
from pathlib import Path
from typing import IO, Any

import numpy as np
import numpy.typing as npt

from distres.errors import InputError
from distres.io.grid import Grid, Region, Shape3, warn_of_unit_voxels
from distres.io.mrc import HEADER_BYTES, REFUSED_MODES, MrcHeader
from distres.io.mrc_bytes import check_end, open_stream, read_exactly, read_stored, skip
from distres.io.mrc_parse import check_length, parse_header

logger = logging.getLogger(__name__)

STACK_SUFFIXES = (".mrcs", ".st")
COMPRESSED_SUFFIXES = (".gz", ".bz2")
# A compressed file is read at random only when its voxels fit here, once per process.
CACHE_BYTES = 1 << 30
ANGLE_TOLERANCE_DEGREES = 0.1


@dataclass(frozen=True, slots=True, kw_only=True)
class MrcVolume:
    """A volume in an MRC or CCP4 file, read region by region without loading it.

    Attributes
    ----------
    path
        The file as the user named it.
    location
        The file from the root, for workers that run in another folder.
    grid
        Shape, voxel size and position, (z, y, x).
    header
        What the file says, with the voxel size put right when the caller gave one.
    compression
        ``gz``, ``bz2`` or empty.
    digest
        SHA-256 of the header, for fingerprints.
    """

    path: str
    location: str
    grid: Grid
    header: MrcHeader
    compression: str = ""
    digest: str = ""

    @classmethod
    def open(cls, path: str | Path, *, pixel_size_angstrom: float | None = None) -> "MrcVolume":
        """Read the header and make sure the file can be used as a volume.

        Parameters
        ----------
        path
            Local file, plain or compressed with gzip or bzip2 (told by content, not by name).
        pixel_size_angstrom
            Replaces the voxel size of the header.

        Raises
        ------
        InputError
            When the file cannot be used, with the reason.

        Warns
        -----
        TrustWarning
            When the voxel size is exactly 1.0, which many programs write for "unknown".
        """
        header, compression, digest = read_header(path)
        reason = why_not_a_volume(header, path=str(path))
        if reason:
            raise InputError(f"{path} {reason}")
        try:
            grid = header.grid(pixel_size_angstrom)
        except InputError as error:
            raise InputError(f"{path}: {error}") from None
        if pixel_size_angstrom is not None:
            header = header.with_pixel_size(pixel_size_angstrom)
        elif not _is_ours(header):
            warn_of_unit_voxels(str(path), grid)
        for notice in header.notices:
            logger.info("%s: %s", path, notice)
        return cls(
            path=str(path),
            location=str(Path(path).absolute()),
            grid=grid,
            header=header,
            compression=compression,
            digest=digest,
        )

    @property
    def shape(self) -> Shape3:
        """Voxels (z, y, x)."""
        return self.grid.shape

    @property
    def random_access(self) -> bool:
        """Whether regions can be read in any order at the cost of the region alone."""
        return not self.compression

    @property
    def contiguous_axis(self) -> int:
        """Axis of (z, y, x) along which neighbours lie next to each other on disk."""
        return 3 - self.header.axes[0]

    @property
    def slab_axis(self) -> int:
        """Axis of (z, y, x) along which `slabs` goes forward."""
        return 3 - self.header.axes[2]

    def read(self, region: tuple[slice, ...]) -> npt.NDArray[np.float32]:
        """Read a region (z, y, x) as float32.

        Raises
        ------
        InputError
            When the file is compressed and too large to hold, or became shorter.
        """
        stored = self._stored_region(region)
        if self.compression:
            values = self._cached()[stored]
        else:
            values = read_stored(Path(self.location), self.header, stored)
        return self._in_order(values)

    def slabs(self, thickness: int) -> Iterator[tuple[Region, npt.NDArray[np.float32]]]:
        """Read the volume once from its first byte to its last.

        Parameters
        ----------
        thickness
            Voxels along the axis that varies slowest on disk.

        Yields
        ------
        Region (z, y, x) and its voxels as float32.
        """
        sections = self.header.extents[2]
        stream = open_stream(Path(self.location), self.compression) if self.compression else None
        if stream is not None:
            skip(stream, self.header.data_offset, self.path)
        try:
            for first in range(0, sections, thickness):
                last = min(first + thickness, sections)
                region = self._slab_region(first, last)
                if stream is None:
                    yield region, self.read(region)
                else:
                    yield region, self._in_order(self._next_sections(stream, first, last))
            if stream is not None:
                check_end(stream, self.path)
        finally:
            if stream is not None:
                stream.close()

    def identity(self) -> dict[str, Any]:
        """Say what decides the content: name, size, modification time and header hash."""
        status = Path(self.location).stat()
        return {
            "kind": "mrc",
            "name": Path(self.location).name,
            "bytes": status.st_size,
            "modified_ns": status.st_mtime_ns,
            "header_sha256": self.digest,
            "voxel_size_angstrom": list(self.grid.voxel_size_angstrom),
        }

    def _stored_region(self, region: tuple[slice, ...]) -> Region:
        """Reorder a region to sections, rows, columns."""
        bounds = [slice(*s.indices(n)[:2]) for s, n in zip(region, self.grid.shape, strict=True)]
        columns, rows, sections = (bounds[3 - axis] for axis in self.header.axes)
        return sections, rows, columns

    def _slab_region(self, first: int, last: int) -> Region:
        bounds = [slice(0, n) for n in self.grid.shape]
        bounds[self.slab_axis] = slice(first, last)
        return bounds[0], bounds[1], bounds[2]

    def _in_order(self, values: npt.NDArray[Any]) -> npt.NDArray[np.float32]:
        """Turn sections, rows, columns into float32 z, y, x."""
        columns, rows, sections = self.header.axes
        place = {sections: 0, rows: 1, columns: 2}
        ordered = np.transpose(values, (place[3], place[2], place[1]))
        return np.ascontiguousarray(ordered, dtype=np.float32)

    def _next_sections(self, stream: IO[bytes], first: int, last: int) -> npt.NDArray[Any]:
        columns, rows, _ = self.header.extents
        count = (last - first) * rows * columns * self.header.dtype.itemsize
        raw = read_exactly(stream, count, self.path)
        if len(raw) < count:
            before = first * rows * columns * self.header.dtype.itemsize + self.header.data_offset
            check_length(self.header, name=self.path, stored_bytes=before + len(raw))
        return np.frombuffer(raw, self.header.dtype).reshape(last - first, rows, columns)

    def _cached(self) -> npt.NDArray[Any]:
        if self.header.data_bytes > CACHE_BYTES:
            raise InputError(
                f"{self.path} is compressed and holds {self.header.data_bytes} bytes, too many to "
                f"unpack in memory (limit {CACHE_BYTES}); unpack it, or distres convert it first"
            )
        status = Path(self.location).stat()
        return _unpack(self, status.st_mtime_ns)


def read_header(path: str | Path) -> tuple[MrcHeader, str, str]:
    """Read a header, plain or compressed.

    Returns
    -------
    The header, the compression (``gz``, ``bz2`` or empty) and the SHA-256 of the header bytes.

    Raises
    ------
    InputError
        When the file cannot be read or is no MRC file.
    """
    file = Path(path)
    try:
        with file.open("rb") as stream:
            magic = stream.read(3)
        compression = "gz" if magic[:2] == b"\x1f\x8b" else "bz2" if magic == b"BZh" else ""
        with open_stream(file, compression) as stream:
            raw = read_exactly(stream, HEADER_BYTES, str(path))
        size = None if compression else file.stat().st_size
    except FileNotFoundError:
        raise InputError(f"{path} does not exist") from None
    except OSError as error:
        raise InputError(f"{path} cannot be read: {error.strerror or error}") from None
    header = parse_header(raw, name=str(path), stored_bytes=size)
    return header, compression, hashlib.sha256(raw).hexdigest()


def why_not_a_volume(header: MrcHeader, *, path: str = "") -> str | None:
    """Say why a readable file cannot be used as a density map, or None when it can.

    ISPG 0 alone is no reason: old tomograms and much software carry it on true volumes.
    """
    if header.mode in REFUSED_MODES:
        return f"holds {REFUSED_MODES[header.mode]} (mode {header.mode}), not a density map"
    x, y, z = header.extents_xyz
    if header.space_group >= 401:
        depth = header.sampling[2]
        count = z // depth if depth > 0 else 1
        return (
            f"is a stack of {count} volumes (ispg {header.space_group}, {z} sections); write the "
            "one you want to its own file"
        )
    if _plain_suffix(path) in STACK_SUFFIXES:
        return (
            f"is an image stack by its name ({_plain_suffix(path)}, {z} sections); rename it to "
            ".mrc if it is a volume"
        )
    if min(x, y, z) == 1:
        return f"is a single image or line ({x} x {y} x {z}), not a volume"
    if any(abs(angle - 90.0) > ANGLE_TOLERANCE_DEGREES for angle in header.angles_degrees):
        angles = ", ".join(f"{angle:g}" for angle in header.angles_degrees)
        return (
            f"has a cell with angles {angles}; only boxes with right angles can be used, so "
            "resample it first"
        )
    return None


def _is_ours(header: MrcHeader) -> bool:
    """Tell whether we wrote the file: its voxel size is meant, whatever it is."""
    return any(label.startswith("distres ") for label in header.labels)


def _plain_suffix(path: str) -> str:
    file = Path(path.lower())
    return file.with_suffix("").suffix if file.suffix in COMPRESSED_SUFFIXES else file.suffix


@lru_cache(maxsize=2)
def _unpack(volume: MrcVolume, modified_ns: int) -> npt.NDArray[Any]:
    """Unpack a small compressed file; the modification time makes a changed file a new entry."""
    columns, rows, sections = volume.header.extents
    logger.debug("unpacking %s (%s), %d voxels", volume.path, modified_ns, prod(volume.shape))
    with open_stream(Path(volume.location), volume.compression) as stream:
        skip(stream, volume.header.data_offset, volume.path)
        values = volume._next_sections(stream, 0, sections)
        check_end(stream, volume.path)
    return values.reshape(sections, rows, columns)
