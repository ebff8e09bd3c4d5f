"""Write any result as an MRC file in the place of the input it came from."""

import logging
from collections.abc import Iterator
from math import prod
from pathlib import Path

import numpy as np
import numpy.typing as npt

from distres.engine.jobs import Source
from distres.io.grid import Grid, Region
from distres.io.mrc import MrcHeader
from distres.io.mrc_write import Statistics, write_mrc
from distres.kernels.extend import cell_means, extend_nearest

logger = logging.getLogger(__name__)

READ_EDGE = 64
READ_BYTES = 1 << 27
# Within this distance of a known voxel the extension is exact whatever the block.
FILL_REACH_VOX = 16
FILL_BLOCK = (64, 64, 512)
MOST_CELLS = 1 << 21

Voxels = npt.NDArray[np.float32]


def export_array(
    source: Source,
    grid: Grid,
    header: MrcHeader | None,
    path: str | Path,
    *,
    lead: tuple[int, ...] = (),
    background: float = 0.0,
    fill: bool = False,
    label: str = "",
    dtype: str = "float32",
    overwrite: bool = False,
) -> Statistics:
    """Stream an array into an MRC file. An MRC file never holds NaN.

    With `fill`, undefined voxels take the value of the nearest defined one, so that a surface at
    the edge of the mask is not coloured by the background. Up to 16 voxels from a defined voxel
    this is exact; farther away, where no surface lies, it is the mean of the nearest cell with
    defined voxels (cells of 8 voxels or more, whichever fits memory). Volumes up to 128 MB are
    exact everywhere.

    Parameters
    ----------
    source
        (..., z, y, x) array: of a run, of an image, or a volume.
    grid, header
        Place of the array, and the header of half 1 that is copied.
    path
        File to write.
    lead
        Which step of the axes before z, y, x; (0, ...) when left out.
    background
        What undefined (NaN) voxels get, and those that `fill` cannot reach.
    fill
        Extend defined values over undefined voxels.
    label, dtype, overwrite
        See `distres.io.mrc_write.write_mrc`.

    Raises
    ------
    OutputExistsError
        The file exists and `overwrite` is false.
    """
    if header is not None and header.extended_bytes:
        logger.info("%s: the source's extended header is not copied", path)
    blocks = _filled(source, grid, lead) if fill else _plain(source, grid, lead)
    finite = (
        (region, np.where(np.isnan(values), np.float32(background), values))
        for region, values in blocks
    )
    return write_mrc(path, grid, header, finite, label=label, dtype=dtype, overwrite=overwrite)


def _read(source: Source, region: tuple[slice, ...], lead: tuple[int, ...]) -> Voxels:
    extra = len(source.shape) - 3
    steps = (*lead, *([0] * extra))[:extra]
    values = source.read((*(slice(step, step + 1) for step in steps), *region))
    return np.asarray(values, dtype=np.float32).reshape(values.shape[extra:])


def _regions(shape: tuple[int, ...], edges: tuple[int, ...]) -> Iterator[Region]:
    for index in np.ndindex(*(-(-n // e) for n, e in zip(shape, edges, strict=True))):
        z, y, x = (
            slice(i * e, min((i + 1) * e, n)) for i, e, n in zip(index, edges, shape, strict=True)
        )
        yield z, y, x


def _plain(source: Source, grid: Grid, lead: tuple[int, ...]) -> Iterator[tuple[Region, Voxels]]:
    """Read in blocks that are whole along x, so that each section is written in one run."""
    rows = READ_BYTES // (4 * READ_EDGE * grid.shape[2]) // READ_EDGE * READ_EDGE
    edges = (READ_EDGE, max(rows, READ_EDGE), grid.shape[2])
    for region in _regions(grid.shape, edges):
        yield region, _read(source, region, lead)


def _filled(source: Source, grid: Grid, lead: tuple[int, ...]) -> Iterator[tuple[Region, Voxels]]:
    if 4 * prod(grid.shape) <= READ_BYTES:
        region = (slice(0, grid.shape[0]), slice(0, grid.shape[1]), slice(0, grid.shape[2]))
        yield region, extend_nearest(_read(source, region, lead))
        return
    edge = 8
    while prod(-(-n // edge) for n in grid.shape) > MOST_CELLS:
        edge *= 2
    cells = extend_nearest(_cells(source, grid, lead, edge))
    for core in _regions(grid.shape, FILL_BLOCK):
        read = tuple(
            slice(max(c.start - FILL_REACH_VOX, 0), min(c.stop + FILL_REACH_VOX, n))
            for c, n in zip(core, grid.shape, strict=True)
        )
        crop = tuple(
            slice(c.start - r.start, c.stop - r.start) for c, r in zip(core, read, strict=True)
        )
        values = extend_nearest(_read(source, read, lead), reach_vox=FILL_REACH_VOX)[crop]
        far = np.isnan(values)
        if far.any():
            index = np.ix_(*(np.arange(c.start, c.stop) // edge for c in core))
            values = np.where(far, cells[index], values)
        yield core, values


def _cells(source: Source, grid: Grid, lead: tuple[int, ...], edge: int) -> Voxels:
    """Average the array over cubic cells, block by block."""
    cells = np.full([-(-n // edge) for n in grid.shape], np.nan, np.float32)
    step = max(edge, READ_EDGE)  # both are powers of two, so blocks hold whole cells
    for region in _regions(grid.shape, (step, step, max(step, 8 * READ_EDGE))):
        place = tuple(slice(s.start // edge, -(-s.stop // edge)) for s in region)
        cells[place] = cell_means(_read(source, region, lead), edge)
    return cells
