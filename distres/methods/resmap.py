"""ResMap for volumes of any size: the finest wavelength at which a sinusoid beats the noise.

Passes: noise spectrum; whitened signal and noise; noise variance of every wavelength; then, from
fine to coarse, one statistic per wavelength whose counts over all tiles give the threshold
that holds the rate of false discoveries; last the decision. What crosses tiles are counts and
sums. The halo of a statistic is its window's radius, exactly.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from distres.engine.cluster import Executor
from distres.engine.jobs import OutputSpec, Source
from distres.engine.run import Run
from distres.engine.runner import output
from distres.engine.tables import Table
from distres.errors import InputError
from distres.io.grid import Grid
from distres.kernels.discovery import TailBins, benjamini_yekutieli
from distres.methods.products import FLAG_OUTSIDE
from distres.methods.resmap_passes import Passes, variances_of, whiten
from distres.methods.resmap_plan import FINEST_VOX, ResmapParameters
from distres.methods.resmap_tiles import (
    FLAGS,
    LOCRES,
    decision_tile,
    level_tile,
    places_path,
    sinusoid_of,
    statistic_tile,
)

PUBLISHED_MARGIN_VOX = 9


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
    fit, spectrum = whiten(
        passes, strength=parameters.whiten, elbow_angstrom=parameters.elbow_angstrom
    )
    wavelengths = _within_limit(wavelengths, fit)
    settings["wavelengths"] = list(wavelengths)
    if parameters.local_noise and not published and not single:
        table = passes.go("level", level_tile, passes.stored("noise"))
        power, count = float(table.sum("power")), int(table.sum("count"))
        if not power > 0:
            raise InputError("the half maps are equal inside the mask; give half maps that differ")
        settings["level_mean"] = power / count
    variances = variances_of(passes, wavelengths)
    settings["variances"] = list(variances)
    return _sweep(passes, parameters, wavelengths, variances, fit, spectrum)


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
