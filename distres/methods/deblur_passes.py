"""The tile jobs of LocalDeblur."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from math import ceil, sqrt
from typing import Any

from distres.engine.cluster import Executor
from distres.engine.jobs import OutputSpec, Source, TileFunction, TileJob
from distres.engine.planner import plan_tiles
from distres.engine.run import Run
from distres.engine.tables import Table
from distres.engine.tiles import TilePlan
from distres.errors import UsageError
from distres.io.grid import Grid
from distres.methods.deblur_plan import (
    DeblurParameters,
    ResolutionField,
    choose_halo,
    choose_settings,
)
from distres.methods.deblur_tiles import (
    GAIN_SIGMA_VOX,
    gain_tile,
    iteration_tile,
    residual_tile,
    start_tile,
    step_tile,
)

# Measured: 46 to 75 for each voxel that a tile reads.
BYTES_PER_VOXEL = 90.0


def map_path(number: int) -> str:
    """Return where the map of one iteration lies in the run's store."""
    return f"deblur/map/{number}"


def residual_path(number: int) -> str:
    """Return where the residual of one iteration lies in the run's store."""
    return f"deblur/residual/{number}"


def gain_path(number: int) -> str:
    """Return where the gain after so many iterations lies."""
    return f"deblur/gain/{number}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Passes:
    """The jobs of one map: what they share is said once."""

    observed: Source
    field: ResolutionField
    mask: Source | None
    grid: Grid
    plan: TilePlan
    parameters: DeblurParameters
    settings: Mapping[str, Any]

    @classmethod
    def of(
        cls,
        observed: Source,
        field: ResolutionField,
        mask: Source | None,
        grid: Grid,
        run: Run,
        executor: Executor,
        parameters: DeblurParameters,
        *,
        tile: int | None = None,
    ) -> "Passes":
        """Choose bands, halo and tiles."""
        settings = choose_settings(grid, field, parameters)
        xmipp = parameters.model == "xmipp"
        # The narrowest bands of Xmipp's bank reach across any box: one tile, or none.
        halo = (0, 0, 0) if xmipp else choose_halo(grid, field, settings)
        plan = plan_tiles(
            grid.shape,
            halo=halo,
            bytes_per_voxel=BYTES_PER_VOXEL,
            memory_bytes=executor.memory_bytes,
            workers=executor.workers,
            tile=max(grid.shape) if xmipp else tile,
            run=run,
        )
        return cls(
            observed=observed,
            field=field,
            mask=mask,
            grid=grid,
            plan=plan,
            parameters=parameters,
            settings={**settings, "halo_vox": list(halo)},
        )

    @property
    def damping(self) -> float:
        """Return 1 / SNR."""
        return float(self.settings["damping"])

    def start(self) -> TileJob:
        """Return the job that makes the map `blur` begins with."""
        inputs = {"map": self.observed, "resolution": self.field.source}
        return self._job("start", start_tile, inputs, map_path(0))

    def residual(self, number: int, iterate: Source) -> TileJob:
        """Return the first job of an iteration: what H does not explain."""
        inputs = {"iterate": iterate, "map": self.observed, "resolution": self.field.source}
        return self._job(f"residual {number}", residual_tile, inputs, residual_path(number))

    def step(self, number: int, iterate: Source, residual: Source, step: float) -> TileJob:
        """Return the second job of an iteration: the step."""
        inputs = {"iterate": iterate, "residual": residual, "resolution": self.field.source}
        more = self._of_step(step)
        return self._job(f"step {number}", step_tile, inputs, map_path(number), more)

    def iteration(self, number: int, iterate: Source, step: float) -> TileJob:
        """Return both in one job, for a plan of one tile."""
        inputs = {"iterate": iterate, "map": self.observed, "resolution": self.field.source}
        more = self._of_step(step)
        return self._job(f"iteration {number}", iteration_tile, inputs, map_path(number), more)

    def _of_step(self, step: float) -> dict[str, Any]:
        xmipp = self.parameters.model == "xmipp"
        floor = -4 * self.field.empty_deviation if xmipp else None
        return {"step": step, "adjoint": not xmipp, "floor": floor}

    def _job(
        self,
        name: str,
        function: TileFunction,
        inputs: Mapping[str, Source],
        path: str,
        more: Mapping[str, Any] | None = None,
    ) -> TileJob:
        return TileJob(
            name=f"deblur {name}",
            plan=self.plan,
            function=function,
            inputs=inputs,
            outputs={path: OutputSpec()},
            parameters={**self.settings, **(more or {}), "output": path},
            bytes_per_voxel=BYTES_PER_VOXEL,
        )

    def gain(self, number: int, iterate: Source) -> TileJob:
        """Return the last job: the gain, and the radial power of input and output."""
        path = gain_path(number)
        inputs = {"iterate": iterate, "map": self.observed, "resolution": self.field.source}
        more = ceil(3 * GAIN_SIGMA_VOX) if any(self.plan.halo) else 0
        z, y, x = (halo + more for halo in self.plan.halo)
        return TileJob(
            name=f"deblur gain {number}",
            plan=replace(self.plan, halo=(z, y, x)),
            function=gain_tile,
            inputs=inputs if self.mask is None else {**inputs, "mask": self.mask},
            outputs={path: OutputSpec()},
            parameters={
                **self.settings,
                "halo_vox": [z, y, x],
                "nyquist_per_angstrom": 0.5 / max(self.grid.voxel_size_angstrom),
                "output": path,
            },
            bytes_per_voxel=BYTES_PER_VOXEL,
        )

    def first_step(self, table: Table) -> float:
        """Return lambda from the norms of the first residual job."""
        if self.parameters.model == "blur":
            return 1 / (1 + self.damping)  # the inverse of the largest eigenvalue of H'H + 1 / SNR
        blurred, observed = float(table.sum("blurred")), float(table.sum("observed"))
        if not blurred > 0:
            raise UsageError(
                "nothing of the map lies near its local resolutions; is this the right resolution "
                "map, and are both in angstrom?"
            )
        step = sqrt(observed / blurred) / (12 if self.parameters.model == "xmipp" else 10)
        # Beyond 1 the damping alone would overshoot 0.
        return min(step, 1 / self.damping) if self.damping > 0 else step
