"""MonoRes of volumes of any size: on every level of the pyramid first noise, then decisions.

From the coarsest level to the finest, one pass measures the noise of the level's tests (histograms
merged exactly, or quantiles of cells for a smooth threshold), and a second pass tests the voxels
that are still in the sweep, with the state that the coarser level left them.
"""

import logging
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

from distres.engine.cluster import Executor
from distres.engine.jobs import TileJob
from distres.engine.planner import plan_tiles
from distres.engine.run import Run
from distres.engine.runner import run_job
from distres.engine.tables import Table
from distres.errors import InputError
from distres.kernels.monores import LevelTests
from distres.methods.monores_inputs import MonoResInputs
from distres.methods.monores_passes import Passes, Thresholds, answer_outputs
from distres.methods.monores_plan import MonoResParameters
from distres.methods.monores_thresholds import measure_thresholds
from distres.methods.monores_tiles import FLAGS, LOCRES, published_tile

logger = logging.getLogger(__name__)

PUBLISHED_BYTES_PER_VOXEL = 60.0
# Noise this much weaker than at other frequencies is what a filter left, or leaked from them.
SILENT = 1e-3
# So is noise that falls to this share within half an octave; white noise at Nyquist keeps 0.8.
CLIFF, CLIFF_OCTAVES = 0.25, 0.5


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
    passes = Passes(inputs, run, executor, parameters, resolutions, tile)
    coarser: int | None = None
    thresholds: list[float] = []
    silent = False
    for tests in passes.levels():
        found = Thresholds() if silent else measure_thresholds(passes, tests)
        usable = until_silent(tests, found, max(thresholds, default=0.0))
        usable = _until_cliff(usable, found, thresholds, resolutions.tolist())
        silent = silent or len(usable.frequencies) < len(tests.frequencies)
        thresholds += found.values[: len(usable.frequencies)]
        if usable.frequencies or tests.level == 0:
            job = passes.decide_job(usable, found, coarser, tested=len(thresholds))
            table = run_job(job, run=run, executor=executor)
            coarser = tests.level
            logger.info(
                "level %d: %d tests, %d voxels go on",
                tests.level,
                len(usable.frequencies),
                int(table.sum("alive")),
            )
    every = tuple(resolutions.tolist())
    return MonoResResult(
        locres=LOCRES,
        flags=FLAGS,
        resolutions=every,
        thresholds=tuple(thresholds),
        warnings=(no_noise_beyond(every, len(thresholds)),) if silent else (),
    )


def no_noise_beyond(resolutions: Sequence[float], tested: int) -> str:
    """Warn that the sweep ended early, after so many of its resolutions in angstrom."""
    return (
        f"the maps hold no noise beyond {resolutions[max(tested - 1, 0)]:.3g} A: they were "
        "filtered, and finer resolutions cannot be tested"
    )


def until_silent(tests: LevelTests, found: Thresholds, strongest: float) -> LevelTests:
    """Keep the tests up to the first without noise."""
    quiet = SILENT * max(strongest, *found.values, 0.0)
    count = next((i for i, value in enumerate(found.values) if value <= quiet), len(found.values))
    return replace(tests, frequencies=tests.frequencies[:count])


def _until_cliff(
    tests: LevelTests, found: Thresholds, before: list[float], resolutions: Sequence[float]
) -> LevelTests:
    """Keep the tests up to the first where the noise has fallen off a cliff.

    `before` are the thresholds of the coarser levels, `resolutions` those of the whole sweep.
    """
    count = 0
    for value, frequency in zip(found.values, tests.frequencies, strict=False):
        known = zip(resolutions, [*before, *found.values[:count]], strict=False)
        near = [t for r, t in known if frequency * r <= 2**CLIFF_OCTAVES]
        if value < CLIFF * max(near, default=0.0):
            break
        count += 1
    return replace(tests, frequencies=tests.frequencies[:count])


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
