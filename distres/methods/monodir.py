"""MonoDir of volumes of any size: level by level noise in every cone, then decisions, then maps.

The sweep is that of MonoRes (`distres.methods.monores`) with one state for each direction. What
the last pass keeps of the directions are maps and sums; all of them are stored only on request.
"""

import logging
from collections.abc import Mapping
from dataclasses import dataclass
from math import cos, radians

import numpy as np
import numpy.typing as npt

from distres.engine.cluster import Executor
from distres.engine.run import Run
from distres.engine.runner import run_job
from distres.errors import InputError
from distres.kernels.directional_maps import MAPS
from distres.kernels.directions import half_sphere
from distres.kernels.monodir_noise import (
    ALONG_DEGREES,
    fill_means,
    independent_samples,
    thresholds_of,
)
from distres.kernels.monores import LevelTests
from distres.kernels.noise_threshold import sweep_threshold
from distres.kernels.sparse_tests import Places, fill_between, sparse_places
from distres.methods.monodir_passes import DirectionalPasses
from distres.methods.monodir_plan import MonoDirParameters
from distres.methods.monodir_tiles import DIRECTIONAL, FLAGS, map_path
from distres.methods.monores import no_noise_beyond, until_silent
from distres.methods.monores_inputs import MonoResInputs
from distres.methods.monores_passes import Thresholds

logger = logging.getLogger(__name__)


# Fewer independent values than this are taken for as many.
FEWEST_VALUES = 2.0
# Beyond so many cycles a voxel the grid itself has directions: waves along an axis end, others do
# not. Units that lie otherwise in the box then say nothing of each other's noise.
ALIKE_FREQ_VOX = 0.45

Float = npt.NDArray[np.float64]


@dataclass(frozen=True, slots=True, kw_only=True)
class MonoDirResult:
    """What MonoDir left in the run's store, and what it found out about the directions.

    Attributes
    ----------
    arrays
        Paths by name of `distres.kernels.directional_maps.MAPS`, and ``flags``: (z, y, x), those of
        ``adr`` and ``flags`` (1, z, y, x).
    directional
        Path of (directions, z, y, x) resolutions at every second voxel, if kept.
    directions
        (directions, 3) unit vectors (z, y, x).
    resolutions
        The tests, coarse to fine, in angstrom.
    noise
        (directions, tests) mean amplitude of the noise.
    points
        Places in the mask that were decided; of a symmetric particle those of one unit, and as many
        in every other.
    hits, hit_sums
        (directions,) places with their highest resolution along a direction, and the sum of their
        resolutions there; every unit with its own directions.
    warnings
        What a reader must know.
    """

    arrays: Mapping[str, str]
    directional: str | None
    directions: Float
    resolutions: tuple[float, ...]
    noise: Float
    points: int
    hits: npt.NDArray[np.int64]
    hit_sums: Float
    warnings: tuple[str, ...] = ()


def run_monodir(
    inputs: MonoResInputs,
    run: Run,
    executor: Executor,
    parameters: MonoDirParameters,
    *,
    tile: int | None = None,
) -> MonoDirResult:
    """Compute MonoDir of half maps or of a map; arguments are those of `run_monores`."""
    passes = DirectionalPasses.of(inputs, run, executor, parameters, tile)
    coarser: int | None = None
    levels: list[Float] = []
    silent = False
    table = None
    for tests in passes.levels():
        usable = LevelTests(level=tests.level, first=tests.first, frequencies=(), ramp=tests.ramp)
        thresholds = np.zeros((parameters.directions, 0))
        if tests.frequencies and not silent:
            found, usable = _measure(passes, tests, levels)
            silent = len(usable.frequencies) < len(tests.frequencies)
            thresholds = _thresholds(passes, usable, found)
            levels.append(found.means[:, : len(usable.frequencies)])
        if usable.frequencies or tests.level == 0:
            job = passes.directions_job(usable, thresholds, coarser)
            table = run_job(job, run=run, executor=executor)
            coarser = tests.level
            logger.info("level %d: %d tests", tests.level, len(usable.frequencies))
    assert table is not None  # level 0 is always planned
    resolutions = tuple(passes.resolutions.tolist())
    copies = passes.copies()
    noise = np.concatenate(levels, axis=1) if levels else np.zeros((parameters.directions, 0))
    return MonoDirResult(
        arrays={**{name: map_path(name) for name in MAPS}, "flags": FLAGS},
        directional=DIRECTIONAL if parameters.keep_directions else None,
        directions=half_sphere(parameters.directions),
        resolutions=resolutions,
        noise=noise,
        points=int(table.sum("points")) * len(copies),
        hits=table.sum("hits")[copies].sum(axis=0),
        hit_sums=table.sum("hit_sums")[copies].sum(axis=0),
        warnings=(no_noise_beyond(resolutions, noise.shape[1]),) if silent else (),
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class _Noise:
    """The noise of a level: by direction and test, how it scatters, and in what volumes.

    `means` (directions, tests) are of all tests, `counts` (places, bins) of those at `places`.
    `volume_angstrom3` is that of the whole region, `tile_angstrom3` what one tile had of it. Means
    rest on as many `units` (tests,) of a symmetric particle, each with its own directions.
    """

    means: Float
    places: Places
    counts: npt.NDArray[np.int64]
    volume_angstrom3: float
    tile_angstrom3: float
    units: npt.NDArray[np.int64]


def _measure(
    passes: DirectionalPasses, tests: LevelTests, coarser: list[Float]
) -> tuple[_Noise, LevelTests]:
    """Measure a level's noise; also return its tests up to the first without any."""
    # A map's spectrum is that of its signal: it tells nothing of the noise between two tests.
    alone = passes.inputs.half2 is not None
    places = sparse_places(tests.frequencies) if alone else tuple(range(len(tests.frequencies)))
    job = passes.directional_noise_job(tests, places)
    table = run_job(job, run=passes.run, executor=passes.executor)
    finest = ALIKE_FREQ_VOX / max(passes.inputs.grid.voxel_size_angstrom)
    alike = np.array(tests.frequencies) < finest
    alike &= passes.inputs.region_kind == "mask"  # else the whole volume was seen
    copies = passes.copies()
    # Along d the other units hold the noise that this one holds along d turned back.
    sums, samples = (
        np.where(alike[list(places)], own[copies].sum(axis=0), own)
        for own in (table.sum("sums"), table.sum("samples"))
    )
    powers = table.sum("powers") / max(float(table.sum("voxels")), 1.0)
    powers = np.where(alike, powers[copies].mean(axis=0), powers)
    if not samples.any():
        raise InputError(
            "no voxel is left to measure noise on; give half maps, or a mask that leaves solvent"
        )
    grid = passes.inputs.grid.coarser(2**tests.level)
    voxel = float(np.prod(grid.voxel_size_angstrom))
    if passes.inputs.half2 is None:
        voxel *= 1 - cos(radians(ALONG_DEGREES))
    voxels = table.columns["voxels"].astype(np.float64)
    found = _Noise(
        means=fill_means(tests, places, sums / np.maximum(samples, 1), powers),
        places=places,
        counts=table.sum("counts"),
        volume_angstrom3=float(voxels.sum()) * voxel,
        tile_angstrom3=float((voxels**2).sum() / voxels.sum()) * voxel,
        units=np.where(alike, len(copies), 1),
    )
    strongest = max((float(level.max()) for level in coarser if level.size), default=0.0)
    loudest = Thresholds(values=tuple(found.means.max(axis=0).tolist()))
    return found, until_silent(tests, loudest, strongest)


def _thresholds(passes: DirectionalPasses, tests: LevelTests, noise: _Noise) -> Float:
    """Return (directions, tests) thresholds of the tests that can be made.

    The quantile of the ratio to the mean rests on all directions, as many as do not overlap. The
    mean itself rests on the n values of one direction, or of as many as there are units, and the
    ratio was formed with the mean of the m values of one tile: a new value scatters
    sqrt((1 + 1/n) / (1 - 1/m)) times as far.
    """
    count = len(tests.frequencies)
    if count == 0:
        return np.zeros((len(noise.means), 0))
    apart = min(len(noise.means), 1 / (1 - cos(radians(passes.directional.cone_degrees))))
    quantiles, measured = [], [place for place in noise.places if place < count]
    for row, place in enumerate(measured):
        frequency = tests.frequencies[place]
        n, m = (
            max(independent_samples(volume, frequency), FEWEST_VALUES)
            for volume in (noise.volume_angstrom3, noise.tile_angstrom3)
        )
        ratio = sweep_threshold(noise.counts[row], 1.0, passes.parameters.confidence, n * apart)
        n *= min(int(noise.units[place]), apart)
        quantiles.append(1 + (ratio - 1) * ((1 + 1 / n) / (1 - 1 / m)) ** 0.5)
    if measured[-1] < count - 1:
        # The next one measured had no noise.
        measured, quantiles = [*measured, count - 1], [*quantiles, quantiles[-1]]
    every = fill_between(tests.frequencies, tuple(measured), np.array(quantiles))
    return thresholds_of(noise.means[:, :count], every)
