"""Windowed local FSC of volumes of any size: filter first, window second, cross once.

Two kinds of pass. On every level of the pyramid, the bands that live there are measured at every
second voxel (`distres.kernels.localcorrelation`); the curves stay in the run's store, two bytes a
value, about 2.5 bytes for a voxel of the input. Then one pass over the finest grid interpolates
them and finds the crossing of every threshold at every voxel (`distres.kernels.crossing`).
"""

from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

from distres.engine.cluster import Executor
from distres.engine.jobs import OutputSpec, Source, TileJob
from distres.engine.planner import plan_tiles
from distres.engine.run import Run
from distres.engine.runner import output, run_job
from distres.engine.tables import Table
from distres.io.grid import Grid
from distres.kernels.bands import Band
from distres.kernels.localcorrelation import STRIDE
from distres.methods.localfsc_plan import (
    LocalFscParameters,
    choose_bands,
    halo_vox,
    significance_levels,
)
from distres.methods.localfsc_tiles import (
    FLAGS,
    LOCRES,
    crossing_tile,
    curve_tile,
    curves_path,
)
from distres.methods.nearby import focus_on, tiles_near
from distres.methods.products import FLAG_OUTSIDE

# Measured on single tiles of 200^3 voxels, which are padded at all faces: 87 and 61.
CURVE_BYTES_PER_VOXEL = 90.0
CROSSING_BYTES_PER_VOXEL = 70.0


@dataclass(frozen=True, slots=True, kw_only=True)
class LocalFscResult:
    """What the local FSC left in the run's store.

    Attributes
    ----------
    locres, flags
        Paths of (threshold, z, y, x) arrays: angstrom (NaN where undefined), and bits.
    curves
        Paths of the curves by level, (band, z, y, x) float16 at every second voxel of the level.
    bands
        All bands from low to high frequency.
    significance
        Correlation at each band that noise alone rarely exceeds; where a threshold lies below it,
        it is in force instead.
    tables
        Rows of all passes by name, with what they cost.
    """

    locres: str
    flags: str
    curves: dict[int, str]
    bands: tuple[Band, ...]
    significance: tuple[float, ...]
    tables: dict[str, Table]

    def as_json(self) -> dict[str, Any]:
        """Return the bands and what noise alone would show in them, for the record."""
        return {
            "bands": [
                {"centre_angstrom": 1 / band.centre, "level": band.level, "significance": level}
                for band, level in zip(self.bands, self.significance, strict=True)
            ]
        }


def localfsc_jobs(
    half1_levels: Sequence[Source],
    half2_levels: Sequence[Source],
    grid: Grid,
    run: Run | None,
    executor: Executor,
    parameters: LocalFscParameters,
    *,
    mask: Source | None = None,
    occupancy: Source | None = None,
    tile: int | None = None,
) -> list[TileJob]:
    """Return the passes of the local FSC in order: one for each level, then the crossings.

    The inputs of the last job exist only once the others have run: `run_localfsc` completes them.

    Parameters
    ----------
    half1_levels, half2_levels
        Pyramids: voxel i of level l lies on voxel ``i * 2**l`` of level 0.
    grid
        Grid of level 0.
    run, executor
        Where to compute; the planner asks them. Without a run its earlier plans are not known.
    parameters
        What to compute.
    mask
        Voxels with a positive value are answered; None answers all.
    occupancy
        Largest mask value in cells of `OCCUPANCY_DIVISOR` voxels: tiles without any are not read.
    tile
        Core edge in voxels, overriding the planner.
    """
    bands = choose_bands(grid, parameters, min(len(half1_levels), len(half2_levels)))
    jobs = []
    for level in sorted({band.level for band in bands}):
        mine = [band for band in bands if band.level == level]
        jobs.append(
            _curve_job(
                half1_levels[level],
                half2_levels[level],
                grid.coarser(2**level),
                mine,
                parameters,
                _planning(run, executor, tile),
                occupancy,
            )
        )
    jobs.append(
        _crossing_job(grid, bands, parameters, mask, _planning(run, executor, tile), occupancy)
    )
    return jobs


def run_localfsc(
    half1_levels: Sequence[Source],
    half2_levels: Sequence[Source],
    grid: Grid,
    run: Run,
    executor: Executor,
    parameters: LocalFscParameters | None = None,
    *,
    mask: Source | None = None,
    occupancy: Source | None = None,
    tile: int | None = None,
) -> LocalFscResult:
    """Compute the local FSC of two half maps; see `localfsc_jobs` for the arguments.

    Returns
    -------
    LocalFscResult
        Where the arrays ``locres`` and ``flags`` (threshold, z, y, x) lie in the run's store.
    """
    parameters = parameters or LocalFscParameters()
    *curve_jobs, last = localfsc_jobs(
        half1_levels,
        half2_levels,
        grid,
        run,
        executor,
        parameters,
        mask=mask,
        occupancy=occupancy,
        tile=tile,
    )
    tables = {job.name: run_job(job, run=run, executor=executor) for job in curve_jobs}
    bands = choose_bands(grid, parameters, min(len(half1_levels), len(half2_levels)))
    levels = sorted({band.level for band in bands})
    curves = {f"curves_{level}": output(run, curves_path(level)) for level in levels}
    last = replace(last, inputs={**last.inputs, **curves})
    tables[last.name] = run_job(last, run=run, executor=executor)
    return LocalFscResult(
        locres=LOCRES,
        flags=FLAGS,
        curves={level: curves_path(level) for level in levels},
        bands=bands,
        significance=significance_levels(grid, bands, parameters),
        tables=tables,
    )


def _planning(run: Run | None, executor: Executor, tile: int | None) -> dict[str, Any]:
    return {
        "memory_bytes": executor.memory_bytes,
        "workers": executor.workers,
        "tile": tile,
        "run": run,
        "multiple": STRIDE,
    }


def _curve_job(
    half1: Source,
    half2: Source,
    grid: Grid,
    bands: Sequence[Band],
    parameters: LocalFscParameters,
    planning: dict[str, Any],
    occupancy: Source | None,
) -> TileJob:
    level = bands[0].level
    halo = halo_vox(bands, parameters.windows, max(grid.voxel_size_angstrom))
    # A voxel is interpolated from nodes up to two nodes away, which may be the next tile's.
    near = {"factor": 2**level, "margin_vox": 2 * STRIDE}
    plan = plan_tiles(
        grid.shape,
        halo=(halo,) * 3,
        bytes_per_voxel=CURVE_BYTES_PER_VOXEL,
        focus=focus_on(occupancy, **near),
        **planning,
    )
    path = curves_path(level)
    return TileJob(
        name=f"localfsc curves {level}",
        plan=plan,
        function=curve_tile,
        inputs={"half1": half1, "half2": half2},
        outputs={path: OutputSpec(dtype="float16", lead=(len(bands),), divisor=STRIDE)},
        parameters={
            "bands": [asdict(band) for band in bands],
            "windows": asdict(parameters.windows),
            "spacing_angstrom": list(grid.voxel_size_angstrom),
            "output": path,
            "device": parameters.device,
        },
        tiles=tiles_near(occupancy, plan, **near),
        bytes_per_voxel=CURVE_BYTES_PER_VOXEL,
    )


def _crossing_job(
    grid: Grid,
    bands: Sequence[Band],
    parameters: LocalFscParameters,
    mask: Source | None,
    planning: dict[str, Any],
    occupancy: Source | None,
) -> TileJob:
    fine, coarse = parameters.range_angstrom(grid)
    plan = plan_tiles(
        grid.shape,
        halo=(0, 0, 0),
        bytes_per_voxel=CROSSING_BYTES_PER_VOXEL,
        focus=focus_on(occupancy),
        **planning,
    )
    lead = (len(parameters.thresholds),)
    return TileJob(
        name="localfsc crossings",
        plan=plan,
        function=crossing_tile,
        inputs={} if mask is None else {"mask": mask},
        outputs={
            LOCRES: OutputSpec(lead=lead),
            FLAGS: OutputSpec(dtype="uint8", lead=lead, fill_value=FLAG_OUTSIDE),
        },
        parameters={
            "shape": list(grid.shape),
            "spacing_angstrom": list(grid.voxel_size_angstrom),
            "bands": [asdict(band) for band in bands],
            "thresholds": list(parameters.thresholds),
            "significance": list(significance_levels(grid, bands, parameters)),
            "windows": asdict(parameters.windows),
            "range_per_angstrom": [1 / coarse, 1 / fine],
            "border_wavelengths": (parameters.window_wavelengths + parameters.power_wavelengths)
            / 2,
            "device": parameters.device,
        },
        tiles=tiles_near(occupancy, plan),
        bytes_per_voxel=CROSSING_BYTES_PER_VOXEL,
    )
