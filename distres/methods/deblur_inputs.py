"""What LocalDeblur is given: a map, a resolution map of any program, a mask; or two half maps."""

import json
import logging
import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from math import inf
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from distres.engine.jobs import OutputSpec, Source, TileJob, ZarrSource
from distres.engine.planner import plan_tiles
from distres.engine.runner import output, run_job
from distres.engine.tables import Table
from distres.errors import DistresWarning, InputError
from distres.io.grid import Grid
from distres.io.names import stem_of
from distres.io.volume import Volume, VolumeLike, open_volume, require_same_grid
from distres.kernels.foreign import Convention, recognise
from distres.methods.deblur import ResolutionField
from distres.methods.deblur_tiles import EXTEND_VOX, RESOLUTION, mean_tile, resolution_tile
from distres.methods.options import RunOptions
from distres.methods.products import BIN_EDGES_ANGSTROM
from distres.methods.pyramid import ingest
from distres.methods.session import Session

logger = logging.getLogger(__name__)

MEAN = "deblur/observed"
_BYTES_PER_VOXEL = 60.0
# Sections looked at to learn what a map's numbers mean.
_SAMPLED_SECTIONS = 24


@dataclass(frozen=True, slots=True, kw_only=True)
class RunResolution:
    """The resolution map of a finished run of ours: NaN where undefined.

    Attributes
    ----------
    source
        (z, y, x) or (threshold, z, y, x).
    step
        Which threshold.
    directory
        The run.
    mask
        The run's mask, if it kept one.
    """

    source: ZarrSource
    step: int
    directory: Path
    mask: ZarrSource | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class MapInputs:
    """A map, its resolution map, and perhaps a mask.

    Attributes
    ----------
    density, locres, mask
        Volumes on one grid; `locres` may be a run.
    stem
        What names of outputs start with.
    notes
        What opening them warned of.
    """

    density: Volume
    locres: Volume | RunResolution
    mask: Volume | None
    stem: str
    notes: tuple[str, ...] = ()

    @property
    def volumes(self) -> dict[str, Volume]:
        """Return the input files by role."""
        found = {"map": self.density}
        if not isinstance(self.locres, RunResolution):
            found["locres"] = self.locres
        return found if self.mask is None else {**found, "mask": self.mask}


def open_map(density: VolumeLike, locres: VolumeLike, options: RunOptions) -> MapInputs:
    """Open a map and a resolution map, and check them against each other in seconds.

    Parameters
    ----------
    density
        Unfiltered map.
    locres
        Resolution map of any program, or the directory of a finished run of ours.
    options
        Gives the mask and the pixel size.

    Raises
    ------
    InputError
        A file cannot be read, or grids differ.
    """
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always", DistresWarning)
        first = open_volume(density, options.pixel_size_angstrom)
        second: Volume | RunResolution
        if isinstance(locres, str | Path) and (Path(locres) / "run.json").is_file():
            second = open_run_resolution(Path(locres))
            _require_shape(first, second)
        else:
            second = open_volume(locres, options.pixel_size_angstrom)
            require_same_grid(first, second)
        mask = None
        if options.mask is not None:
            mask = open_volume(options.mask, options.pixel_size_angstrom)
            require_same_grid(first, mask)
    notes = tuple(dict.fromkeys(str(warning.message) for warning in caught))
    for note in notes:
        logger.warning("%s", note)
    return MapInputs(density=first, locres=second, mask=mask, stem=stem_of(first.path), notes=notes)


def open_run_resolution(directory: Path, threshold: float | None = None) -> RunResolution:
    """Open the resolution map of a finished run.

    Parameters
    ----------
    directory
        The run.
    threshold
        Which one; None takes the first.

    Raises
    ------
    InputError
        The run holds no resolution map, or not that threshold.
    """
    try:
        record: dict[str, Any] = json.loads((directory / "run.json").read_text())
        places = record["arrays"]
        path = places["locres"]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise InputError(f"{directory} holds no resolution map: {error}") from error
    thresholds = [float(t) for t in record.get("thresholds", ())]
    if threshold is not None and threshold not in thresholds:
        raise InputError(f"{directory} has no threshold {threshold:g}, only {thresholds}")
    step = 0 if threshold is None else thresholds.index(threshold)
    store = str(directory / "run.zarr")
    mask = places.get("mask")
    return RunResolution(
        source=ZarrSource.of(store, path),
        step=step,
        directory=directory,
        mask=ZarrSource.of(store, mask) if isinstance(mask, str) else None,
    )


def _require_shape(density: Volume, found: RunResolution) -> None:
    shape = found.source.shape[-3:]
    if shape != density.shape:
        raise InputError(
            f"{density.path} has {density.shape} voxels (z, y, x) but the resolution map in "
            f"{found.directory} has {shape}; give the map it was computed for"
        )


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
    convention = Convention()
    step = 0
    if isinstance(inputs_locres, RunResolution):
        source: Source = inputs_locres.source
        step = inputs_locres.step
    else:
        # NaN is what some programs write for "none", as 0 is.
        source = ingest(inputs_locres, run, "locres", executor, replace_nonfinite=0.0)[0]
        edge = max(n * s for n, s in zip(grid.shape, grid.voxel_size_angstrom, strict=True))
        convention = recognise(_sample(source), min(grid.voxel_size_angstrom), edge)
        _say(inputs_locres.path, convention)
    plan = plan_tiles(
        grid.shape,
        halo=(EXTEND_VOX,) * 3,
        bytes_per_voxel=_BYTES_PER_VOXEL,
        memory_bytes=executor.memory_bytes,
        workers=executor.workers,
        tile=session.options.tile_vox,
        run=run,
    )
    job = TileJob(
        name="deblur resolution",
        plan=plan,
        function=resolution_tile,
        inputs={"locres": source, "map": observed} | ({} if mask is None else {"mask": mask}),
        outputs={RESOLUTION: OutputSpec()},
        parameters={
            "empty": list(convention.empty),
            "per_pixel": convention.per_pixel,
            "voxel_angstrom": min(grid.voxel_size_angstrom),
            "finest_angstrom": 2 * max(grid.voxel_size_angstrom),
            "coarsest_angstrom": coarsest_angstrom,
            "step": step,
            "extend": extend,
            "edges_angstrom": BIN_EDGES_ANGSTROM.tolist(),
        },
        bytes_per_voxel=_BYTES_PER_VOXEL,
    )
    table = run_job(job, run=run, executor=executor)
    return _field(table, output(run, RESOLUTION)), table


def _sample(source: Source) -> npt.NDArray[np.float32]:
    """Read some sections of a volume."""
    depth, height, width = source.shape[-3:]
    count = min(depth, _SAMPLED_SECTIONS)
    # Odd multiples of half a step: the first and the last section are mostly empty.
    places = ((2 * np.arange(count) + 1) * depth) // (2 * count)
    parts = [source.read((slice(z, z + 1), slice(0, height), slice(0, width))) for z in places]
    return np.concatenate(parts).astype(np.float32)


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
    middle = int(np.searchsorted(np.cumsum(counts), counts.sum() / 2))
    return ResolutionField(
        source=source,
        finest_angstrom=float(table.columns["lowest"].min()),
        coarsest_angstrom=float(table.columns["highest"].max()),
        median_angstrom=float(np.sqrt(BIN_EDGES_ANGSTROM[middle] * BIN_EDGES_ANGSTROM[middle + 1])),
        signal_variance=_variance(inside),
        noise_variance=_variance(outside),
        empty_deviation=float(np.sqrt(_variance(empty))),
    )


def _variance(moments: Sequence[float] | npt.NDArray[np.float64]) -> float:
    count, total, squares = (float(value) for value in moments)
    if count < 1:
        return 0.0
    mean = total / count
    found = squares / count - mean * mean
    # What rounding leaves of a constant is no noise.
    return found if found > 1e-12 * max(squares / count, -inf) else 0.0


def mean_job(session: Session, half1: Source, half2: Source, grid: Grid) -> TileJob:
    """Return the job that averages two half maps."""
    plan = plan_tiles(
        grid.shape,
        halo=(0, 0, 0),
        bytes_per_voxel=16.0,
        memory_bytes=session.executor.memory_bytes,
        workers=session.executor.workers,
        tile=session.options.tile_vox,
        run=session.run,
    )
    return TileJob(
        name="deblur mean",
        plan=plan,
        function=mean_tile,
        inputs={"half1": half1, "half2": half2},
        outputs={MEAN: OutputSpec()},
        parameters={"output": MEAN},
        bytes_per_voxel=16.0,
    )
