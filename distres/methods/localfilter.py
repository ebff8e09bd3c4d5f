"""Filter a map of any size to the resolution that it has at every voxel.

A bank of low-pass filters is mixed voxel by voxel (`distres.kernels.lowpass`). Each filter runs on
the coarsest level of the pyramid that holds its band, so that its halo is 47 voxels of that level
or less, whatever the resolution; beyond the halo a filter takes less than 0.5 % of the rms.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np

from distres.engine.cluster import Executor
from distres.engine.jobs import OutputSpec, Source, TileJob
from distres.engine.planner import plan_tiles
from distres.engine.run import Run
from distres.engine.runner import run_job
from distres.errors import InputError, UsageError
from distres.io.grid import Grid
from distres.kernels.foreign import Convention, recognise, resolution_angstrom
from distres.kernels.lowpass import LowPassBank
from distres.methods.localfilter_tiles import FILTERED, filter_tile, sample_tile

MOST_LEVELS = 5
THINNEST_VOX = 16
SAMPLE_BYTES_PER_VOXEL = 32.0
# Block, spectrum, product, inverse, on a halo of 47 voxels.
FILTER_BYTES_PER_VOXEL = 40.0
LARGEST_HALO_VOX = 48


@dataclass(frozen=True, slots=True, kw_only=True)
class FilterParameters:
    """What decides the filtered map.

    Attributes
    ----------
    b_factor_angstrom2
        The spectrum is first multiplied by ``exp(-B s^2 / 4)``; a negative B sharpens.
    edge
        Width of a filter's raised cosine, in units of its cutoff.
    empty
        Values that mean "no resolution here"; None recognises them.
    per_pixel
        Whether the map of resolutions holds frequencies in 1/pixel; None recognises it.
    device
        ``auto``, ``cpu`` or ``cuda``.

    Raises
    ------
    UsageError
        A value makes no sense.
    """

    b_factor_angstrom2: float = 0.0
    edge: float = 0.3
    empty: tuple[float, ...] | None = None
    per_pixel: bool | None = None
    device: str = "auto"

    def __post_init__(self) -> None:
        if not 0.1 <= self.edge <= 1:
            raise UsageError(f"the edge of a filter lies between 0.1 and 1, not at {self.edge}")


@dataclass(frozen=True, slots=True, kw_only=True)
class FilterResult:
    """What the local filter left in the run's store.

    Attributes
    ----------
    filtered
        Path of the (z, y, x) float32 array.
    convention
        How the resolution map was read.
    bank
        The filters.
    levels
        Level each filter ran on.
    """

    filtered: str
    convention: Convention
    bank: LowPassBank
    levels: tuple[int, ...]

    def as_json(self) -> dict[str, Any]:
        """Return what a record keeps."""
        return {
            "empty_values": list(self.convention.empty),
            "per_pixel": self.convention.per_pixel,
            "filters_angstrom": [1 / c for c in self.bank.cutoffs_per_angstrom],
            "filter_levels": list(self.levels),
        }


def levels_for(grid: Grid) -> int:
    """Return how many levels a map's pyramid should have."""
    levels = 1
    while levels < MOST_LEVELS and min(grid.shape) >= THINNEST_VOX * 2**levels:
        levels += 1
    return levels


def run_filter(
    levels: list[Source],
    locres: Source,
    grid: Grid,
    run: Run,
    executor: Executor,
    parameters: FilterParameters | None = None,
    *,
    tile: int | None = None,
) -> FilterResult:
    """Filter a map to its local resolution.

    Parameters
    ----------
    levels
        Pyramid of the map; voxel i of level l lies on voxel ``i * 2**l`` of level 0.
    locres
        Resolution at every voxel of level 0, of this program or another.
    grid
        Grid of level 0.
    run, executor
        Where the result lies and where tiles are computed.
    parameters
        None for the defaults.
    tile
        Core edge in voxels, overriding the planner.

    Raises
    ------
    InputError
        The resolution map holds no resolution.
    """
    parameters = parameters or FilterParameters()
    sample = _sample(locres, grid, run, executor, tile)
    convention, bank = choose_bank(sample, grid, parameters)
    spacing = grid.voxel_size_angstrom
    chosen = tuple(
        bank.level(cutoff, min(spacing), len(levels)) for cutoff in bank.cutoffs_per_angstrom
    )
    plan = plan_tiles(
        grid.shape,
        halo=(LARGEST_HALO_VOX,) * 3,
        bytes_per_voxel=FILTER_BYTES_PER_VOXEL,
        memory_bytes=executor.memory_bytes,
        workers=executor.workers,
        tile=tile,
        # Cores begin on a voxel of every level.
        multiple=2 ** max(chosen),
        run=run,
    )
    job = TileJob(
        name="filter",
        plan=plan,
        function=filter_tile,
        inputs={"locres": locres, **{f"map_{level}": levels[level] for level in set(chosen)}},
        outputs={FILTERED: OutputSpec()},
        parameters={
            "cutoffs_per_angstrom": list(bank.cutoffs_per_angstrom),
            "edge": bank.edge,
            "levels": list(chosen),
            "spacing_angstrom": list(spacing),
            "b_factor_angstrom2": parameters.b_factor_angstrom2,
            "empty": list(convention.empty),
            "per_pixel": convention.per_pixel,
            "device": parameters.device,
        },
        bytes_per_voxel=FILTER_BYTES_PER_VOXEL,
    )
    run_job(job, run=run, executor=executor)
    return FilterResult(filtered=FILTERED, convention=convention, bank=bank, levels=chosen)


def _sample(
    locres: Source, grid: Grid, run: Run, executor: Executor, tile: int | None
) -> np.ndarray[Any, np.dtype[np.float32]]:
    plan = plan_tiles(
        grid.shape,
        halo=(0, 0, 0),
        bytes_per_voxel=SAMPLE_BYTES_PER_VOXEL,
        memory_bytes=executor.memory_bytes,
        workers=executor.workers,
        tile=tile,
        run=run,
    )
    job = TileJob(
        name="filter sample",
        plan=plan,
        function=sample_tile,
        inputs={"locres": locres},
        bytes_per_voxel=SAMPLE_BYTES_PER_VOXEL,
    )
    rows = run_job(job, run=run, executor=executor).columns["sample"]
    return np.asarray(rows, np.float32).ravel()


def choose_bank(
    sample: np.ndarray[Any, np.dtype[np.float32]], grid: Grid, parameters: FilterParameters
) -> tuple[Convention, LowPassBank]:
    """Say what a resolution map's numbers mean, and which filters it takes.

    Raises
    ------
    InputError
        None of the values is a resolution.
    """
    voxel = max(grid.voxel_size_angstrom)
    extent = max(n * step for n, step in zip(grid.shape, grid.voxel_size_angstrom, strict=True))
    guess = recognise(sample, voxel, extent)
    convention = Convention(
        empty=guess.empty if parameters.empty is None else parameters.empty,
        per_pixel=guess.per_pixel if parameters.per_pixel is None else parameters.per_pixel,
    )
    known = resolution_angstrom(sample, convention, voxel)
    known = known[np.isfinite(known)]
    if known.size == 0:
        raise InputError(
            "the resolution map holds no resolution; say what its values mean with --unit and "
            "--empty"
        )
    finest = max(float(known.min()), 2 * voxel)
    coarsest = max(min(float(known.max()), extent / 2), finest)
    return convention, LowPassBank.covering(finest, coarsest, edge=parameters.edge)
