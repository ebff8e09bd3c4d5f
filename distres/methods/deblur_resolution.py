"""The resolution map that guides LocalDeblur: any program's, in angstrom, carried outward."""

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import inf
from typing import Any

import numpy as np
import numpy.typing as npt

from distres.engine.jobs import OutputSpec, Source, TileInputs, TileJob, TileResult
from distres.engine.planner import plan_tiles
from distres.engine.runner import output, run_job
from distres.engine.tables import Table
from distres.errors import InputError
from distres.io.grid import Grid
from distres.io.volume import Volume
from distres.kernels.extend import extend_nearest
from distres.kernels.foreign import Convention, recognise, resolution_angstrom
from distres.methods.deblur_inputs import RunResolution
from distres.methods.deblur_plan import ResolutionField
from distres.methods.deblur_tiles import moments_of
from distres.methods.products import BIN_EDGES_ANGSTROM
from distres.methods.pyramid import ingest
from distres.methods.session import Session

logger = logging.getLogger(__name__)

RESOLUTION = "deblur/resolution"
# How far the resolution of the particle is carried into the solvent.
EXTEND_VOX = 16
_BYTES_PER_VOXEL = 60.0
# Sections looked at to learn what a map's numbers mean.
_SAMPLED_SECTIONS = 24
_SHARP = 0.05
# Interpolation leaves some numbers below 0 beside a background of 0; density has about half.
_NEGATIVE = 0.2


@dataclass(frozen=True, slots=True, kw_only=True)
class Reading:
    """How the numbers of a resolution map become angstrom.

    Attributes
    ----------
    convention
        What its numbers mean.
    step
        Which of a leading axis.
    voxel_angstrom
        Voxel edge, for numbers in 1/pixel.
    finest_angstrom, coarsest_angstrom
        Resolutions beyond are taken as this; None keeps them.
    """

    convention: Convention
    step: int
    voxel_angstrom: float
    finest_angstrom: float
    coarsest_angstrom: float | None

    def in_angstrom(self, raw: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
        """Return ([steps,] z, y, x) numbers as (z, y, x) angstrom, NaN for no resolution."""
        chosen = raw if raw.ndim == 3 else raw[self.step]
        known = resolution_angstrom(chosen, self.convention, self.voxel_angstrom)
        # NaN stays NaN.
        np.maximum(known, np.float32(self.finest_angstrom), out=known)
        if self.coarsest_angstrom is not None:
            np.minimum(known, np.float32(self.coarsest_angstrom), out=known)
        return known


def bring_resolution(
    session: Session,
    inputs_locres: Volume | RunResolution,
    observed: Source,
    mask: Source | None,
    grid: Grid,
    *,
    extend: bool,
    coarsest_angstrom: float | None = None,
) -> tuple[ResolutionField, Table]:
    """Read the resolution map in angstrom and measure the map inside and outside.

    Parameters
    ----------
    inputs_locres
        The resolution map.
    observed
        The map.
    mask
        None takes the voxels that have a resolution.
    extend
        Carry resolutions past the edge of where they are known.
    coarsest_angstrom
        Coarser resolutions are taken as this; None keeps them.

    Raises
    ------
    InputError
        The resolution map holds no resolution, or none inside the mask.
    """
    run, executor = session.run, session.executor
    if isinstance(inputs_locres, RunResolution):
        source: Source = inputs_locres.source
    else:
        # NaN is what some programs write for "none", as 0 is.
        source = ingest(inputs_locres, run, "locres", executor, replace_nonfinite=0.0)[0]
    reading = understand(inputs_locres, source, grid, coarsest_angstrom)
    job = resolution_job(session, source, reading, observed, mask, grid, extend=extend)
    table = run_job(job, run=run, executor=executor)
    return _field(table, output(run, RESOLUTION)), table


def understand(
    given: Volume | RunResolution, source: Source, grid: Grid, coarsest_angstrom: float | None
) -> Reading:
    """Learn what the numbers of a resolution map mean, from some sections if it is not ours.

    Parameters
    ----------
    given
        The resolution map.
    source
        Where it can be read in any order.
    grid
        Its grid.
    coarsest_angstrom
        Coarser resolutions are taken as this; None keeps them.

    Raises
    ------
    InputError
        It is a map of density.
    """
    convention, step = Convention(), 0
    if isinstance(given, RunResolution):
        step = given.step
    else:
        sampled = sample_sections(source)
        edge = max(n * s for n, s in zip(grid.shape, grid.voxel_size_angstrom, strict=True))
        _refuse_density(given.path, sampled)
        convention = recognise(sampled, min(grid.voxel_size_angstrom), edge)
        _say(given.path, convention)
    return Reading(
        convention=convention,
        step=step,
        voxel_angstrom=min(grid.voxel_size_angstrom),
        finest_angstrom=2 * max(grid.voxel_size_angstrom),
        coarsest_angstrom=coarsest_angstrom,
    )


def resolution_job(
    session: Session,
    source: Source,
    reading: Reading,
    observed: Source,
    mask: Source | None,
    grid: Grid,
    *,
    extend: bool,
) -> TileJob:
    """Return the job that stores a resolution map in angstrom; see `bring_resolution`."""
    plan = plan_tiles(
        grid.shape,
        halo=(EXTEND_VOX,) * 3,
        bytes_per_voxel=_BYTES_PER_VOXEL,
        memory_bytes=session.executor.memory_bytes,
        workers=session.executor.workers,
        tile=session.options.tile_vox,
        run=session.run,
    )
    return TileJob(
        name="deblur resolution",
        plan=plan,
        function=resolution_tile,
        inputs={"locres": source, "map": observed} | ({} if mask is None else {"mask": mask}),
        outputs={RESOLUTION: OutputSpec()},
        parameters={
            "empty": list(reading.convention.empty),
            "per_pixel": reading.convention.per_pixel,
            "voxel_angstrom": reading.voxel_angstrom,
            "finest_angstrom": reading.finest_angstrom,
            "coarsest_angstrom": reading.coarsest_angstrom,
            "step": reading.step,
            "extend": extend,
            "edges_angstrom": BIN_EDGES_ANGSTROM.tolist(),
        },
        bytes_per_voxel=_BYTES_PER_VOXEL,
    )


def resolution_tile(inputs: TileInputs, parameters: Mapping[str, Any]) -> TileResult:
    """Read another map's resolutions in angstrom, carry them a little outward, and count.

    Parameters
    ----------
    inputs
        ``locres``, ``map``, perhaps ``mask``.
    parameters
        ``empty`` and ``per_pixel`` of the map's convention, ``voxel_angstrom``, ``finest_angstrom``
        (values below are raised to it), ``coarsest_angstrom`` (likewise; None for none), ``step``
        of a leading axis, ``extend``, ``edges_angstrom`` of the histogram.
    """
    reading = Reading(
        convention=Convention(
            empty=tuple(parameters["empty"]), per_pixel=bool(parameters["per_pixel"])
        ),
        step=int(parameters["step"]),
        voxel_angstrom=float(parameters["voxel_angstrom"]),
        finest_angstrom=float(parameters["finest_angstrom"]),
        coarsest_angstrom=parameters["coarsest_angstrom"],
    )
    tile = inputs.tile
    known = reading.in_angstrom(np.asarray(inputs.block("locres"), np.float32))
    extended = extend_nearest(known, reach_vox=EXTEND_VOX) if parameters["extend"] else known
    core = known[tile.crop]
    defined = np.isfinite(core)
    inside = inputs.core("mask") >= 0.5 if "mask" in inputs else defined
    density = inputs.core("map").astype(np.float64)
    moments = [moments_of(density[part]) for part in (inside, ~inside, ~defined)]
    counted = core[defined & inside]
    row = {
        "moments": np.array(moments),
        "defined": np.int64(defined.sum()),
        "lowest": np.float64(counted.min() if counted.size else np.inf),
        "highest": np.float64(counted.max() if counted.size else -np.inf),
        "counts": np.histogram(counted, parameters["edges_angstrom"])[0].astype(np.int64),
    }
    return TileResult(arrays={RESOLUTION: np.ascontiguousarray(extended[tile.crop])}, row=row)


def sample_sections(source: Source) -> npt.NDArray[np.float32]:
    """Read some sections of a volume, with all of its leading axes."""
    depth, height, width = source.shape[-3:]
    count = min(depth, _SAMPLED_SECTIONS)
    # From half a step on: the first and the last section are mostly empty. One read decodes every
    # chunk once.
    step = depth // count
    sections = (slice(step // 2, step // 2 + step * count, step), slice(0, height), slice(0, width))
    return np.asarray(source.read(sections), np.float32)


def _refuse_density(path: str, sampled: npt.NDArray[np.float32]) -> None:
    """Refuse a map whose numbers are no resolutions: they are positive, but for marks like -1."""
    share = float(np.mean((sampled < 0) & (sampled != -1)))
    if share > _NEGATIVE:
        raise InputError(
            f"{path} holds negative numbers in {share:.0%} of its voxels; resolutions are "
            "positive: is it a map of density?"
        )


def _say(path: str, convention: Convention) -> None:
    if convention.per_pixel:
        logger.info("%s holds frequencies in 1/pixel: they are inverted", path)
    if convention.empty:
        marks = ", ".join(f"{mark:g}" for mark in convention.empty)
        logger.info("%s: %s is read as 'no resolution'", path, marks)


def _field(table: Table, source: Source) -> ResolutionField:
    counts = table.sum("counts")
    if not counts.sum():
        raise InputError(
            "the resolution map holds no resolution inside the mask; are both on the same grid and "
            "is it in angstrom?"
        )
    (inside, outside, empty) = table.sum("moments")
    return ResolutionField(
        source=source,
        finest_angstrom=float(table.columns["lowest"].min()),
        coarsest_angstrom=float(table.columns["highest"].max()),
        median_angstrom=_quantile(counts, 0.5),
        sharp_angstrom=_quantile(counts, _SHARP),
        signal_variance=_variance(inside),
        noise_variance=_variance(outside),
        empty_deviation=float(np.sqrt(_variance(empty))),
    )


def _quantile(counts: npt.NDArray[np.int64], share: float) -> float:
    """Return the middle of the bin that a share of all counts ends in."""
    place = int(np.searchsorted(np.cumsum(counts), counts.sum() * share))
    return float(np.sqrt(BIN_EDGES_ANGSTROM[place] * BIN_EDGES_ANGSTROM[place + 1]))


def _variance(moments: Sequence[float] | npt.NDArray[np.float64]) -> float:
    count, total, squares = (float(value) for value in moments)
    if count < 1:
        return 0.0
    mean = total / count
    found = squares / count - mean * mean
    # What rounding leaves of a constant is no noise.
    return found if found > 1e-12 * max(squares / count, -inf) else 0.0
