"""Masks: made from the maps when none is given, checked when one is, and known tile by tile.

An automatic mask is found on a coarse level of the pyramid, where threshold and connected
components are exact in memory, and drawn at full resolution tile by tile. The mask always lies
in the run's store, beside a coarse occupancy that tells which tiles of any plan hold none of it.
"""

import logging
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from math import prod
from typing import Any

import numpy as np
import numpy.typing as npt
import zarr

from distres.engine.cluster import Executor
from distres.engine.jobs import OutputSpec, Source, TileJob, ZarrSource
from distres.engine.planner import plan_tiles
from distres.engine.run import Run
from distres.engine.runner import Table, output, run_job
from distres.engine.tiles import Tile, TilePlan
from distres.errors import InputError, UsageError
from distres.io.grid import Grid, require_same_grid
from distres.io.volume import Volume
from distres.kernels.masks import halo_vox
from distres.kernels.particle import Search, find_particle
from distres.methods.mask_tiles import (
    MASK,
    OCCUPANCY,
    OCCUPANCY_DIVISOR,
    check_tile,
    soften_tile,
)
from distres.methods.pyramid import ingest

logger = logging.getLogger(__name__)

# Longest edge of the level on which the particle is found: the search of 256^3 voxels takes 0.6 GB
# (measured: 24 bytes a voxel and the two inputs), whatever the size of the volume.
SEARCH_EDGE_VOX = 256
FIELD = "mask_field"
_FACES = ("first z", "last z", "first y", "last y", "first x", "last x")
_SMALL, _LARGE = 1e-3, 0.8


@dataclass(frozen=True, slots=True, kw_only=True)
class MaskParameters:
    """How an automatic mask is made; lengths are in angstrom.

    Attributes
    ----------
    resolution_angstrom
        Low-pass of the search; None takes 15 angstrom, or four voxels of the level searched when
        that is more.
    false_positive_level
        Probability that noise alone passes the threshold anywhere in the box.
    density_fraction
        Fraction of the particle's median density at which its surface is drawn.
    component_fraction
        Smallest region kept, as a fraction of the largest.
    fill_holes
        Whether closed hollows belong to the mask.
    dilation_angstrom
        Growth beyond the surface; None takes 2 angstrom or one voxel, whichever is more.
    edge_angstrom
        Width of the raised cosine; None takes 5 voxels.
    """

    resolution_angstrom: float | None = None
    false_positive_level: float = 0.01
    density_fraction: float = 0.3
    component_fraction: float = 0.1
    fill_holes: bool = False
    dilation_angstrom: float | None = None
    edge_angstrom: float | None = None

    def __post_init__(self) -> None:
        for name in ("false_positive_level", "density_fraction", "component_fraction"):
            value = getattr(self, name)
            if not 0 < value < 1:
                raise UsageError(f"{name} must lie between 0 and 1, not at {value}")
        if self.resolution_angstrom is not None and not self.resolution_angstrom > 0:
            raise UsageError(
                f"the mask's low-pass must be positive, not {self.resolution_angstrom} angstrom"
            )
        for name in ("dilation_angstrom", "edge_angstrom"):
            value = getattr(self, name)
            if value is not None and not value >= 0:
                raise UsageError(f"{name} must be 0 or more, not {value}")

    def resolved(self, grid: Grid, factor: int) -> "MaskParameters":
        """Fill in what depends on the voxel size; `factor` is the search level's."""
        voxel = max(grid.voxel_size_angstrom)
        return MaskParameters(
            resolution_angstrom=self.resolution_angstrom or max(15.0, 4 * voxel * factor),
            false_positive_level=self.false_positive_level,
            density_fraction=self.density_fraction,
            component_fraction=self.component_fraction,
            fill_holes=self.fill_holes,
            dilation_angstrom=max(2.0, voxel)
            if self.dilation_angstrom is None
            else self.dilation_angstrom,
            edge_angstrom=5 * voxel if self.edge_angstrom is None else self.edge_angstrom,
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class MaskResult:
    """A mask in the run's store.

    Attributes
    ----------
    source
        The mask, (z, y, x) float32 in [0, 1] on the grid of half 1.
    occupancy
        (z, y, x) float32 on a grid coarser by `OCCUPANCY_DIVISOR`: the largest mask value of
        each cell. See `occupied_tiles`.
    kind
        ``particle``, ``existing``, ``everything`` (see `distres.kernels.particle`) or ``given``.
    threshold
        Density of the low-passed map at the surface; None for a given mask.
    statistics
        Fractions of the box and how the mask was found, as JSON values.
    parameters
        Resolved parameters, as JSON values.
    warnings
        What a reader must know before trusting the mask, one sentence each.
    """

    source: ZarrSource
    occupancy: ZarrSource
    kind: str
    threshold: float | None
    statistics: dict[str, Any] = field(default_factory=dict)
    parameters: dict[str, Any] = field(default_factory=dict)
    warnings: tuple[str, ...] = ()

    @property
    def path(self) -> str:
        """Where the mask lies in the run's store."""
        return self.source.path

    def tiles(self, plan: TilePlan) -> tuple[int, ...]:
        """Return the tiles of `plan` whose core may hold mask: the only ones worth computing."""
        return occupied_tiles(self.occupancy, plan)


def search_level(shape: tuple[int, int, int]) -> int:
    """Return the first level whose longest edge is at most `SEARCH_EDGE_VOX`."""
    level = 0
    while -(-max(shape) // 2**level) > SEARCH_EDGE_VOX:
        level += 1
    return level


def auto_mask(
    half1_levels: Sequence[Source],
    half2_levels: Sequence[Source] | None,
    grid: Grid,
    run: Run,
    executor: Executor,
    parameters: MaskParameters | None = None,
    *,
    tile: int | None = None,
) -> MaskResult:
    """Make a mask from half maps, or from one map, of any size.

    Parameters
    ----------
    half1_levels, half2_levels
        Pyramids: level l holds one voxel for ``2**l`` voxels of level 0 along every axis, voxel i
        on level-0 voxel ``i * 2**l``. They must reach `search_level` of the shape. Without half 2
        the noise is judged from the solvent alone.
    grid
        Grid of level 0.
    run
        Gets the arrays ``mask`` and ``mask_occupancy``.
    executor
        Where the tiles are drawn; the search runs in this process.
    parameters
        None for the defaults.
    tile
        Core edge in voxels, overriding the planner.

    Raises
    ------
    InputError
        No particle stands out, or the map is constant or not finite.
    """
    level = search_level(grid.shape)
    if len(half1_levels) <= level:
        raise UsageError(
            f"the mask is found on level {level} of the pyramid but only {len(half1_levels)} "
            "levels were given; build more levels"
        )
    factor = 2**level
    settings = (parameters or MaskParameters()).resolved(grid, factor)
    mean, half_difference = _read_level(half1_levels, half2_levels, level)
    found = find_particle(
        mean,
        half_difference,
        grid.coarser(factor).voxel_size_angstrom,
        Search(
            resolution_angstrom=settings.resolution_angstrom or 0.0,
            false_positive_level=settings.false_positive_level,
            density_fraction=settings.density_fraction,
            component_fraction=settings.component_fraction,
            fill_holes=settings.fill_holes,
        ),
    )
    zarr.create_array(run.store, name=FIELD, data=found.field, chunks="auto", overwrite=True)
    job = _soften_job(run, grid, factor, settings, executor, tile)
    table = run_job(job, run=run, executor=executor)
    statistics = _statistics(table, grid)
    everything = found.kind == "everything"
    return MaskResult(
        source=output(run, MASK),
        occupancy=output(run, OCCUPANCY),
        kind=found.kind,
        threshold=float(found.statistics["threshold"] or 0.0),
        statistics={**statistics, **found.statistics, "search_level": level},
        parameters=asdict(settings),
        warnings=(*found.warnings, *(() if everything else _box_warnings(statistics))),
    )


def load_mask(
    volume: Volume, grid: Grid, run: Run, executor: Executor, *, tile: int | None = None
) -> MaskResult:
    """Check a given mask and bring it into the run's store.

    Parameters
    ----------
    volume
        The mask, binary or soft, on `grid`.
    grid
        Grid of half 1.
    run, executor, tile
        As in `auto_mask`.

    Raises
    ------
    InputError
        The mask lies on another grid, is empty, or holds values outside [0, 1].
    """
    require_same_grid(grid, volume.grid, names=("the map", "the mask"))
    streamed = not volume.random_access
    mask: Source = ingest(volume, run, MASK, executor)[0] if streamed else volume
    plan = plan_tiles(
        grid.shape,
        halo=(0, 0, 0),
        bytes_per_voxel=24,
        memory_bytes=executor.memory_bytes,
        workers=executor.workers,
        tile=tile,
        multiple=OCCUPANCY_DIVISOR,
        run=run,
    )
    job = TileJob(
        name="check_mask",
        plan=plan,
        function=check_tile,
        inputs={"mask": mask},
        outputs={OCCUPANCY: _outputs()[OCCUPANCY]} if streamed else _outputs(),
        parameters={"shape": list(grid.shape), "store": not streamed},
        bytes_per_voxel=24,
    )
    table = run_job(job, run=run, executor=executor)
    _refuse_bad_values(volume.path, table)
    statistics = _statistics(table, grid)
    return MaskResult(
        source=mask if isinstance(mask, ZarrSource) else output(run, MASK),
        occupancy=output(run, OCCUPANCY),
        kind="given",
        threshold=None,
        statistics=statistics,
        parameters={"path": volume.path},
        warnings=_box_warnings(statistics),
    )


def occupied_tiles(occupancy: Source, plan: TilePlan) -> tuple[int, ...]:
    """Return the tiles of `plan` whose core may hold non-zero mask.

    A tile is left out only when every occupancy cell that its core touches is zero, so no masked
    voxel is ever missed, whatever the plan's core.
    """
    cells = np.asarray(occupancy.read((slice(None),) * 3)) > 0
    return tuple(tile.index for tile in plan if _touched(cells, tile))


def _touched(cells: npt.NDArray[np.bool_], tile: Tile) -> bool:
    d = OCCUPANCY_DIVISOR
    z, y, x = (slice(s.start // d, -(-s.stop // d)) for s in tile.core)
    return bool(cells[z, y, x].any())


def _read_level(
    half1_levels: Sequence[Source], half2_levels: Sequence[Source] | None, level: int
) -> tuple[npt.NDArray[np.float32], npt.NDArray[np.float32] | None]:
    whole = (slice(None),) * 3
    first = np.asarray(half1_levels[level].read(whole), dtype=np.float32)
    if half2_levels is None:
        return first, None
    second = np.asarray(half2_levels[level].read(whole), dtype=np.float32)
    half_difference = first - second
    half_difference *= np.float32(0.5)
    return first - half_difference, half_difference


def _outputs() -> dict[str, OutputSpec]:
    return {
        MASK: OutputSpec(fill_value=0.0),
        OCCUPANCY: OutputSpec(fill_value=0.0, divisor=OCCUPANCY_DIVISOR),
    }


def _soften_job(
    run: Run,
    grid: Grid,
    factor: int,
    settings: MaskParameters,
    executor: Executor,
    tile: int | None,
) -> TileJob:
    dilation, edge = settings.dilation_angstrom or 0.0, settings.edge_angstrom or 0.0
    # The exact distance transform holds three int32 indices and as many float64 differences.
    bytes_per_voxel = 64.0
    plan = plan_tiles(
        grid.shape,
        halo=halo_vox(dilation + edge, grid.voxel_size_angstrom),
        bytes_per_voxel=bytes_per_voxel,
        memory_bytes=executor.memory_bytes,
        workers=executor.workers,
        tile=tile,
        multiple=OCCUPANCY_DIVISOR,
        run=run,
    )
    return TileJob(
        name="draw_mask",
        plan=plan,
        function=soften_tile,
        inputs={"field": output(run, FIELD)},
        outputs=_outputs(),
        parameters={
            **asdict(settings),
            "factor": factor,
            "voxel_size_angstrom": list(grid.voxel_size_angstrom),
            "shape": list(grid.shape),
        },
        bytes_per_voxel=bytes_per_voxel,
    )


def _statistics(table: Table, grid: Grid) -> dict[str, Any]:
    voxels = prod(grid.shape)
    inside = int(table.sum("inside_vox"))
    faces = [int(n) for n in table.sum("face_vox")]
    return {
        "fraction": inside / voxels,
        "inside_vox": inside,
        "volume_angstrom3": inside * prod(grid.voxel_size_angstrom),
        "nonzero_fraction": int(table.sum("nonzero_vox")) / voxels,
        "mean": float(table.sum("weight")) / voxels,
        "binary": int(table.sum("between_vox")) == 0,
        "touches": [name for name, n in zip(_FACES, faces, strict=True) if n],
    }


def _refuse_bad_values(path: str, table: Table) -> None:
    low, high = float(table.columns["minimum"].min()), float(table.columns["maximum"].max())
    if int(table.sum("not_finite_vox")):
        raise InputError(f"the mask {path} holds values that are not finite; repair it")
    if low < 0 or high > 1:
        raise InputError(
            f"the mask {path} holds values from {low:g} to {high:g}; a mask lies between 0 and 1: "
            "is it a map?"
        )
    if high == 0:
        raise InputError(f"the mask {path} is empty (all voxels are 0); give another mask")


def _box_warnings(statistics: dict[str, Any]) -> tuple[str, ...]:
    found = []
    if statistics["touches"]:
        found.append(
            f"the mask touches the box edge ({', '.join(statistics['touches'])}): values there "
            "come from windows that reach outside the data"
        )
    fraction = statistics["fraction"]
    if fraction < _SMALL:
        found.append(f"the mask covers {100 * fraction:.3g} % of the box: is it the right one?")
    if fraction > _LARGE:
        found.append(
            f"the mask covers {100 * fraction:.0f} % of the box: little solvent is left outside"
        )
    return tuple(found)
