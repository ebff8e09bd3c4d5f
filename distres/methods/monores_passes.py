"""The passes of MonoRes: what they read, their jobs, and how their rows become thresholds."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
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
from distres.engine.tiles import TilePlan
from distres.errors import InputError
from distres.io.grid import Grid
from distres.kernels.monores import LevelTests, halo_vox
from distres.kernels.monores_noise import (
    CELL_VOX,
    FIELD_INDEPENDENT,
    INDEPENDENT_CUTOFF,
    field_bandwidth_cells,
)
from distres.kernels.noise_threshold import (
    independent_values,
    sweep_threshold,
)
from distres.kernels.sparse_tests import Places, fill_between, sparse_places, uneven_places
from distres.kernels.threshold_field import (
    Axes,
    ThresholdField,
    Values,
    fit_threshold_field,
)
from distres.kernels.wedge import Wedge
from distres.methods.monores_blocks import NOISE_HALO_VOX
from distres.methods.monores_plan import MonoResParameters
from distres.methods.monores_tiles import (
    FLAGS,
    LOCRES,
    NEVER_CODE,
    decide_tile,
    noise_path,
    noise_tile,
    state_path,
)
from distres.methods.nearby import focus_on, tiles_near
from distres.methods.products import FLAG_OUTSIDE
from distres.methods.solvent import NoiseSphere

# Measured peak of a tile function over the voxels of its block (160^3 and 216^3, float32).
NOISE_BYTES_PER_VOXEL = 88.0
CELLS_BYTES_PER_VOXEL = 96.0
DECIDE_BYTES_PER_VOXEL = 64.0
SAMPLE_EDGE, SAMPLES = 32, 2


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
    unit, unit_occupancy
        The part of the mask that is answered, where that is not all of it. Noise that is measured
        in the mask is then measured there too.
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
    unit: Source | None = None
    unit_occupancy: Source | None = None
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

    @property
    def density(self) -> tuple[Source, ...]:
        """The maps as they were given: what pictures show."""
        return tuple(self.maps(0).values())

    def maps(self, level: int) -> dict[str, Source]:
        """Return the maps of one level by role."""
        found = {"half1": self.half1[level]}
        return found if self.half2 is None else {**found, "half2": self.half2[level]}

    def masks(self, level: int, *, solvent: bool = False) -> dict[str, Source]:
        """Return what says which voxels to solve, on one level; for solvent, the whole mask."""
        whole = solvent or self.unit is None
        mask = self.mask if whole else self.unit
        occupancy = self.occupancy if whole else self.unit_occupancy
        found: dict[str, Source] = {}
        if mask is not None and level == 0:
            found["mask"] = mask
        if occupancy is not None:
            found["occupancy"] = occupancy
        return found


@dataclass(frozen=True, slots=True, kw_only=True)
class Thresholds:
    """One number a test, or a field over the volume (its array in the store, and its nodes)."""

    values: tuple[float, ...] = ()
    field: ZarrSource | None = None
    nodes: tuple[list[float], ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Noise:
    """The threshold of one test: a number, or a field and its mean."""

    strength: float
    field: ThresholdField | None = None


@dataclass(slots=True)
class Passes:
    """Makes the jobs of a run and reduces their rows."""

    inputs: MonoResInputs
    run: Run
    executor: Executor
    parameters: MonoResParameters
    resolutions: npt.NDArray[np.float64]
    tile: int | None

    def thresholds(self, tests: LevelTests) -> Thresholds:
        """Measure the noise of a level's tests: of some, and of all where it changes fast."""
        frequencies, scale = tests.frequencies, noise_scale(self.inputs, tests.level)
        places = sparse_places(frequencies)
        found = self._measure(tests, places, scale)
        missing = uneven_places(frequencies, places, [n.strength for n in found])
        if missing:
            known = dict(zip(places, found, strict=True))
            known |= zip(missing, self._measure(tests, missing, scale, "between"), strict=True)
            places = tuple(sorted(known))
            found = [known[place] for place in places]
        values = fill_between(frequencies, places, np.array([n.strength for n in found]))
        fields = [n.field for n in found if n.field is not None]
        if not fields:
            return Thresholds(values=tuple(values.tolist()))
        stack = fill_between(frequencies, places, np.stack([field.values for field in fields]))
        return self._store(tests, values.tolist(), stack, fields[0].nodes)

    def _measure(
        self, tests: LevelTests, places: Places, scale: float, part: str = ""
    ) -> list[Noise]:
        """Measure the noise of some tests of a level."""
        some = replace(tests, frequencies=tuple(tests.frequencies[i] for i in places))
        table = run_job(self.noise_job(some, scale, part), run=self.run, executor=self.executor)
        grid = self.inputs.grid.coarser(2**tests.level)
        volume = int(table.sum("voxels")) * prod(grid.voxel_size_angstrom)
        local = self.parameters.local_noise
        values = []
        for row, frequency in zip(table.sum("counts"), some.frequencies, strict=True):
            independent = independent_values(volume, INDEPENDENT_CUTOFF * frequency)
            unit = 1.0 if local else scale
            if local:
                # An amplitude is judged by the field around it, which rests on fewer values.
                independent = min(independent, FIELD_INDEPENDENT)
            values.append(sweep_threshold(row, unit, self.parameters.confidence, independent))
        if not local:
            return [Noise(strength=value) for value in values]
        return self._fields(some, values, noise_path(tests.level, part))

    def _fields(self, tests: LevelTests, quantiles: Sequence[float], path: str) -> list[Noise]:
        """Fit smooth fields to the mean amplitudes of cells; the quantile scales them."""
        count = len(tests.frequencies)
        grid = self.inputs.grid.coarser(2**tests.level)
        cells = np.asarray(output(self.run, path).read((slice(None),) * 3), np.float64)
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
        return [Noise(strength=float(field.values.mean()), field=field) for field in fields]

    def _store(
        self, tests: LevelTests, values: Sequence[float], stack: Values, nodes: Axes
    ) -> Thresholds:
        """Put the fields of a level's tests where tiles can read them."""
        path = f"monores/thresholds/{tests.level}"
        chunks = (len(stack), *(min(n, 64) for n in stack.shape[1:]))
        data = stack.astype(np.float32)
        zarr.create_array(self.run.store, name=path, data=data, chunks=chunks, overwrite=True)
        return Thresholds(
            values=tuple(values),
            field=output(self.run, path),
            nodes=tuple(axis.tolist() for axis in nodes),
        )

    def noise_job(self, tests: LevelTests, scale: float, part: str = "") -> TileJob:
        """Return the pass that measures a level's noise."""
        inputs, grid = self.inputs, self.inputs.grid.coarser(2**tests.level)
        local = self.parameters.local_noise
        needed = self._bytes(CELLS_BYTES_PER_VOXEL if local else NOISE_BYTES_PER_VOXEL, grid)
        masks = inputs.masks(tests.level, solvent=inputs.region_kind != "mask")
        solved = masks.get("occupancy") if inputs.region_kind == "mask" else None
        plan = self._plan(grid, NOISE_HALO_VOX, CELL_VOX, needed, solved, tests.level)
        region: dict[str, Source] = {}
        if inputs.region is not None:
            region["region"] = inputs.region[tests.level]
        sphere = inputs.sphere or NoiseSphere.everywhere(inputs.grid)
        cells = (2 * len(tests.frequencies),)
        return TileJob(
            name=f"monores noise {tests.level} {part}".rstrip(),
            plan=plan,
            function=noise_tile,
            inputs={**inputs.maps(tests.level), **masks, **region},
            outputs={
                noise_path(tests.level, part): OutputSpec(
                    lead=cells, divisor=CELL_VOX, fill_value=0.0
                )
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
                "part": part,
                **self._shared(),
            },
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
        needed = self._bytes(DECIDE_BYTES_PER_VOXEL, grid)
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
            focus=focus_on(solved, factor=2**level),
        )


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
