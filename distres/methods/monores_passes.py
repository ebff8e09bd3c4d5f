"""The jobs of the passes of MonoRes."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from math import prod
from typing import Any

import numpy as np
import numpy.typing as npt

from distres.engine.cluster import Executor
from distres.engine.jobs import OutputSpec, Source, TileJob, ZarrSource
from distres.engine.planner import plan_tiles
from distres.engine.run import Run
from distres.engine.runner import output
from distres.engine.tiles import TilePlan
from distres.io.grid import Grid
from distres.kernels.monores import LevelTests, halo_vox, plan_levels
from distres.kernels.monores_noise import (
    CELL_VOX,
    LOCAL_NOISE_HALO_VOX,
    NOISE_HALO_VOX,
    noise_shares,
)
from distres.methods.monores_inputs import MonoResInputs
from distres.methods.monores_plan import MonoResParameters
from distres.methods.monores_tiles import (
    FLAGS,
    LOCRES,
    NEVER_CODE,
    decide_tile,
    local_noise_tile,
    noise_path,
    noise_tile,
    state_path,
)
from distres.methods.nearby import focus_on, tiles_near
from distres.methods.products import FLAG_OUTSIDE
from distres.methods.solvent import NoiseSphere

# Measured peak of a tile function over the voxels of its block (160^3 and 216^3, float32): every
# voxel decided, or every second (30 of the transforms, and what reading holds).
NOISE_BYTES_PER_VOXEL = 88.0
CELLS_BYTES_PER_VOXEL = {1: 96.0, 2: 44.0}
DECIDE_BYTES_PER_VOXEL = {1: 64.0, 2: 40.0}


@dataclass(frozen=True, slots=True, kw_only=True)
class Thresholds:
    """One number a test, or a field over the volume (its array in the store, and its nodes)."""

    values: tuple[float, ...] = ()
    field: ZarrSource | None = None
    nodes: tuple[list[float], ...] = ()


@dataclass(slots=True)
class Passes:
    """Makes the jobs of a run."""

    inputs: MonoResInputs
    run: Run
    executor: Executor
    parameters: MonoResParameters
    resolutions: npt.NDArray[np.float64]
    tile: int | None

    def levels(self) -> tuple[LevelTests, ...]:
        """Return the tests by level, the coarsest level first."""
        inputs, stride = self.inputs, self.parameters.stride_vox
        voxel = inputs.grid.voxel_size_angstrom
        return plan_levels(self.resolutions, voxel, inputs.levels, stride)

    def noise_job(self, tests: LevelTests, scale: float, part: str = "") -> TileJob:
        """Return the pass that measures a level's noise."""
        grid = self.inputs.grid.coarser(2**tests.level)
        local = self.parameters.local_noise
        outputs: dict[str, OutputSpec] = {}
        own: dict[str, Any]
        if local:
            per_voxel, halo = CELLS_BYTES_PER_VOXEL[tests.stride], LOCAL_NOISE_HALO_VOX
            lead, own = (2 * len(tests.frequencies),), {"part": part}
            cells = OutputSpec(lead=lead, divisor=CELL_VOX, fill_value=0.0)
            outputs[noise_path(tests.level, part)] = cells
        else:
            per_voxel, halo = NOISE_BYTES_PER_VOXEL, NOISE_HALO_VOX
            shares = noise_shares(tests, self._noise_voxels(grid), grid.voxel_size_angstrom)
            own = {"scale": scale, "shares": list(shares)}
        needed = self._bytes(per_voxel, grid)
        sources, solved = self._noise_sources(tests.level)
        plan = self._plan(grid, halo, CELL_VOX, needed, solved, tests.level)
        return TileJob(
            name=f"monores noise {tests.level} {part}".rstrip(),
            plan=plan,
            function=local_noise_tile if local else noise_tile,
            inputs=sources,
            outputs=outputs,
            parameters={**self._noise_region(tests), **own},
            tiles=tiles_near(solved, plan, factor=2**tests.level),
            bytes_per_voxel=needed,
        )

    def decide_job(
        self,
        tests: LevelTests,
        thresholds: Thresholds,
        coarser: int | None,
        *,
        tested: int | None = None,
    ) -> TileJob:
        """Return the pass that tests a level's voxels; on level 0 it writes the answer.

        `tested` are the tests of the sweep so far, with this level's: a map that was filtered ends
        it early. None is all of them.
        """
        inputs, grid = self.inputs, self.inputs.grid.coarser(2**tests.level)
        needed = self._bytes(DECIDE_BYTES_PER_VOXEL[tests.stride], grid)
        masks = inputs.masks(tests.level)
        solved = masks.get("occupancy")
        halo = halo_vox(tests, grid.voxel_size_angstrom)
        plan = self._plan(grid, halo, 8, needed, solved, tests.level)
        sources = {**inputs.maps(tests.level), **masks}
        if coarser is not None:
            sources["state"] = output(self.run, state_path(coarser))
        parameters: dict[str, Any] = {
            "tests": asdict(tests),
            "voxel_angstrom": list(grid.voxel_size_angstrom),
            "coarser": coarser,
            **self._shared(),
            "thresholds": list(thresholds.values[: len(tests.frequencies)]),
        }
        if thresholds.field is not None:
            sources["thresholds"] = thresholds.field
            parameters["nodes"] = [list(axis) for axis in thresholds.nodes]
        outputs: Mapping[str, OutputSpec] = {
            state_path(tests.level): OutputSpec(dtype="int16", fill_value=NEVER_CODE)
        }
        if tests.level == 0:
            parameters |= {
                "resolutions": self.resolutions.tolist(),
                "tested": len(self.resolutions) if tested is None else tested,
                "shape": list(grid.shape),
            }
            outputs = answer_outputs()
        return TileJob(
            name=f"monores decisions {tests.level}",
            plan=plan,
            function=decide_tile,
            inputs=sources,
            outputs=outputs,
            parameters=parameters,
            tiles=tiles_near(solved, plan, factor=2**tests.level),
            bytes_per_voxel=needed,
        )

    def _noise_sources(self, level: int) -> tuple[dict[str, Source], Source | None]:
        """Return what a pass over a level's noise reads, and the occupancy it is limited to."""
        inputs = self.inputs
        inside = inputs.region_kind == "mask"
        masks = inputs.masks(level, solvent=not inside)
        region = {} if inputs.region is None else {"region": inputs.region[level]}
        solved = masks.get("occupancy") if inside else None
        return {**inputs.maps(level), **masks, **region}, solved

    def _noise_region(self, tests: LevelTests) -> dict[str, Any]:
        """Return what a pass over a level's noise is told."""
        grid = self.inputs.grid
        sphere = self.inputs.sphere or NoiseSphere.everywhere(grid)
        return {
            "tests": asdict(tests),
            "voxel_angstrom": list(grid.coarser(2**tests.level).voxel_size_angstrom),
            "region": self.inputs.region_kind,
            "centre_angstrom": list(sphere.centre_angstrom),
            "radius_angstrom": sphere.radius_angstrom,
            **self._shared(),
        }

    def _noise_voxels(self, grid: Grid) -> float:
        """Return in how many voxels of a level noise is measured, as far as it is known before."""
        inputs, every = self.inputs, float(prod(grid.shape))
        if inputs.region_kind != "mask":
            return 0.0
        occupancy = inputs.masks(0).get("occupancy")
        if occupancy is None:
            return every
        cells = np.asarray(occupancy.read((slice(None),) * 3)) > 0
        return every * float(cells.mean())

    def _shared(self) -> dict[str, Any]:
        """Return what both passes are told."""
        wedge = self.inputs.wedge
        return {
            "mirror_vox": self.inputs.mirror_vox,
            "wedge": None if wedge is None else asdict(wedge),
            "device": self.parameters.device,
        }

    def _bytes(self, per_voxel: float, grid: Grid) -> float:
        """Count what mirroring adds to a block, by its smallest likely edges."""
        more = 2 * self.inputs.mirror_vox
        return per_voxel * prod(1 + more / min(n, 128) for n in grid.shape)

    def _plan(
        self,
        grid: Grid,
        halo: int,
        multiple: int,
        bytes_per_voxel: float,
        solved: Source | None,
        level: int,
        margin_vox: int = 0,
    ) -> TilePlan:
        return plan_tiles(
            grid.shape,
            halo=(halo, halo, halo),
            bytes_per_voxel=bytes_per_voxel,
            memory_bytes=self.executor.memory_bytes,
            workers=self.executor.workers,
            tile=self.tile,
            multiple=multiple,
            run=self.run,
            focus=focus_on(solved, factor=2**level, margin_vox=margin_vox),
        )


def answer_outputs() -> Mapping[str, OutputSpec]:
    """Return the arrays every run of MonoRes ends with."""
    return {
        LOCRES: OutputSpec(lead=(1,)),
        FLAGS: OutputSpec(dtype="uint8", lead=(1,), fill_value=FLAG_OUTSIDE),
    }
