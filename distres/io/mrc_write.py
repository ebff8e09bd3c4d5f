"""Write MRC files of any size block by block: one clean form, whatever was read."""

import os
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import date
from math import prod, sqrt
from pathlib import Path
from typing import BinaryIO

import numpy as np
import numpy.typing as npt

from distres import __version__
from distres.errors import InputError, OutputExistsError, UsageError
from distres.io.grid import VOXEL_SIZE_TOLERANCE, Float3, Grid, Region
from distres.io.mrc import HEADER_BYTES, HEADER_DTYPE, Int3, MrcHeader

DTYPES: dict[str, tuple[int, np.dtype[np.floating]]] = {
    "float32": (2, np.dtype("<f4")),
    "float16": (12, np.dtype("<f2")),
}
MRC2014_VERSION = 20141
LABEL_LENGTH = 80

Block = tuple[Region, npt.NDArray[np.floating]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Statistics:
    """Minimum, maximum, mean and standard deviation of the voxels as stored."""

    minimum: float
    maximum: float
    mean: float
    rms: float


def write_mrc(
    path: str | Path,
    grid: Grid,
    header: MrcHeader | None,
    blocks: Iterable[Block],
    *,
    label: str = "",
    dtype: str = "float32",
    overwrite: bool = False,
) -> Statistics:
    """Write a volume that arrives block by block.

    The file appears under its name only when it is whole: it is written beside it and renamed.

    Parameters
    ----------
    path
        ``.mrc``, ``.map`` or any plain name; compressed names are refused.
    grid
        Shape, voxel size and position.
    header
        Source header: NSTART, ORIGIN, and the cell where it gives the grid's voxel size, are
        copied verbatim. None writes the position of `grid` as ORIGIN.
    blocks
        Region (z, y, x) and values; together they cover the volume once, in any order. Blocks
        that are whole along x are written with one call per section.
    label
        Text after ``distres <version> <date>`` in the first label; never put paths there.
    dtype
        ``float32`` (mode 2) or ``float16`` (mode 12).
    overwrite
        Replace an existing file.

    Returns
    -------
    Statistics of the stored values, also written to the header.

    Raises
    ------
    OutputExistsError
        The file exists and `overwrite` is false.
    InputError
        A block holds NaN or infinite values (also after rounding to float16), or voxels are left.
    UsageError
        `dtype` or the name cannot be used.
    """
    target = Path(path)
    if dtype not in DTYPES:
        raise UsageError(f"an MRC file is written as float32 or float16, not {dtype}")
    if target.suffix.lower() in (".gz", ".bz2"):
        raise UsageError(f"{path}: compressed MRC is not written; write .mrc and compress it after")
    if target.exists() and not overwrite:
        raise OutputExistsError(f"{path} exists; give another name or --overwrite")
    mode, stored = DTYPES[dtype]
    with _temporary(target) as file:
        file.truncate(HEADER_BYTES + prod(grid.shape) * stored.itemsize)
        sums = _Sums()
        for region, values in blocks:
            _write_block(file, grid, region, _rounded(values, stored, target), sums)
        if sums.count != prod(grid.shape):
            raise InputError(
                f"{path}: {sums.count} of {prod(grid.shape)} voxels were given; nothing is written"
            )
        statistics = sums.result()
        file.seek(0)
        file.write(build_header(grid, header, mode=mode, statistics=statistics, label=label))
    return statistics


def build_header(
    grid: Grid, header: MrcHeader | None, *, mode: int, statistics: Statistics, label: str = ""
) -> bytes:
    """Return the 1024 bytes of a header: little-endian, axes x, y, z, one volume."""
    x, y, z = reversed(grid.shape)
    nstart, origin, cell, sampling = placement(grid, header)
    record = np.zeros((), HEADER_DTYPE)
    record["extents"] = (x, y, z)
    record["mode"] = mode
    record["nstart"] = nstart
    record["sampling"] = sampling
    record["cell"] = cell
    record["angles"] = 90.0
    record["axes"] = (1, 2, 3)
    record["dmin"], record["dmax"] = statistics.minimum, statistics.maximum
    record["dmean"], record["rms"] = statistics.mean, statistics.rms
    record["ispg"] = 1
    record["nversion"] = MRC2014_VERSION
    record["origin"] = origin
    record["map"] = b"MAP "
    record["stamp"] = (0x44, 0x44, 0, 0)
    labels = _labels(label, header)
    record["nlabl"] = len(labels)
    record["labels"][: len(labels)] = labels
    return record.tobytes()


def placement(grid: Grid, header: MrcHeader | None) -> tuple[Int3, Float3, Float3, Int3]:
    """Return nstart, origin, cell and sampling (x, y, z) that put `grid` where its source lies.

    Same voxel size: everything is copied verbatim. A coarser grid of the same source: ORIGIN is
    copied when it was in use, and otherwise takes over the position that NSTART gave, because
    NSTART counts voxels. Sampling that does not describe a volume (mz = 1) is put right.
    """
    extents: Int3 = (grid.shape[2], grid.shape[1], grid.shape[0])
    sizes = grid.voxel_size_angstrom[::-1]
    cell: Float3 = (sizes[0] * extents[0], sizes[1] * extents[1], sizes[2] * extents[2])
    position: Float3 = (
        grid.origin_angstrom[2],
        grid.origin_angstrom[1],
        grid.origin_angstrom[0],
    )
    if header is None:
        return (0, 0, 0), position, cell, extents
    known = header.voxel_size_angstrom
    same = known is not None and all(
        abs(a - b) <= VOXEL_SIZE_TOLERANCE * b for a, b in zip(known, sizes, strict=True)
    )
    if not same:
        return (0, 0, 0), (position if not any(header.origin) else header.origin), cell, extents
    usable = min(header.sampling) > 0 and not (header.sampling[2] == 1 < extents[2])
    if not usable or header.cell_angstrom == cell:
        return header.nstart, header.origin, cell, extents
    return header.nstart, header.origin, header.cell_angstrom, header.sampling


class _Sums:
    """Moments that merge block by block without losing digits (Chan et al. 1979)."""

    def __init__(self) -> None:
        self.count = 0
        self.mean = 0.0
        self.squares = 0.0
        self.minimum = np.inf
        self.maximum = -np.inf

    def add(self, values: npt.NDArray[np.floating]) -> None:
        wide = values.astype(np.float64)
        count, mean = wide.size, float(wide.mean())
        wide -= mean
        squares = float(np.vdot(wide, wide))
        total = self.count + count
        shift = mean - self.mean
        self.squares += squares + shift * shift * self.count * count / total
        self.mean += shift * count / total
        self.count = total
        self.minimum = min(self.minimum, float(values.min()))
        self.maximum = max(self.maximum, float(values.max()))

    def result(self) -> Statistics:
        return Statistics(
            minimum=self.minimum,
            maximum=self.maximum,
            mean=self.mean,
            rms=sqrt(self.squares / self.count),
        )


def _rounded(
    values: npt.NDArray[np.floating], stored: np.dtype[np.floating], path: Path
) -> npt.NDArray[np.floating]:
    with np.errstate(over="ignore"):
        rounded = np.ascontiguousarray(values, dtype=stored)
    if not np.isfinite(rounded).all():
        if np.isfinite(values).all():
            largest = float(np.abs(values).max())
            raise InputError(
                f"{path}: values up to {largest:g} do not fit {stored.name}; write float32"
            )
        raise InputError(f"{path}: NaN or infinite values cannot be written to an MRC file")
    return rounded


def _write_block(
    file: BinaryIO, grid: Grid, region: Region, values: npt.NDArray[np.floating], sums: _Sums
) -> None:
    """Write one block: a run per section when it is whole along x, else a run per row."""
    _, height, width = grid.shape
    sections, rows, columns = (s.indices(n) for s, n in zip(region, grid.shape, strict=True))
    shape = (sections[1] - sections[0], rows[1] - rows[0], columns[1] - columns[0])
    if values.shape != shape:
        raise InputError(f"a block of shape {values.shape} was given for a region of {shape}")
    for i, section in enumerate(range(sections[0], sections[1])):
        runs = [values[i]] if shape[2] == width else list(values[i])
        for j, run in enumerate(runs):
            voxel = (section * height + rows[0] + j) * width + columns[0]
            file.seek(HEADER_BYTES + voxel * values.itemsize)
            file.write(run.tobytes())
    sums.add(values)


def _labels(label: str, header: MrcHeader | None) -> list[bytes]:
    """Return our label and those of the source, at most ten, none blank."""
    own = f"distres {__version__} {label} {date.today().isoformat()}".replace("  ", " ")
    texts = [own, *(header.labels if header else ())][:10]
    return [text.encode("ascii", "replace")[:LABEL_LENGTH] for text in texts]


@contextmanager
def _temporary(target: Path) -> Iterator[BinaryIO]:
    """Open a file beside `target` that takes its name when all went well."""
    partial = target.with_name(f".{target.name}.{os.getpid()}.partial")
    try:
        with partial.open("wb") as file:
            yield file
        partial.replace(target)
    except FileNotFoundError:
        raise InputError(f"{target} cannot be written: its folder does not exist") from None
    finally:
        with suppress(FileNotFoundError):
            partial.unlink()
