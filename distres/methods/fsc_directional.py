"""Global FSC by direction: whether a map is as good along every axis.

One task transforms both halves and sums over shells and cells of direction; everything else
(cones, occupancy, tests, the 3D FSC) follows from that table. A worker must hold both halves.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import scipy.fft

from distres.engine.cluster import Executor
from distres.engine.jobs import Source, TileInputs, TileJob, TileResult
from distres.engine.run import Run
from distres.engine.runner import run_job
from distres.engine.tiles import TilePlan
from distres.errors import UsageError
from distres.io.volume import Grid
from distres.kernels.cells import Cells, cell_sums
from distres.kernels.conical import (
    Cones,
    bingham_p_values,
    direction_shells,
    occupancy,
    sphericity,
)
from distres.kernels.directions import SUBDIVISIONS, half_sphere, tilt_and_rotation
from distres.kernels.shell_thresholds import first_crossing
from distres.kernels.shells import Float, Shells, fsc_of_sums, shells_of
from distres.methods.fsc_memory import require_whole
from distres.methods.options import require_thresholds

BYTES_PER_VOXEL = 40.0
# Rings of the table of cells: 3 degrees, a sixth of the default cone.
RINGS = 30
UNEVEN_P = 1e-3

Parameters = Mapping[str, Any]


@dataclass(frozen=True, slots=True, kw_only=True)
class DirectionalParameters:
    """What decides a directional FSC.

    Attributes
    ----------
    threshold
        Correlation at which a direction's resolution is read and occupancy counted.
    half_angle_degrees
        Of the cones.
    directions
        46, 81 or 321.

    Raises
    ------
    UsageError
        A value makes no sense.
    """

    threshold: float = 0.143
    half_angle_degrees: float = 17.0
    directions: int = 321

    def __post_init__(self) -> None:
        require_thresholds(self.threshold)
        if not 5 <= self.half_angle_degrees <= 45:
            raise UsageError(f"cones of {self.half_angle_degrees} degrees do not work; use 5 to 45")
        if self.directions not in SUBDIVISIONS:
            raise UsageError(f"{self.directions} directions cannot be spread evenly; use 46 to 321")


@dataclass(frozen=True, slots=True, kw_only=True)
class DirectionalResult:
    """Curves by direction and what follows from them.

    Attributes
    ----------
    shells
        Shells of the volume.
    curve
        (shells,) FSC of all directions together.
    cones
        Directions and their cones.
    curves
        (directions, shells) conical FSC, NaN where a cone holds no coefficient.
    resolution_angstrom
        (directions,) resolution; NaN where a curve is never above the threshold. Curves that never
        fall read Nyquist.
    global_angstrom
        Resolution of `curve`; None where it never crosses.
    occupancy
        (shells,) share of directions above the threshold.
    bingham_p
        (shells,) probability that isotropic directions pass so unevenly.
    sphericity
        Of the surface of directional resolutions.
    over_cells
        (cells, shells) 3D FSC as a table.
    """

    shells: Shells
    curve: Float
    cones: Cones
    curves: Float
    resolution_angstrom: Float
    global_angstrom: float | None
    occupancy: Float
    bingham_p: Float
    sphericity: float
    over_cells: Float

    @property
    def worst(self) -> int:
        """Index of the direction with the coarsest resolution."""
        return int(np.argmax(np.nan_to_num(self.resolution_angstrom, nan=np.inf)))

    @property
    def best(self) -> int:
        """Index of the direction with the finest resolution."""
        return int(np.argmin(np.nan_to_num(self.resolution_angstrom, nan=np.inf)))

    @property
    def uneven_shells(self) -> int:
        """Shells in which isotropic directions would hardly ever pass so unevenly."""
        return int((self.bingham_p < UNEVEN_P).sum())

    def zone_angstrom(self) -> tuple[float, float, float]:
        """Resolutions at which occupancy falls below 0.9, 0.5 and 0.1 (infinite when it does at 0).

        The distance between the first and the last is how anisotropic the map is.
        """
        found = []
        for share in (0.9, 0.5, 0.1):
            crossing = first_crossing(self.occupancy, share, run=1)
            last = self.shells.count - 1
            shell = last if crossing is None else crossing
            width = self.shells.width_per_angstrom
            found.append(1 / (shell * width) if shell > 0 else float("inf"))
        return found[0], found[1], found[2]

    def summary(self) -> dict[str, Any]:
        """Return the main numbers as JSON values."""
        angles = tilt_and_rotation(self.cones.directions)
        known = self.resolution_angstrom[np.isfinite(self.resolution_angstrom)]
        nine, five, one = self.zone_angstrom()

        def direction(index: int) -> dict[str, float | None]:
            value = float(self.resolution_angstrom[index])
            return {
                "tilt_degrees": round(float(angles[index, 0]), 2),
                "rotation_degrees": round(float(angles[index, 1]), 2),
                "resolution_angstrom": round(value, 3) if np.isfinite(value) else None,
            }

        return {
            "resolution_angstrom": self.global_angstrom,
            "finest": direction(self.best),
            "coarsest": direction(self.worst),
            "median_angstrom": float(np.median(known)) if known.size else None,
            "sphericity": self.sphericity,
            "occupancy_angstrom": {"0.9": nine, "0.5": five, "0.1": one},
            "uneven_shells": self.uneven_shells,
        }


def table_tile(inputs: TileInputs, parameters: Parameters) -> TileResult:
    """Transform both halves, whole, and sum over shells and cells of direction."""
    shells = shells_of(parameters["shape"], parameters["voxel_size_angstrom"])
    spectra = []
    for name in ("half1", "half2"):
        block = np.asarray(inputs.core(name), np.float32)
        block = block - block.mean(dtype=np.float64).astype(np.float32)
        if "mask" in inputs:
            block *= inputs.core("mask")
        spectra.append(scipy.fft.rfftn(block, overwrite_x=True))
    sums = cell_sums(spectra[0], spectra[1], shells, Cells(rings=parameters["rings"]))
    return TileResult(row={"sums": sums})


def run_directional(
    sources: dict[str, Source],
    grid: Grid,
    run: Run,
    executor: Executor,
    parameters: DirectionalParameters,
) -> DirectionalResult:
    """Compute the FSC of two half maps by direction.

    Parameters
    ----------
    sources
        ``half1``, ``half2``, perhaps ``mask``. Nothing is done about the correlation that a mask
        makes: it is the same in all directions, unless the mask is not.
    grid
        Their grid.
    run, executor
        Where the table is kept and computed.
    parameters
        What to compute.

    Raises
    ------
    ClusterError
        A worker cannot hold both halves.
    """
    require_memory(grid, executor)
    job = TileJob(
        name="fsc directions",
        plan=TilePlan.whole(grid.shape),
        function=table_tile,
        inputs=sources,
        parameters={
            "shape": list(grid.shape),
            "voxel_size_angstrom": list(grid.voxel_size_angstrom),
            "rings": RINGS,
        },
        bytes_per_voxel=BYTES_PER_VOXEL,
    )
    sums = run_job(job, run=run, executor=executor).sum("sums")
    return result_of(sums, shells_of(grid.shape, grid.voxel_size_angstrom), parameters)


def require_memory(grid: Grid, executor: Executor) -> None:
    """Refuse halves that no worker can hold.

    Raises
    ------
    ClusterError
        None can.
    """
    require_whole(grid.shape, executor, BYTES_PER_VOXEL, what="a directional FSC needs both halves")


def result_of(sums: Float, shells: Shells, parameters: DirectionalParameters) -> DirectionalResult:
    """Work out everything from the table of sums (4, shells, cells)."""
    cones = Cones(
        directions=half_sphere(parameters.directions),
        half_angle_degrees=parameters.half_angle_degrees,
        cells=Cells(rings=RINGS),
    )
    together = sums[:3].sum(axis=2)
    curve = fsc_of_sums(np.concatenate([together, np.zeros((3, 1))], axis=1))
    curves = cones.curves(sums)
    crossing = direction_shells(curves, parameters.threshold)
    # A curve that never falls holds to Nyquist.
    radii = np.nan_to_num(crossing, nan=shells.count - 1.0)
    with np.errstate(divide="ignore"):
        resolution = np.where(radii > 0, 1 / (radii * shells.width_per_angstrom), np.nan)
    overall = first_crossing(curve, parameters.threshold)
    return DirectionalResult(
        shells=shells,
        curve=curve,
        cones=cones,
        curves=curves,
        resolution_angstrom=resolution,
        global_angstrom=1 / (overall * shells.width_per_angstrom) if overall else None,
        occupancy=occupancy(curves, parameters.threshold),
        bingham_p=bingham_p_values(curves, cones, parameters.threshold),
        sphericity=sphericity(cones.directions, np.maximum(radii, 1.0), cones.cells),
        over_cells=cones.over_cells(curves),
    )
