"""Write any result as an MRC file in the place of the input it came from."""

import logging
from collections.abc import Iterator
from dataclasses import dataclass
from math import prod
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from distres.engine.jobs import Json, Source, ZarrSource
from distres.engine.rehearsal import Rehearsal, Repeated, current
from distres.io.grid import Grid, Region
from distres.io.mrc import MrcHeader
from distres.io.mrc_write import Statistics, write_mrc
from distres.kernels.extend import cell_means, extend_nearest

logger = logging.getLogger(__name__)

READ_EDGE = 64
READ_BYTES = 1 << 27
# Within this distance of a known voxel the extension is the same whatever the block.
FILL_REACH_VOX = 16
# Volumes of so many voxels are extended exactly, larger ones by cubes of two.
FILL_EXACTLY = 128**3
FILL_CELL_VOX = 2
FILL_BLOCK = (64, 64, 512)
MOST_CELLS = 1 << 21
# A rehearsal writes at least so many blocks, spread over the volume.
FEWEST_BLOCKS = 8

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
    the edge of the mask is not coloured by the background. In volumes above 128^3 what is nearest
    is looked for among cubes of two; above 128 MB and farther than 16 voxels from a defined voxel,
    where no surface lies, it is the mean of the nearest cell with defined voxels (cells of 8 voxels
    or more, whichever fits memory).

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
    rehearsal = current()
    if rehearsal is not None:
        source = _as_masked(source, rehearsal)
        every = _count_blocks(grid, fill=fill) // FEWEST_BLOCKS
        if every > 1:
            with rehearsal.scaled(every):
                return _write_some(_blocks(source, grid, lead, fill=fill, every=every), path)
    finite = (
        (region, np.where(np.isnan(values), np.float32(background), values))
        for region, values in _blocks(source, grid, lead, fill=fill)
    )
    return write_mrc(path, grid, header, finite, label=label, dtype=dtype, overwrite=overwrite)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Masked:
    """A result of a rehearsal, undefined where the real one will be."""

    source: Source
    cells: npt.NDArray[np.bool_]
    edge: int

    @property
    def shape(self) -> tuple[int, ...]:
        return self.source.shape

    def read(self, region: tuple[slice, ...]) -> npt.NDArray[Any]:
        values = self.source.read(region)
        axes = zip(region[-3:], self.shape[-3:], strict=True)
        index = np.ix_(*(np.arange(*part.indices(n)) // self.edge for part, n in axes))
        return np.where(self.cells[index], values, np.nan)

    def identity(self) -> dict[str, Json]:
        return self.source.identity()


def _as_masked(source: Source, rehearsal: Rehearsal) -> Source:
    if not isinstance(source, Repeated) or not rehearsal.guide:
        return source
    try:
        guide = ZarrSource.of(source.store, rehearsal.guide)
    except FileNotFoundError:
        return source
    cells = np.asarray(guide.read((slice(None),) * 3)) > 0
    return _Masked(source=source, cells=cells, edge=rehearsal.guide_divisor)


def _write_some(blocks: Iterator[tuple[Region, Voxels]], path: str | Path) -> Statistics:
    with Path(path).open("wb") as file:
        for _, values in blocks:
            file.write(np.nan_to_num(values).tobytes())
    return Statistics(minimum=0.0, maximum=0.0, mean=0.0, rms=0.0)


def _read(source: Source, region: tuple[slice, ...], lead: tuple[int, ...]) -> Voxels:
    extra = len(source.shape) - 3
    steps = (*lead, *([0] * extra))[:extra]
    values = source.read((*(slice(step, step + 1) for step in steps), *region))
    return np.asarray(values, dtype=np.float32).reshape(values.shape[extra:])


def _regions(shape: tuple[int, ...], edges: tuple[int, ...], every: int = 1) -> Iterator[Region]:
    """Cut a volume into blocks, and give all, or one of every few."""
    counts = [-(-n // e) for n, e in zip(shape, edges, strict=True)]
    for number, index in enumerate(np.ndindex(*counts)):
        if number % every != every // 2:
            continue
        z, y, x = (
            slice(i * e, min((i + 1) * e, n)) for i, e, n in zip(index, edges, shape, strict=True)
        )
        yield z, y, x


def _blocks(
    source: Source, grid: Grid, lead: tuple[int, ...], *, fill: bool, every: int = 1
) -> Iterator[tuple[Region, Voxels]]:
    if fill:
        return _filled(source, grid, lead, every)
    return _plain(source, grid, lead, every)


def _count_blocks(grid: Grid, *, fill: bool) -> int:
    edges = FILL_BLOCK if fill else _plain_edges(grid)
    return prod(-(-n // e) for n, e in zip(grid.shape, edges, strict=True))


def _plain_edges(grid: Grid) -> tuple[int, int, int]:
    """Read in blocks that are whole along x, so that each section is written in one run."""
    rows = READ_BYTES // (4 * READ_EDGE * grid.shape[2]) // READ_EDGE * READ_EDGE
    return READ_EDGE, max(rows, READ_EDGE), grid.shape[2]


def _plain(
    source: Source, grid: Grid, lead: tuple[int, ...], every: int
) -> Iterator[tuple[Region, Voxels]]:
    for region in _regions(grid.shape, _plain_edges(grid), every):
        yield region, _read(source, region, lead)


def _filled(
    source: Source, grid: Grid, lead: tuple[int, ...], every: int
) -> Iterator[tuple[Region, Voxels]]:
    cell = 1 if prod(grid.shape) <= FILL_EXACTLY else FILL_CELL_VOX
    if 4 * prod(grid.shape) <= READ_BYTES:
        region = (slice(0, grid.shape[0]), slice(0, grid.shape[1]), slice(0, grid.shape[2]))
        yield region, extend_nearest(_read(source, region, lead), cell_vox=cell)
        return
    edge = 8
    while prod(-(-n // edge) for n in grid.shape) > MOST_CELLS:
        edge *= 2
    cells = extend_nearest(_cells(source, grid, lead, edge, every))
    for core in _regions(grid.shape, FILL_BLOCK, every):
        read = tuple(
            slice(max(c.start - FILL_REACH_VOX, 0), min(c.stop + FILL_REACH_VOX, n))
            for c, n in zip(core, grid.shape, strict=True)
        )
        crop = tuple(
            slice(c.start - r.start, c.stop - r.start) for c, r in zip(core, read, strict=True)
        )
        block = _read(source, read, lead)
        values = extend_nearest(block, reach_vox=FILL_REACH_VOX, cell_vox=cell)[crop]
        far = np.isnan(values)
        if far.any():
            index = np.ix_(*(np.arange(c.start, c.stop) // edge for c in core))
            values = np.where(far, cells[index], values)
        yield core, values


def _cells(source: Source, grid: Grid, lead: tuple[int, ...], edge: int, every: int) -> Voxels:
    """Average the array over cubic cells, block by block."""
    cells = np.full([-(-n // edge) for n in grid.shape], np.nan, np.float32)
    step = max(edge, READ_EDGE)  # both are powers of two, so blocks hold whole cells
    for region in _regions(grid.shape, (step, step, max(step, 8 * READ_EDGE)), every):
        place = tuple(slice(s.start // edge, -(-s.stop // edge)) for s in region)
        cells[place] = cell_means(_read(source, region, lead), edge)
    return cells
