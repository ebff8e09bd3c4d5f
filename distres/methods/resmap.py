"""ResMap for volumes of any size: the finest wavelength at which a sinusoid beats the noise.

Passes: noise spectrum; whitened signal and noise; noise variance of every wavelength; then, from
fine to coarse, one statistic per wavelength whose counts over all tiles give the threshold
that holds the rate of false discoveries; last the decision. What crosses tiles are counts and
sums. The halo of a statistic is its window's radius, exactly.
"""

from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from math import ceil, log
from typing import Any

import numpy as np

from distres.engine.cluster import Executor
from distres.engine.jobs import OutputSpec, Source, TileFunction, TileJob
from distres.engine.planner import plan_tiles
from distres.engine.run import Run
from distres.engine.runner import output, run_job
from distres.engine.tables import Table
from distres.errors import InputError, UsageError
from distres.io.grid import Grid
from distres.kernels.discovery import TailBins, benjamini_yekutieli
from distres.kernels.whitening import NoiseFit
from distres.methods.nearby import FewCells, focus_on, tiles_near
from distres.methods.products import FLAG_OUTSIDE
from distres.methods.resmap_tiles import (
    CELL_REACH,
    CELL_VOX,
    CUBE_VOX,
    FLAGS,
    LEVEL,
    LOCRES,
    MEAN,
    NOISE,
    WHITENING_HALO,
    decision_tile,
    level_tile,
    places_path,
    sinusoid_of,
    spectrum_tile,
    statistic_tile,
    variance_tile,
    whiten_tile,
)

# Wavelengths nearer to each other than this are no independent evidence.
RATIO = 1.15
FINEST_VOX = 2.2
COARSEST_VOX = 16.0
PUBLISHED_MARGIN_VOX = 9
PUBLISHED_CUBE_VOX = 160
ELBOW_ANGSTROM = 10.0
BYTES_PER_VOXEL = 80.0


@dataclass(frozen=True, slots=True, kw_only=True)
class ResmapParameters:
    """What decides the answer of ResMap.

    Attributes
    ----------
    finest_angstrom, coarsest_angstrom
        Ends of the wavelengths tested; None for 2.2 and 16 voxels.
    step_angstrom
        Distance of wavelengths; None takes them 15 % apart.
    rate
        Share of false discoveries among the voxels found at a wavelength.
    kappa
        Width of the window, see `distres.kernels.steerable.Sinusoid`.
    whiten
        Strength of whitening, 0 to 1; 0 leaves the maps as they are.
    elbow_angstrom
        The noise spectrum is fitted beyond this resolution.
    local_noise
        Let the noise variance change over the volume (half maps only).
    compat
        ``resmap``: kappa 1, steps of 1 A, one noise variance, and no voxels within 9 of a face.
    device
        ``auto``, ``cpu`` or ``cuda``.

    Raises
    ------
    UsageError
        A value makes no sense; the message says which and what does.
    """

    finest_angstrom: float | None = None
    coarsest_angstrom: float | None = None
    step_angstrom: float | None = None
    rate: float = 0.05
    kappa: float = 0.5
    whiten: float = 1.0
    elbow_angstrom: float | None = None
    local_noise: bool = True
    compat: str | None = None
    device: str = "auto"

    def __post_init__(self) -> None:
        fine, coarse = self.finest_angstrom, self.coarsest_angstrom
        if fine is not None and coarse is not None and not 0 < fine <= coarse:
            raise UsageError(
                f"a range of wavelengths goes from fine to coarse, not from {fine} to {coarse}"
            )
        if not 0 < self.rate <= 0.2:
            raise UsageError(
                f"the rate of false discoveries lies between 0 and 0.2, not at {self.rate}"
            )
        if not 0.1 <= self.kappa <= 4:
            raise UsageError(f"kappa lies between 0.1 and 4, not at {self.kappa}")
        if not 0 <= self.whiten <= 1:
            raise UsageError(f"the strength of whitening lies between 0 and 1, not {self.whiten}")
        if self.step_angstrom is not None and not self.step_angstrom > 0:
            raise UsageError(f"the step must be positive, not {self.step_angstrom} angstrom")
        if self.compat not in (None, "resmap"):
            raise UsageError(f"compat '{self.compat}' is unknown; use resmap")

    def wavelengths(self, grid: Grid) -> tuple[float, ...]:
        """Return the wavelengths tested, rising, in angstrom.

        Raises
        ------
        UsageError
            The finest is below what the voxels hold.
        """
        voxel = max(grid.voxel_size_angstrom)
        least = round(FINEST_VOX * voxel, 1) if self.compat else FINEST_VOX * voxel
        fine = max(self.finest_angstrom or 0.0, least)
        coarse = self.coarsest_angstrom or max(COARSEST_VOX * voxel, fine)
        if coarse < fine:
            raise UsageError(
                f"voxels of {voxel:g} A hold wavelengths of {least:.2f} A and more, not up to "
                f"{coarse:g} A; give a coarser end"
            )
        step = self.step_angstrom or (1.0 if self.compat else None)
        if step is None:
            count = ceil(log(coarse / fine) / log(RATIO) - 1e-9) + 1
            return tuple(float(w) for w in np.geomspace(fine, coarse, max(count, 1)))
        # The published sweep goes one step past the end if that is where it falls.
        count = ceil((coarse - fine) / step - 1e-9) + 1
        return tuple(float(fine + i * step) for i in range(count))


@dataclass(frozen=True, slots=True, kw_only=True)
class ResmapResult:
    """What ResMap left in the run's store.

    Attributes
    ----------
    locres, flags
        Paths of (1, z, y, x) arrays: angstrom (NaN where nothing was found), and bits.
    wavelengths
        Tested, in angstrom; those after an early stop are missing.
    variances
        Noise variance per wavelength.
    thresholds
        Lowest statistic called, per wavelength; None where none was.
    called, tested
        Voxels per wavelength.
    fit
        Noise spectrum by which the maps were whitened, as JSON values; None without.
    spectrum
        Mean noise power per bin of frequency from 0 to Nyquist.
    tables
        Rows of the passes by name.
    """

    locres: str
    flags: str
    wavelengths: tuple[float, ...]
    variances: tuple[float, ...]
    thresholds: tuple[float | None, ...]
    called: tuple[int, ...]
    tested: tuple[int, ...]
    fit: dict[str, Any] | None
    spectrum: tuple[float, ...]
    tables: dict[str, Table] = field(default_factory=dict)

    @property
    def limit_angstrom(self) -> float | None:
        """Where a low-pass ended the noise; None where none did."""
        if self.fit is None or self.fit["limit"] >= 1:
            return None
        return float(1 / (self.fit["limit"] * self.fit["nyquist_per_angstrom"]))

    def as_json(self) -> dict[str, Any]:
        """Return what a record keeps."""
        return {
            "wavelengths_angstrom": list(self.wavelengths),
            "noise_variances": list(self.variances),
            "thresholds": list(self.thresholds),
            "called": list(self.called),
            "tested": list(self.tested),
            "whitening": self.fit,
            "noise_spectrum": list(self.spectrum),
        }


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


def run_resmap(
    sources: dict[str, Source],
    mask: Source,
    occupancy: Source | None,
    grid: Grid,
    run: Run,
    executor: Executor,
    parameters: ResmapParameters | None = None,
    *,
    unit: Source | None = None,
    unit_occupancy: Source | None = None,
    tile: int | None = None,
) -> ResmapResult:
    """Compute ResMap of two half maps, or of one map.

    Parameters
    ----------
    sources
        ``half1`` and ``half2``, or ``map``, whose noise is then read outside the mask.
    mask
        Voxels with a positive value are answered.
    occupancy
        Largest mask value per cell: tiles without any are not tested. None tests all.
    unit, unit_occupancy
        The part of the mask that is answered, where that is not all of it. The noise of half maps
        is then read there too.
    grid
        Grid of all of them.
    run, executor
        Where arrays lie and where tiles are computed.
    parameters
        None for the defaults.
    tile
        Core edge in voxels, overriding the planner.

    Raises
    ------
    InputError
        There is no place where the noise can be read.
    """
    parameters = parameters or ResmapParameters()
    published, single = parameters.compat == "resmap", "map" in sources
    wavelengths = parameters.wavelengths(grid)
    settings: dict[str, Any] = {
        "shape": list(grid.shape),
        "spacing_angstrom": list(grid.voxel_size_angstrom),
        "kappa": 1.0 if published else parameters.kappa,
        "wavelengths": list(wavelengths),
        "published": published,
        "single": single,
        "margin_vox": PUBLISHED_MARGIN_VOX if published else 0,
        "device": parameters.device,
        "level_mean": None,
    }
    if unit is not None and not single:
        mask, occupancy = unit, unit_occupancy
    passes = Passes(
        sources=sources,
        mask=mask,
        occupancy=occupancy,
        unit=mask if unit is None else unit,
        unit_occupancy=occupancy if unit is None else unit_occupancy,
        grid=grid,
        run=run,
        executor=executor,
        settings=settings,
        tile=tile,
    )
    fit, spectrum = _whiten(passes, parameters)
    wavelengths = _within_limit(wavelengths, fit)
    settings["wavelengths"] = list(wavelengths)
    if parameters.local_noise and not published and not single:
        table = passes.go("level", level_tile, passes.stored("noise"))
        power, count = float(table.sum("power")), int(table.sum("count"))
        if not power > 0:
            raise InputError("the half maps are equal inside the mask; give half maps that differ")
        settings["level_mean"] = power / count
    variances = _variances(passes, wavelengths)
    settings["variances"] = list(variances)
    return _sweep(passes, parameters, wavelengths, variances, fit, spectrum)


def _whiten(
    passes: Passes, parameters: ResmapParameters
) -> tuple[dict[str, Any] | None, tuple[float, ...]]:
    """Fit the noise spectrum and store signal and noise, whitened."""
    grid, single = passes.grid, passes.settings["single"]
    # The program takes the whole volume up to 160 voxels.
    largest = PUBLISHED_CUBE_VOX if passes.settings["published"] else CUBE_VOX
    cube = min(largest, *grid.shape)
    nyquist = 0.5 / max(grid.voxel_size_angstrom)
    fit: dict[str, Any] | None = None
    spectrum: tuple[float, ...] = ()
    if parameters.whiten > 0:
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
        elbow = parameters.elbow_angstrom or max(ELBOW_ANGSTROM, 1.05 / nyquist)
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
        strength=parameters.whiten,
        single=single,
    )
    return fit, spectrum


def _within_limit(wavelengths: tuple[float, ...], fit: dict[str, Any] | None) -> tuple[float, ...]:
    """Leave out wavelengths finer than what a low-pass left of the noise."""
    if fit is None or fit["limit"] >= 1:
        return wavelengths
    finest = FINEST_VOX / (2 * fit["limit"] * fit["nyquist_per_angstrom"])
    kept = tuple(w for w in wavelengths if w >= finest)
    if not kept:
        raise InputError(
            f"the maps were low-passed: nothing finer than {finest:.1f} A can be tested; give a "
            "coarser range of wavelengths, or maps that were not filtered"
        )
    return kept


def _variances(passes: Passes, wavelengths: Sequence[float]) -> tuple[float, ...]:
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


def _sweep(
    passes: Passes,
    parameters: ResmapParameters,
    wavelengths: Sequence[float],
    variances: Sequence[float],
    fit: dict[str, Any] | None,
    spectrum: tuple[float, ...],
) -> ResmapResult:
    """Test wavelength after wavelength, each among the voxels not found at a finer one."""
    edge = max(passes.grid.shape)
    decided: list[int | None] = []
    thresholds: list[float | None] = []
    called: list[int] = []
    tested: list[int] = []
    for scale, wavelength in enumerate(wavelengths):
        s = sinusoid_of(passes.settings, wavelength)
        bins = TailBins.of(s.null_weights, parameters.rate)
        table = passes.go(
            f"statistic {scale}",
            statistic_tile,
            {**passes.stored("mean", "level"), **_places(passes.run, decided)},
            halo=s.radius,
            outputs={places_path(scale): OutputSpec(dtype="uint16", fill_value=0)},
            scale=scale,
            first=bins.first,
            decided=list(decided),
        )
        counts, left = table.sum("counts"), int(table.sum("tested"))
        place = benjamini_yekutieli(counts, left, bins, s.null_weights, parameters.rate)
        decided.append(place)
        thresholds.append(None if place is None else bins.edge(place))
        called.append(0 if place is None else int(counts[place - 1 :].sum()))
        tested.append(left)
        remaining = left - called[-1]
        if remaining == 0 or (parameters.compat and called[-1] < edge and remaining < edge**2):
            break
    passes.go(
        "decision",
        decision_tile,
        _places(passes.run, decided),
        outputs={
            LOCRES: OutputSpec(lead=(1,)),
            FLAGS: OutputSpec(dtype="uint8", lead=(1,), fill_value=FLAG_OUTSIDE),
        },
        decided=list(decided),
    )
    return ResmapResult(
        locres=LOCRES,
        flags=FLAGS,
        wavelengths=tuple(wavelengths[: len(decided)]),
        variances=tuple(variances),
        thresholds=tuple(thresholds),
        called=tuple(called),
        tested=tuple(tested),
        fit=fit,
        spectrum=spectrum,
        tables=passes.tables,
    )


def _places(run: Run, decided: Sequence[int | None]) -> dict[str, Source]:
    return {
        f"places_{scale}": output(run, places_path(scale))
        for scale, place in enumerate(decided)
        if place is not None
    }
