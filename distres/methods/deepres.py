"""DeepRes of a map of any size: a network reads the resolution from the look of the density.

Ramirez-Aportela et al. 2019 (IUCrJ 6, 1054). One pass: a tile reads its core and what the network
and the resampling see beyond it, changes to the network's voxel size, predicts where the mask asks
for it, averages answers with their neighbours (see `distres.kernels.answers`), and interpolates
between the two nearest nodes of each axis. Positions are counted from the volume's first voxel, so
tiles agree with the whole to rounding.
"""

from dataclasses import dataclass
from typing import Any

from distres.engine.cluster import Executor
from distres.engine.jobs import OutputSpec, Source, TileJob
from distres.engine.planner import plan_tiles
from distres.engine.process import PROCESS_BYTES
from distres.engine.run import Run
from distres.engine.runner import run_job
from distres.engine.tables import Table
from distres.io.grid import Grid
from distres.methods.deepres_model import Model
from distres.methods.deepres_plan import (
    DeepResParameters,
    averaging,
    bytes_for,
    halo_for,
    node_step,
    tile_parameters,
)
from distres.methods.deepres_tiles import FLAGS, LOCRES, UNCERTAINTY, deepres_tile
from distres.methods.nearby import focus_on, tiles_near
from distres.methods.products import FLAG_OUTSIDE


@dataclass(frozen=True, slots=True, kw_only=True)
class DeepResResult:
    """What DeepRes left in the run's store.

    Attributes
    ----------
    locres, flags
        Paths of (1, z, y, x) arrays: angstrom (NaN where undefined), and bits.
    uncertainty
        Path of a (z, y, x) array: standard uncertainty in angstrom; None for the paper's network.
    model
        What was used.
    every
        Voxels of the network's grid from one prediction to the next.
    smooth
        Resolutions over which answers were averaged; 0 where they were not.
    table
        Rows of the pass.
    """

    locres: str
    flags: str
    uncertainty: str | None
    model: Model
    every: int
    smooth: float
    table: Table

    @property
    def ends(self) -> tuple[float, float, float]:
        """Shares of the mask at the fine end, at the coarse end, and without density."""
        inside = max(int(self.table.sum("inside")), 1)
        fine, coarse, silent = (float(n) / inside for n in self.table.sum("flagged"))
        return fine, coarse, silent

    @property
    def mean_uncertainty_angstrom(self) -> float | None:
        """Mean standard uncertainty; None where there is none."""
        total, count = self.table.sum("uncertainty")
        return float(total / count) if count else None

    def as_json(self) -> dict[str, Any]:
        """Return what a record keeps."""
        fine, coarse, silent = self.ends
        return {
            "model": self.model.as_json(),
            "multiply_adds_per_model_voxel": self.model.workload.dense_operations,
            "nodes_every_model_voxels": self.every,
            "averaged_over_resolutions": self.smooth,
            "share_at_fine_end": fine,
            "share_at_coarse_end": coarse,
            "share_without_density": silent,
            "mean_uncertainty_angstrom": self.mean_uncertainty_angstrom,
        }


def deepres_job(
    density: Source,
    mask: Source,
    occupancy: Source | None,
    grid: Grid,
    run: Run | None,
    executor: Executor,
    parameters: DeepResParameters,
    model: Model,
    *,
    rms: float,
    particle: Source | None = None,
    tile: int | None = None,
) -> TileJob:
    """Plan the pass.

    Parameters
    ----------
    density, mask
        On `grid`; voxels with a mask of a half or more are answered.
    occupancy
        Largest mask value per cell: tiles without any are not read. None computes all tiles.
    grid
        Grid of both.
    run, executor
        Where to compute.
    parameters, model
        What to compute.
    rms
        Of the map, to know what is silent.
    particle
        The whole mask, where `mask` is only the part of it to answer: neighbours in it count, and
        the paper's network looks at a map without solvent.
    tile
        Core edge in voxels, overriding the planner.
    """
    every = node_step(grid, model, parameters.stride)
    smooth = averaging(parameters, model, every)
    bytes_per_voxel = bytes_for(grid, model, smooth)
    plan = plan_tiles(
        grid.shape,
        halo=halo_for(grid, model, every, smooth),
        bytes_per_voxel=bytes_per_voxel,
        memory_bytes=executor.memory_bytes,
        workers=executor.workers,
        tile=tile,
        process_bytes=PROCESS_BYTES + 8 * model.parameter_count,
        run=run,
        focus=focus_on(occupancy),
    )
    outputs = {
        LOCRES: OutputSpec(lead=(1,)),
        FLAGS: OutputSpec(dtype="uint8", lead=(1,), fill_value=FLAG_OUTSIDE),
    }
    if not model.published:
        outputs[UNCERTAINTY] = OutputSpec()
    return TileJob(
        name="deepres",
        plan=plan,
        function=deepres_tile,
        inputs={"map": density, "mask": mask, "particle": particle or mask},
        outputs=outputs,
        parameters={
            **tile_parameters(grid, model, parameters, rms=rms, every=every),
            "smooth": smooth,
        },
        tiles=tiles_near(occupancy, plan),
        bytes_per_voxel=bytes_per_voxel,
    )


def run_deepres(
    density: Source,
    mask: Source,
    occupancy: Source | None,
    grid: Grid,
    run: Run,
    executor: Executor,
    parameters: DeepResParameters,
    model: Model,
    *,
    rms: float,
    particle: Source | None = None,
    tile: int | None = None,
) -> DeepResResult:
    """Compute DeepRes of a map; see `deepres_job` for the arguments."""
    job = deepres_job(
        density,
        mask,
        occupancy,
        grid,
        run,
        executor,
        parameters,
        model,
        rms=rms,
        particle=particle,
        tile=tile,
    )
    table = run_job(job, run=run, executor=executor)
    return DeepResResult(
        locres=LOCRES,
        flags=FLAGS,
        uncertainty=None if model.published else UNCERTAINTY,
        model=model,
        every=int(job.parameters["every"]),
        smooth=float(job.parameters["smooth"]),
        table=table,
    )
