"""The passes of MonoDir: what they read, and their jobs."""

from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from distres.engine.cluster import Executor
from distres.engine.jobs import OutputSpec, TileJob
from distres.engine.planner import plan_tiles
from distres.engine.run import Run
from distres.engine.runner import output
from distres.io.grid import Grid
from distres.kernels.conebox import LATTICE_VOX
from distres.kernels.directional_maps import MAPS
from distres.kernels.directions import half_sphere, turned
from distres.kernels.monodir import HALO_VOX, cone_halo_vox
from distres.kernels.monores import LevelTests
from distres.kernels.sparse_tests import Places
from distres.kernels.symmetry import operators
from distres.methods.monodir_noise_tiles import CONE_HALO_VOX, directional_noise_tile
from distres.methods.monodir_plan import MonoDirParameters
from distres.methods.monodir_tiles import (
    DIRECTIONAL,
    FLAGS,
    REACH_VOX,
    STRIDE,
    directions_path,
    directions_tile,
    map_path,
)
from distres.methods.monores_inputs import MonoResInputs
from distres.methods.monores_passes import Passes
from distres.methods.monores_tiles import NEVER_CODE
from distres.methods.nearby import tiles_near
from distres.methods.products import FLAG_OUTSIDE

# Bounds of what a tile function takes for a voxel of its block, and for each direction: 128^3 with
# 81 directions took 102 in all.
NOISE_BYTES_PER_VOXEL = 90.0
DECIDE_BYTES_PER_VOXEL = 80.0
DIRECTION_BYTES_PER_VOXEL = 1.0

Float = npt.NDArray[np.float64]


@dataclass(slots=True)
class DirectionalPasses(Passes):
    """Makes the jobs of a run."""

    directional: MonoDirParameters

    @classmethod
    def of(
        cls,
        inputs: MonoResInputs,
        run: Run,
        executor: Executor,
        parameters: MonoDirParameters,
        tile: int | None,
    ) -> "DirectionalPasses":
        """Return the passes that these parameters ask for."""
        resolutions = parameters.resolutions(inputs.grid)
        return cls(inputs, run, executor, parameters.sweep(), resolutions, tile, parameters)

    def copies(self) -> npt.NDArray[np.intp]:
        """Return (units, directions): what each unit of a particle shows along each direction."""
        group = self.inputs.point_group
        directions = half_sphere(self.directional.directions)
        return turned(directions, operators("C1" if group is None else group["setting"]))

    def directional_noise_job(self, tests: LevelTests, places: Places) -> TileJob:
        """Return the pass that measures a level's noise in every cone, at some of its tests."""
        grid = self.inputs.grid.coarser(2**tests.level)
        sources, solved = self._noise_sources(tests.level)
        plan = self._plan(grid, CONE_HALO_VOX, 8, NOISE_BYTES_PER_VOXEL, solved, tests.level)
        return TileJob(
            name=f"monodir noise {tests.level}",
            plan=plan,
            function=directional_noise_tile,
            inputs=sources,
            parameters={
                **self._noise_region(tests),
                "places": list(places),
                "middle_angstrom": list(self.inputs.centre_angstrom),
                "cones": self._cones(),
            },
            tiles=tiles_near(solved, plan, factor=2**tests.level),
            bytes_per_voxel=NOISE_BYTES_PER_VOXEL,
        )

    def directions_job(self, tests: LevelTests, thresholds: Float, coarser: int | None) -> TileJob:
        """Return the pass that decides a level's points; on level 0 it makes the maps."""
        inputs, grid = self.inputs, self.inputs.grid.coarser(2**tests.level)
        count = self.directional.directions
        needed = _needed_bytes(self.directional)
        masks = inputs.masks(tests.level)
        solved, halo = masks.get("occupancy"), cone_halo_vox(tests, grid.voxel_size_angstrom)
        # Coarse points beyond the solved voxels decide for those inside.
        margin = REACH_VOX if tests.level > 0 else 0
        plan = self._plan(grid, halo, LATTICE_VOX, needed, solved, tests.level, margin)
        sources = {**inputs.maps(tests.level), **masks}
        if coarser is not None:
            sources["state"] = output(self.run, directions_path(coarser))
        parameters: dict[str, Any] = {
            "tests": asdict(tests),
            "voxel_angstrom": list(grid.voxel_size_angstrom),
            "coarser": coarser,
            "thresholds": [[v if np.isfinite(v) else None for v in row] for row in thresholds],
            "cones": self._cones(),
            **self._shared(),
        }
        outputs: dict[str, OutputSpec] = {
            directions_path(tests.level): OutputSpec(
                dtype="int16", lead=(count,), divisor=STRIDE, fill_value=NEVER_CODE
            )
        }
        if tests.level == 0:
            parameters |= {
                "resolutions": self.resolutions.tolist(),
                "shape": list(grid.shape),
                "centre_angstrom": list(inputs.centre_angstrom),
                "tolerance_angstrom": self.directional.tolerance_angstrom(inputs.grid),
                "keep": self.directional.keep_directions,
                "point_group": inputs.point_group,
            }
            outputs = self._answers(count)
        return TileJob(
            name=f"monodir decisions {tests.level}",
            plan=plan,
            function=directions_tile,
            inputs=sources,
            outputs=outputs,
            parameters=parameters,
            tiles=tiles_near(solved, plan, factor=2**tests.level, margin_vox=margin),
            bytes_per_voxel=needed,
        )

    def _answers(self, count: int) -> dict[str, OutputSpec]:
        found = {map_path(name): OutputSpec() for name in MAPS}
        found[map_path("adr")] = OutputSpec(lead=(1,))
        found[FLAGS] = OutputSpec(dtype="uint8", lead=(1,), fill_value=FLAG_OUTSIDE)
        if self.directional.keep_directions:
            found[DIRECTIONAL] = OutputSpec(lead=(count,), divisor=STRIDE)
        return found

    def _cones(self) -> list[float]:
        """Return count, half-angle and edge."""
        chosen = self.directional
        return [chosen.directions, chosen.cone_degrees, chosen.edge_degrees]


def require_tiles(
    grid: Grid, executor: Executor, parameters: MonoDirParameters, *, tile: int | None
) -> None:
    """Refuse a memory that is too small for the largest pass, before anything is read."""
    plan_tiles(
        grid.shape,
        halo=(HALO_VOX,) * 3,
        bytes_per_voxel=_needed_bytes(parameters),
        memory_bytes=executor.memory_bytes,
        workers=executor.workers,
        tile=tile,
        multiple=LATTICE_VOX,
    )


def _needed_bytes(parameters: MonoDirParameters) -> float:
    return DECIDE_BYTES_PER_VOXEL + DIRECTION_BYTES_PER_VOXEL * parameters.directions
