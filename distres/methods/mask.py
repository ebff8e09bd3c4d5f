"""Masks: made from the maps when none is given, checked when one is, and known tile by tile.

An automatic mask is found on a coarse level of the pyramid, where threshold and connected
components are exact in memory, and drawn at full resolution tile by tile. The mask always lies
in the run's store, beside a coarse occupancy that tells which tiles of any plan hold none of it.
"""

import logging
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt
import zarr

from distres.engine.cluster import Executor
from distres.engine.jobs import OutputSpec, Source, TileJob, ZarrSource
from distres.engine.planner import plan_tiles
from distres.engine.run import Run
from distres.engine.runner import output, run_job
from distres.errors import UsageError
from distres.io.grid import Grid, require_same_grid
from distres.io.volume import Volume
from distres.kernels.masks import halo_vox
from distres.kernels.particle import Search, find_particle
from distres.methods.mask_checks import box_warnings, mask_statistics, refuse_bad_values
from distres.methods.mask_plan import MaskParameters
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


@dataclass(frozen=True, slots=True, kw_only=True)
class MaskResult:
    """A mask in the run's store.

    Attributes
    ----------
    source
        The mask, (z, y, x) float32 in [0, 1] on the grid of half 1.
    occupancy
        (z, y, x) float32 on a grid coarser by `OCCUPANCY_DIVISOR`: the largest mask value of
        each cell. See `distres.methods.nearby`.
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

    def as_json(self) -> dict[str, Any]:
        """Return its kind and parameters, for the record."""
        return {"kind": self.kind, **self.parameters}


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
    statistics = mask_statistics(table, grid)
    everything = found.kind == "everything"
    return MaskResult(
        source=output(run, MASK),
        occupancy=output(run, OCCUPANCY),
        kind=found.kind,
        threshold=float(found.statistics["threshold"] or 0.0),
        statistics={**statistics, **found.statistics, "search_level": level},
        parameters=asdict(settings),
        warnings=(*found.warnings, *(() if everything else box_warnings(statistics))),
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
    refuse_bad_values(volume.path, table)
    statistics = mask_statistics(table, grid)
    return MaskResult(
        source=mask if isinstance(mask, ZarrSource) else output(run, MASK),
        occupancy=output(run, OCCUPANCY),
        kind="given",
        threshold=None,
        statistics=statistics,
        parameters={"path": volume.path},
        warnings=box_warnings(statistics),
    )


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
