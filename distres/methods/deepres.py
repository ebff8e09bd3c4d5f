"""DeepRes of a map of any size: a network reads the resolution from the look of the density.

Ramirez-Aportela et al. 2019 (IUCrJ 6, 1054). One pass: a tile reads its core and what the network
and the resampling see beyond it, changes to the network's voxel size, predicts where the mask asks
for it, and interpolates the answers between the two nearest nodes of each axis. Positions are
counted from the volume's first voxel, so tiles agree with the whole to rounding.
"""

from dataclasses import dataclass
from math import ceil, prod
from typing import Any

import numpy as np

from distres.engine.cluster import Executor
from distres.engine.jobs import OutputSpec, Source, TileJob
from distres.engine.planner import plan_tiles
from distres.engine.process import PROCESS_BYTES
from distres.engine.run import Run
from distres.engine.runner import run_job
from distres.engine.tables import Table
from distres.errors import UsageError
from distres.io.grid import Grid
from distres.kernels.deepres import HALO_VOX
from distres.kernels.predict import PRECISIONS, choose_precision
from distres.kernels.rescale import reach_vox
from distres.methods.deepres_model import MODELS, Model, choose_name
from distres.methods.deepres_tiles import (
    ACTIVATION_BYTES_PER_VOXEL,
    FLAGS,
    LOCRES,
    UNCERTAINTY,
    deepres_tile,
)
from distres.methods.nearby import focus_on, tiles_near
from distres.methods.products import FLAG_OUTSIDE

# Blocks of the map, its copy, answers and flags; then the copy on the network's grid, its square
# and its averages.
_SOURCE_BYTES = 40.0
_GRID_BYTES = 28.0
# Windows this much weaker than the map as a whole hold nothing: a mask was multiplied into it.
SILENT = 1e-3


@dataclass(frozen=True, slots=True, kw_only=True)
class DeepResParameters:
    """What decides the answer of DeepRes.

    Attributes
    ----------
    model
        ``auto``, ``A`` (voxels of 1.0 A, 2.5 to 13 A) or ``B`` (0.5 A, 1.5 to 6 A).
    weights
        File of weights instead of the shipped ones.
    finest_angstrom, coarsest_angstrom
        Resolutions expected; they choose the model, and change no answer.
    stride
        Voxels of the map from one prediction to the next, for previews; values between are
        interpolated.
    precision
        Number format of convolutions, see `distres.kernels.predict.choose_precision`.
    device
        ``auto``, ``cpu`` or ``cuda``.

    Raises
    ------
    UsageError
        A value makes no sense.
    """

    model: str = "auto"
    weights: str | None = None
    finest_angstrom: float | None = None
    coarsest_angstrom: float | None = None
    stride: int = 1
    precision: str = "auto"
    device: str = "auto"

    def __post_init__(self) -> None:
        if self.model not in MODELS:
            raise UsageError(f"there is no model '{self.model}'; use {', '.join(MODELS)}")
        if self.stride < 1:
            raise UsageError(f"the stride is 1 voxel or more, not {self.stride}")
        if self.precision not in PRECISIONS:
            raise UsageError(
                f"precision '{self.precision}' is unknown; use {', '.join(PRECISIONS)}"
            )
        if self.device == "cpu":
            choose_precision(self.precision, "cpu")

    def model_name(self, grid: Grid) -> str:
        """Return the model for a map, see `distres.methods.deepres_model.choose_name`."""
        return choose_name(grid, self.finest_angstrom, self.coarsest_angstrom, self.model)


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
    table
        Rows of the pass.
    """

    locres: str
    flags: str
    uncertainty: str | None
    model: Model
    every: int
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
            "share_at_fine_end": fine,
            "share_at_coarse_end": coarse,
            "share_without_density": silent,
            "mean_uncertainty_angstrom": self.mean_uncertainty_angstrom,
        }


def node_step(grid: Grid, model: Model, stride: int) -> int:
    """Return how many voxels of the network's grid lie between predictions.

    A stride that saves nothing (windows alone cost more than the whole block) is not taken.
    """
    every = max(round(stride * min(grid.voxel_size_angstrom) / model.voxel_size_angstrom), 1)
    return every if model.workload.windows_pay(every) else 1


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
        The whole mask, where `mask` is only the part of it to answer: the paper's network looks at
        a map without solvent.
    tile
        Core edge in voxels, overriding the planner.
    """
    every = node_step(grid, model, parameters.stride)
    bytes_per_voxel = bytes_for(grid, model)
    plan = plan_tiles(
        grid.shape,
        halo=halo_for(grid, model, every),
        bytes_per_voxel=bytes_per_voxel,
        memory_bytes=executor.memory_bytes,
        workers=executor.workers,
        tile=tile,
        process_bytes=PROCESS_BYTES + 8 * model.parameter_count,
        run=run,
        focus=focus_on(occupancy),
    )
    inputs = {"map": density, "mask": mask}
    if model.published:
        inputs["particle"] = particle or mask
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
        inputs=inputs,
        outputs=outputs,
        parameters=tile_parameters(grid, model, parameters, rms=rms, every=every),
        tiles=tiles_near(occupancy, plan),
        bytes_per_voxel=bytes_per_voxel,
    )


def tile_parameters(
    grid: Grid, model: Model, parameters: DeepResParameters, *, rms: float, every: int
) -> dict[str, Any]:
    """Return what tile functions that predict are told."""
    return {
        "model": model.as_json(),
        "spacing_angstrom": list(grid.voxel_size_angstrom),
        "every": every,
        "floor": SILENT * rms,
        "precision": parameters.precision,
        "device": parameters.device,
    }


def halo_for(grid: Grid, model: Model, every: int) -> tuple[int, int, int]:
    """Return the voxels that a tile reads around its core: half a window, a node, the resampling.

    Parameters
    ----------
    every
        Voxels of the network's grid from node to node.
    """
    target = model.voxel_size_angstrom
    z, y, x = (
        ceil((HALO_VOX + every) * target / step) + reach_vox(step, target)
        for step in grid.voxel_size_angstrom
    )
    return z, y, x


def bytes_for(grid: Grid, model: Model) -> float:
    """Return the memory that a voxel of a tile's block takes, with its part of the activations."""
    copies = prod(step / model.voxel_size_angstrom for step in grid.voxel_size_angstrom)
    return float(np.ceil(_SOURCE_BYTES + _GRID_BYTES * copies + ACTIVATION_BYTES_PER_VOXEL))


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
        table=table,
    )
