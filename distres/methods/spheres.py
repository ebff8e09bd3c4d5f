"""RELION's local resolution: masked, phase-randomised FSC on a coarse grid of soft spheres.

For comparison with the program: its spheres, its correction for the mask, its rule, its harmonic
blending. Spheres are cropped to what they cover, so the work grows with the volume and not with
its square; random phases need one transform of the whole, so a worker must hold it.
"""

from dataclasses import dataclass
from itertools import product
from typing import Any

from distres.engine.cluster import Executor
from distres.engine.jobs import OutputSpec, Source, TileJob
from distres.engine.planner import plan_tiles
from distres.engine.run import Run
from distres.engine.runner import output, run_job
from distres.engine.tiles import TilePlan
from distres.errors import UsageError
from distres.io.grid import Grid
from distres.methods.fsc_memory import require_whole
from distres.methods.nearby import focus_on, tiles_near
from distres.methods.options import require_thresholds
from distres.methods.products import FLAG_OUTSIDE
from distres.methods.spheres_tiles import (
    FLAGS,
    LOCRES,
    NODES,
    blend_tile,
    design_of,
    random_path,
    random_tile,
    sphere_tile,
)

RANDOM_BYTES_PER_VOXEL = 40.0
SPHERE_BYTES_PER_VOXEL = 48.0
BLEND_BYTES_PER_VOXEL = 80.0
MOST_DRAWS = 32


@dataclass(frozen=True, slots=True, kw_only=True)
class SphereParameters:
    """What decides the answer; the defaults are the program's.

    Attributes
    ----------
    sampling_angstrom
        Distance of spheres.
    radius_angstrom, edge_angstrom
        The sphere and its soft edge; None for half the sampling and the whole.
    randomise_angstrom
        Phases are random beyond this resolution.
    coarsest_angstrom
        No sphere reads coarser.
    threshold
        Corrected correlation.
    seed
        Of the phases.
    draws
        Draws of random phases whose correlations are averaged; the program takes one, by which
        its answer scatters.
    device
        ``auto``, ``cpu`` or ``cuda``.

    Raises
    ------
    UsageError
        A length is not positive.
    """

    sampling_angstrom: float = 25.0
    radius_angstrom: float | None = None
    edge_angstrom: float | None = None
    randomise_angstrom: float = 25.0
    coarsest_angstrom: float = 50.0
    threshold: float = 0.143
    seed: int = 1
    draws: int = 1
    device: str = "auto"

    def __post_init__(self) -> None:
        for name in ("sampling_angstrom", "randomise_angstrom", "coarsest_angstrom"):
            if not getattr(self, name) > 0:
                raise UsageError(f"{name} must be positive, not {getattr(self, name)}")
        require_thresholds(self.threshold)
        if not 1 <= self.draws <= MOST_DRAWS:
            raise UsageError(f"{self.draws} draws of phases do not work; use 1 to {MOST_DRAWS}")

    def resolved(self, grid: Grid) -> dict[str, Any]:
        """Return what tile functions need, as JSON values.

        Raises
        ------
        UsageError
            Voxels are not cubes, or the sphere does not fit.
        """
        voxel = max(grid.voxel_size_angstrom)
        if min(grid.voxel_size_angstrom) < 0.999 * voxel:
            raise UsageError(
                f"voxels of {grid.voxel_size_angstrom} angstrom (z, y, x) are no cubes, which this "
                "method needs; use localfsc or blocres"
            )
        radius = self.radius_angstrom or self.sampling_angstrom / 2
        edge = self.sampling_angstrom if self.edge_angstrom is None else self.edge_angstrom
        settings: dict[str, Any] = {
            "shape": list(grid.shape),
            "voxel_angstrom": voxel,
            "radius_angstrom": radius,
            "edge_angstrom": edge,
            "step_vox": max(round(self.sampling_angstrom / voxel), 1),
            "coarsest_angstrom": self.coarsest_angstrom,
            "threshold": self.threshold,
            "seed": self.seed,
            "draws": self.draws,
            "device": self.device,
        }
        design = design_of(settings)
        if radius / voxel >= min(grid.shape) / 2:
            raise UsageError(
                f"a sphere of {radius:g} A does not fit a volume of {min(grid.shape) * voxel:g} A"
            )
        settings["first_random"] = design.shell_of(self.randomise_angstrom)
        return settings


@dataclass(frozen=True, slots=True, kw_only=True)
class SphereResult:
    """What was left in the run's store.

    Attributes
    ----------
    locres, flags
        Paths of (1, z, y, x) arrays: angstrom (NaN where undefined), and bits.
    parameters
        Resolved parameters.
    spheres
        Spheres computed.
    """

    locres: str
    flags: str
    parameters: dict[str, Any]
    spheres: int


def run_spheres(
    half1: Source,
    half2: Source,
    grid: Grid,
    run: Run,
    executor: Executor,
    parameters: SphereParameters | None = None,
    *,
    mask: Source | None = None,
    occupancy: Source | None = None,
    tile: int | None = None,
) -> SphereResult:
    """Compute the local resolution of two half maps as RELION does.

    Parameters
    ----------
    half1, half2
        Half maps, (z, y, x).
    grid
        Their grid.
    run, executor
        Where arrays lie and where tiles are computed.
    parameters
        None for the program's defaults.
    mask
        Only voxels with a positive value are answered, and only spheres that reach one computed;
        those are then what they would be without a mask. None answers all.
    occupancy
        Largest mask value per cell.
    tile
        Core edge in voxels, overriding the planner.

    Raises
    ------
    ClusterError
        A worker cannot hold the volume, as the random phases need.
    """
    settings = (parameters or SphereParameters()).resolved(grid)
    masks = {} if mask is None else {"mask": mask}
    halves = {"half1": half1, "half2": half2}
    _randomise(halves, grid, run, executor, settings)
    random = {
        f"random{half}_{draw}": output(run, random_path(half, draw))
        for half, draw in product((1, 2), range(1, settings["draws"] + 1))
    }
    reach = design_of(settings).reach
    planning: dict[str, Any] = {
        "memory_bytes": executor.memory_bytes,
        "workers": executor.workers,
        "tile": tile,
        "run": run,
    }
    plan = plan_tiles(
        grid.shape,
        halo=(reach,) * 3,
        bytes_per_voxel=SPHERE_BYTES_PER_VOXEL,
        multiple=settings["step_vox"],
        focus=focus_on(occupancy, margin_vox=reach),
        **planning,
    )
    job = TileJob(
        name="relion spheres",
        plan=plan,
        function=sphere_tile,
        inputs={**halves, **random, **masks},
        outputs={NODES: OutputSpec(divisor=settings["step_vox"])},
        parameters=settings,
        tiles=tiles_near(occupancy, plan, margin_vox=reach),
        bytes_per_voxel=SPHERE_BYTES_PER_VOXEL,
    )
    spheres = int(run_job(job, run=run, executor=executor).sum("spheres"))
    plan = plan_tiles(
        grid.shape,
        halo=(0, 0, 0),
        bytes_per_voxel=BLEND_BYTES_PER_VOXEL,
        focus=focus_on(occupancy),
        **planning,
    )
    job = TileJob(
        name="relion blending",
        plan=plan,
        function=blend_tile,
        inputs={"nodes": output(run, NODES), **masks},
        outputs={
            LOCRES: OutputSpec(lead=(1,)),
            FLAGS: OutputSpec(dtype="uint8", lead=(1,), fill_value=FLAG_OUTSIDE),
        },
        parameters=settings,
        tiles=tiles_near(occupancy, plan),
        bytes_per_voxel=BLEND_BYTES_PER_VOXEL,
    )
    run_job(job, run=run, executor=executor)
    return SphereResult(locres=LOCRES, flags=FLAGS, parameters=settings, spheres=spheres)


def _randomise(
    halves: dict[str, Source],
    grid: Grid,
    run: Run,
    executor: Executor,
    settings: dict[str, Any],
) -> None:
    """Give both halves random phases in one task that holds the whole volume."""
    draws = range(1, settings["draws"] + 1)
    # The maps of all draws are written together.
    bytes_per_voxel = RANDOM_BYTES_PER_VOXEL + 8.0 * (len(draws) - 1)
    require_whole(
        grid.shape,
        executor,
        bytes_per_voxel,
        what="random phases need the whole volume",
        instead=", or use localfsc, which needs no random phases",
    )
    job = TileJob(
        name="relion random phases",
        plan=TilePlan.whole(grid.shape),
        function=random_tile,
        inputs=dict(halves),
        outputs={random_path(half, draw): OutputSpec() for half, draw in product((1, 2), draws)},
        parameters=settings,
        bytes_per_voxel=bytes_per_voxel,
    )
    run_job(job, run=run, executor=executor)
