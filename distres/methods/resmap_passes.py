"""The passes of ResMap: what each shares with those before, and the noise they begin with."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

import numpy as np

from distres.engine.cluster import Executor
from distres.engine.jobs import OutputSpec, Source, TileFunction, TileJob
from distres.engine.planner import plan_tiles
from distres.engine.run import Run
from distres.engine.runner import output, run_job
from distres.engine.tables import Table
from distres.errors import InputError
from distres.io.grid import Grid
from distres.kernels.whitening import NoiseFit
from distres.methods.nearby import FewCells, focus_on, tiles_near
from distres.methods.resmap_tiles import (
    CELL_REACH,
    CELL_VOX,
    CUBE_VOX,
    LEVEL,
    MEAN,
    NOISE,
    WHITENING_HALO,
    sinusoid_of,
    spectrum_tile,
    variance_tile,
    whiten_tile,
)

PUBLISHED_CUBE_VOX = 160
ELBOW_ANGSTROM = 10.0
BYTES_PER_VOXEL = 80.0


@dataclass(slots=True, kw_only=True)
class Passes:
    """Runs the passes of one ResMap and keeps what each needs of those before."""

    sources: dict[str, Source]
    mask: Source
    occupancy: Source | None
    unit: Source
    unit_occupancy: Source | None
    grid: Grid
    run: Run
    executor: Executor
    settings: dict[str, Any]
    tile: int | None = None
    tables: dict[str, Table] = field(default_factory=dict)

    def go(
        self,
        name: str,
        function: TileFunction,
        inputs: dict[str, Source],
        *,
        halo: Sequence[int] = (0, 0, 0),
        outputs: dict[str, OutputSpec] | None = None,
        noise: bool = False,
        **changes: Any,  # noqa: ANN401
    ) -> Table:
        """Run one pass and keep its rows.

        Passes that look for `noise` go over the whole volume, unless only a small part of it is
        solved: then its surroundings are enough. All others go over the voxels to solve.
        """
        z, y, x = halo
        occupancy: Source | None = self.occupancy if noise else self.unit_occupancy
        if noise and not isinstance(occupancy, FewCells):
            occupancy = None
        margin = self.surroundings if noise else 0
        plan = plan_tiles(
            self.grid.shape,
            halo=(z, y, x),
            bytes_per_voxel=BYTES_PER_VOXEL,
            memory_bytes=self.executor.memory_bytes,
            workers=self.executor.workers,
            tile=self.tile,
            multiple=CELL_VOX,
            run=self.run,
            focus=focus_on(occupancy, margin_vox=margin),
        )
        job = TileJob(
            name=f"resmap {name}",
            plan=plan,
            function=function,
            inputs={**inputs, "mask": self.mask if noise else self.unit},
            outputs=outputs or {},
            parameters={**self.settings, **changes},
            tiles=tiles_near(occupancy, plan, margin_vox=margin),
            bytes_per_voxel=BYTES_PER_VOXEL,
        )
        table = run_job(job, run=self.run, executor=self.executor)
        self.tables[job.name] = table
        return table

    @property
    def surroundings(self) -> int:
        """Voxels around a voxel that its windows, and those its noise is read from, reach."""
        radii = [max(sinusoid_of(self.settings, w).radius) for w in self.settings["wavelengths"]]
        return max(CUBE_VOX, 2 * max(radii), (CELL_REACH + 1) * CELL_VOX)

    def stored(self, *names: str) -> dict[str, Source]:
        """Return arrays of earlier passes by the names tile functions use."""
        paths = {"mean": MEAN, "noise": NOISE, "level": LEVEL}
        return {name: output(self.run, paths[name]) for name in names}


def whiten(
    passes: Passes, *, strength: float, elbow_angstrom: float | None
) -> tuple[dict[str, Any] | None, tuple[float, ...]]:
    """Fit the noise spectrum and store signal and noise, whitened."""
    grid, single = passes.grid, passes.settings["single"]
    # The program takes the whole volume up to 160 voxels.
    largest = PUBLISHED_CUBE_VOX if passes.settings["published"] else CUBE_VOX
    cube = min(largest, *grid.shape)
    nyquist = 0.5 / max(grid.voxel_size_angstrom)
    fit: dict[str, Any] | None = None
    spectrum: tuple[float, ...] = ()
    if strength > 0:
        table = passes.go(
            "spectrum",
            spectrum_tile,
            passes.sources,
            halo=(cube - 1,) * 3,
            noise=True,
            cube_vox=cube,
        )
        power, counts = table.sum("power"), table.sum("counts")
        if not counts.any():
            raise InputError(
                f"no cube of {cube} voxels lies outside the mask, so the noise of a single map "
                "cannot be read; give half maps, a smaller mask, or no whitening"
            )
        elbow = elbow_angstrom or max(ELBOW_ANGSTROM, 1.05 / nyquist)
        fit = asdict(NoiseFit.of(power, counts, nyquist, elbow))
        fit["coefficients"] = list(fit["coefficients"])
        spectrum = tuple(float(v) for v in power / np.maximum(counts, 1))
    passes.go(
        "whitening",
        whiten_tile,
        passes.sources,
        halo=(WHITENING_HALO if fit else 0,) * 3,
        outputs={
            MEAN: OutputSpec(),
            NOISE: OutputSpec(),
            LEVEL: OutputSpec(lead=(2,), divisor=CELL_VOX, fill_value=0.0),
        },
        noise=True,
        fit=fit,
        strength=strength,
        single=single,
    )
    return fit, spectrum


def variances_of(passes: Passes, wavelengths: Sequence[float]) -> tuple[float, ...]:
    """Return the variance of the noise's statistic at every wavelength."""
    radii = [sinusoid_of(passes.settings, w).radius for w in wavelengths]
    halo = [2 * max(r[axis] for r in radii) for axis in range(3)]
    table = passes.go(
        "variance",
        variance_tile,
        passes.stored("noise", "level"),
        halo=halo,
        noise=True,
    )
    found = []
    for wavelength, row in zip(wavelengths, table.sum("sums"), strict=True):
        # Windows wholly inside, or none: then those whose centre is inside.
        total, number = row[:2] if row[1] else row[2:]
        if not number or not total > 0:
            raise InputError(
                f"no window of {wavelength:.1f} A holds noise alone; give a larger mask, half maps "
                "that differ, or a finer end of the range"
            )
        found.append(float(total / number))
    return tuple(found)
