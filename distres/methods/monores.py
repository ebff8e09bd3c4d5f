"""MonoRes of volumes of any size: on every level of the pyramid first noise, then decisions.

From the coarsest level to the finest, one pass measures the noise of the level's tests (histograms
merged exactly, or quantiles of cells for a smooth threshold), and a second pass tests the voxels
that are still in the sweep, with the state that the coarser level left them.
"""

import logging
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from math import prod
from typing import Any

import numpy as np
import numpy.typing as npt
import zarr

from distres.engine.cluster import Executor
from distres.engine.jobs import OutputSpec, Source, TileJob, ZarrSource
from distres.engine.planner import plan_tiles
from distres.engine.run import Run
from distres.engine.runner import output, run_job
from distres.engine.tables import Table
from distres.engine.tiles import TilePlan
from distres.errors import InputError
from distres.io.grid import Grid
from distres.kernels.monores import (
    CELL_VOX,
    FIELD_INDEPENDENT,
    INDEPENDENT_CUTOFF,
    LevelTests,
    field_bandwidth_cells,
    halo_vox,
    plan_levels,
)
from distres.kernels.noise_threshold import (
    independent_values,
    sweep_threshold,
)
from distres.kernels.threshold_field import fit_threshold_field
from distres.kernels.wedge import Wedge
from distres.methods.mask import occupied_tiles
from distres.methods.monores_plan import MonoResParameters
from distres.methods.monores_tiles import (
    FLAGS,
    LOCRES,
    NEVER_CODE,
    NOISE_HALO_VOX,
    decide_tile,
    noise_path,
    noise_tile,
    published_tile,
    state_path,
)
from distres.methods.products import FLAG_OUTSIDE
from distres.methods.solvent import NoiseSphere

logger = logging.getLogger(__name__)

# Measured peak of a tile over the voxels it reads, see docs.
BYTES_PER_VOXEL = 44.0
PUBLISHED_BYTES_PER_VOXEL = 60.0
SAMPLE_EDGE, SAMPLES = 32, 2
# Noise this much weaker than at other frequencies is what a filter left, or leaked from them.
SILENT = 1e-3


@dataclass(frozen=True, slots=True, kw_only=True)
class MonoResInputs:
    """What MonoRes reads, all in pyramids: voxel i of level l lies on voxel ``i * 2**l``.

    Attributes
    ----------
    half1
        Levels of half map 1, or of the map.
    half2
        Levels of half map 2; None for a single map.
    grid
        Grid of level 0.
    mask, occupancy
        Mask on level 0, and its largest value in cells; None answers every voxel.
    region
        Levels of the noise region's mask; None for the default region.
    sphere
        Where solvent holds noise; needed for a single map without `region`.
    mirror_vox
        How far blocks are mirrored at the volume's faces; 0 takes the volume as periodic.
    wedge
        Frequencies that were not measured.
    """

    half1: Sequence[Source]
    half2: Sequence[Source] | None
    grid: Grid
    mask: Source | None = None
    occupancy: Source | None = None
    region: Sequence[Source] | None = None
    sphere: NoiseSphere | None = None
    mirror_vox: int = 0
    wedge: Wedge | None = None

    @property
    def levels(self) -> int:
        """Levels that can be used."""
        others = [a for a in (self.half2, self.region) if a is not None]
        return min([len(self.half1), *(len(a) for a in others)])

    @property
    def region_kind(self) -> str:
        """Where noise is measured: ``file``, ``solvent`` or ``mask``."""
        if self.region is not None:
            return "file"
        return "mask" if self.half2 is not None else "solvent"

    def maps(self, level: int) -> dict[str, Source]:
        """Return the maps of one level by role."""
        found = {"half1": self.half1[level]}
        return found if self.half2 is None else {**found, "half2": self.half2[level]}

    def masks(self, level: int) -> dict[str, Source]:
        """Return what says where the mask is, on one level."""
        found: dict[str, Source] = {}
        if self.mask is not None and level == 0:
            found["mask"] = self.mask
        if self.occupancy is not None:
            found["occupancy"] = self.occupancy
        return found


@dataclass(frozen=True, slots=True, kw_only=True)
class MonoResResult:
    """What MonoRes left in the run's store.

    Attributes
    ----------
    locres, flags
        Paths of (1, z, y, x) arrays: angstrom (NaN where undefined), and bits.
    resolutions
        The tests, coarse to fine, in angstrom.
    thresholds
        For each test the threshold, or the mean of the field; empty in compat mode.
    warnings
        What a reader must know.
    """

    locres: str
    flags: str
    resolutions: tuple[float, ...]
    thresholds: tuple[float, ...]
    warnings: tuple[str, ...] = ()

    def as_json(self) -> dict[str, Any]:
        """Return tests and thresholds for the record."""
        return {
            "resolutions_angstrom": list(self.resolutions),
            "thresholds": list(self.thresholds),
        }


def run_monores(
    inputs: MonoResInputs,
    run: Run,
    executor: Executor,
    parameters: MonoResParameters,
    *,
    tile: int | None = None,
) -> MonoResResult:
    """Compute MonoRes of half maps or of a map.

    Parameters
    ----------
    inputs
        Pyramids, mask and noise region.
    run, executor
        Where it goes and where it is computed. Passes that are done are not computed again.
    parameters
        What to compute.
    tile
        Core edge in voxels, overriding the planner.

    Raises
    ------
    InputError
        No noise is left to compare with.
    """
    if parameters.compat:
        return _run_published(inputs, run, executor, parameters)
    resolutions = parameters.resolutions(inputs.grid)
    passes = _Passes(inputs, run, executor, parameters, resolutions, tile)
    coarser: int | None = None
    thresholds: list[float] = []
    warnings: list[str] = []
    silent = False
    for tests in plan_levels(resolutions, inputs.grid.voxel_size_angstrom, inputs.levels):
        found = passes.thresholds(tests) if tests.frequencies and not silent else _Thresholds()
        usable = _until_silent(tests, found, max(thresholds, default=0.0))
        silent = silent or len(usable.frequencies) < len(tests.frequencies)
        thresholds += found.values[: len(usable.frequencies)]
        if usable.frequencies or tests.level == 0:
            table = run_job(passes.decide_job(usable, found, coarser), run=run, executor=executor)
            coarser = tests.level
            logger.info(
                "level %d: %d tests, %d voxels go on",
                tests.level,
                len(usable.frequencies),
                int(table.sum("alive")),
            )
    if silent:
        limit = float(resolutions[len(thresholds) - 1]) if thresholds else float(resolutions[0])
        warnings.append(
            f"the maps hold no noise beyond {limit:.3g} A: they were filtered, and finer "
            "resolutions cannot be tested"
        )
    return MonoResResult(
        locres=LOCRES,
        flags=FLAGS,
        resolutions=tuple(float(r) for r in resolutions),
        thresholds=tuple(thresholds),
        warnings=tuple(warnings),
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class _Thresholds:
    """One number a test, or a field over the volume (its array in the store, and its nodes)."""

    values: tuple[float, ...] = ()
    field: ZarrSource | None = None
    nodes: tuple[list[float], ...] = ()


def _until_silent(tests: LevelTests, found: _Thresholds, strongest: float) -> LevelTests:
    """Keep the tests up to the first without noise."""
    quiet = SILENT * max(strongest, *found.values, 0.0)
    count = next((i for i, value in enumerate(found.values) if value <= quiet), len(found.values))
    return LevelTests(
        level=tests.level,
        first=tests.first,
        frequencies=tests.frequencies[:count],
        ramp=tests.ramp,
    )


@dataclass(slots=True)
class _Passes:
    """Makes the jobs of a run and reduces their rows."""

    inputs: MonoResInputs
    run: Run
    executor: Executor
    parameters: MonoResParameters
    resolutions: npt.NDArray[np.float64]
    tile: int | None

    def thresholds(self, tests: LevelTests) -> _Thresholds:
        """Measure the noise of a level's tests."""
        scale = noise_scale(self.inputs, tests.level)
        table = run_job(self.noise_job(tests, scale), run=self.run, executor=self.executor)
        grid = self.inputs.grid.coarser(2**tests.level)
        volume = int(table.sum("voxels")) * prod(grid.voxel_size_angstrom)
        local = self.parameters.local_noise
        values = []
        for row, frequency in zip(table.sum("counts"), tests.frequencies, strict=True):
            independent = independent_values(volume, INDEPENDENT_CUTOFF * frequency)
            unit = 1.0 if local else scale
            if local:
                # An amplitude is judged by the field around it, which rests on fewer values.
                independent = min(independent, FIELD_INDEPENDENT)
            values.append(sweep_threshold(row, unit, self.parameters.confidence, independent))
        return self._field(tests, values) if local else _Thresholds(values=tuple(values))

    def _field(self, tests: LevelTests, quantiles: Sequence[float]) -> _Thresholds:
        """Fit smooth fields to the mean amplitudes of cells; the quantile scales them."""
        count = len(tests.frequencies)
        grid = self.inputs.grid.coarser(2**tests.level)
        source = output(self.run, noise_path(tests.level))
        cells = np.asarray(source.read((slice(None),) * 3), np.float64)
        fields = [
            fit_threshold_field(
                cells[i] * quantile,
                cells[count + i],
                grid.shape,
                (CELL_VOX,) * 3,
                field_bandwidth_cells(frequency * max(grid.voxel_size_angstrom)),
            )
            for i, (quantile, frequency) in enumerate(
                zip(quantiles, tests.frequencies, strict=True)
            )
        ]
        path = f"monores/thresholds/{tests.level}"
        data = np.stack([field.values for field in fields]).astype(np.float32)
        chunks = (count, *(min(n, 64) for n in data.shape[1:]))
        zarr.create_array(self.run.store, name=path, data=data, chunks=chunks, overwrite=True)
        return _Thresholds(
            values=tuple(float(field.values.mean()) for field in fields),
            field=output(self.run, path),
            nodes=tuple(axis.tolist() for axis in fields[0].nodes),
        )

    def noise_job(self, tests: LevelTests, scale: float) -> TileJob:
        """Return the pass that measures a level's noise."""
        inputs, grid = self.inputs, self.inputs.grid.coarser(2**tests.level)
        local = self.parameters.local_noise
        plan = self._plan(grid, NOISE_HALO_VOX, CELL_VOX)
        region: dict[str, Source] = {}
        if inputs.region is not None:
            region["region"] = inputs.region[tests.level]
        sphere = inputs.sphere or NoiseSphere.everywhere(inputs.grid)
        cells = (2 * len(tests.frequencies),)
        return TileJob(
            name=f"monores noise {tests.level}",
            plan=plan,
            function=noise_tile,
            inputs={**inputs.maps(tests.level), **inputs.masks(tests.level), **region},
            outputs={
                noise_path(tests.level): OutputSpec(lead=cells, divisor=CELL_VOX, fill_value=0.0)
            }
            if local
            else {},
            parameters={
                "tests": asdict(tests),
                "voxel_angstrom": list(grid.voxel_size_angstrom),
                "scale": scale,
                "region": inputs.region_kind,
                "centre_angstrom": list(sphere.centre_angstrom),
                "radius_angstrom": sphere.radius_angstrom,
                "local": local,
                **self._shared(),
            },
            tiles=self._occupied(plan, tests.level) if inputs.region_kind == "mask" else None,
            bytes_per_voxel=BYTES_PER_VOXEL,
        )

    def decide_job(
        self, tests: LevelTests, thresholds: _Thresholds, coarser: int | None
    ) -> TileJob:
        """Return the pass that tests a level's voxels; on level 0 it writes the answer."""
        inputs, grid = self.inputs, self.inputs.grid.coarser(2**tests.level)
        plan = self._plan(grid, halo_vox(tests, grid.voxel_size_angstrom), 8)
        sources = {**inputs.maps(tests.level), **inputs.masks(tests.level)}
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
            tiles=self._occupied(plan, tests.level),
            bytes_per_voxel=BYTES_PER_VOXEL,
        )

    def _shared(self) -> dict[str, Any]:
        """Return what both passes are told."""
        wedge = self.inputs.wedge
        return {
            "mirror_vox": self.inputs.mirror_vox,
            "wedge": None if wedge is None else asdict(wedge),
            "device": self.parameters.device,
        }

    def _plan(self, grid: Grid, halo: int, multiple: int) -> TilePlan:
        return plan_tiles(
            grid.shape,
            halo=(halo, halo, halo),
            bytes_per_voxel=BYTES_PER_VOXEL,
            memory_bytes=self.executor.memory_bytes,
            workers=self.executor.workers,
            tile=self.tile,
            multiple=multiple,
            run=self.run,
        )

    def _occupied(self, plan: TilePlan, level: int) -> tuple[int, ...] | None:
        """Return the tiles of a level that may hold mask; None for all."""
        if self.inputs.occupancy is None:
            return None
        z, y, x = (c * 2**level for c in plan.core)
        finest = TilePlan(shape=self.inputs.grid.shape, core=(z, y, x), halo=(0, 0, 0))
        return occupied_tiles(self.inputs.occupancy, finest)


def answer_outputs() -> Mapping[str, OutputSpec]:
    """Return the arrays every run of MonoRes ends with."""
    return {
        LOCRES: OutputSpec(lead=(1,)),
        FLAGS: OutputSpec(dtype="uint8", lead=(1,), fill_value=FLAG_OUTSIDE),
    }


def noise_scale(inputs: MonoResInputs, level: int) -> float:
    """Return the strength of the noise on a level, from small cubes all over the volume."""
    shape = inputs.half1[level].shape[-3:]
    squares, count = 0.0, 0
    for index in np.ndindex(*(SAMPLES,) * 3):
        region = tuple(
            slice(first, first + min(SAMPLE_EDGE, n))
            for n, i in zip(shape, index, strict=True)
            for first in [max(0, (2 * i + 1) * n // (2 * SAMPLES) - SAMPLE_EDGE // 2)]
        )
        block = np.asarray(inputs.half1[level].read(region), dtype=np.float64)
        if inputs.half2 is not None:
            block = (block - np.asarray(inputs.half2[level].read(region), dtype=np.float64)) / 2
        squares += float(np.square(block - block.mean()).sum())
        count += block.size
    if squares == 0:
        raise InputError(
            "the half maps are equal all over the volume; give two independent half maps"
            if inputs.half2 is not None
            else "the map is constant; there is nothing to measure"
        )
    return float((squares / count) ** 0.5)


def _run_published(
    inputs: MonoResInputs, run: Run, executor: Executor, parameters: MonoResParameters
) -> MonoResResult:
    """Run the published algorithm, which needs the whole volume in one tile."""
    if inputs.mask is None:
        raise InputError("the published algorithm needs a mask; give --mask")
    grid = inputs.grid
    fine, coarse = parameters.range_angstrom(grid)
    plan = plan_tiles(
        grid.shape,
        halo=(0, 0, 0),
        bytes_per_voxel=PUBLISHED_BYTES_PER_VOXEL,
        memory_bytes=executor.memory_bytes,
        workers=1,
        tile=max(grid.shape),
    )
    voxel = grid.voxel_size_angstrom[2]
    step = parameters.step_angstrom or 0.5 * voxel
    job = TileJob(
        name="monores published",
        plan=plan,
        function=published_tile,
        inputs={**inputs.maps(0), "mask": inputs.mask},
        outputs=answer_outputs(),
        parameters={
            "voxel_angstrom": voxel,
            "coarsest_angstrom": coarse,
            "finest_angstrom": fine,
            "step_angstrom": step,
            "confidence": parameters.confidence,
            "noise_in_mask": parameters.noise_in_mask,
            "device": parameters.device,
        },
        bytes_per_voxel=PUBLISHED_BYTES_PER_VOXEL,
    )
    table: Table = run_job(job, run=run, executor=executor)
    tests = tuple(float(r) for r in table.columns["tests"][0] if r > 0)
    return MonoResResult(locres=LOCRES, flags=FLAGS, resolutions=tests, thresholds=())
