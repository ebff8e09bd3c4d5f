"""A whole run of the local FSC: inputs, pyramids, mask, curves, crossings, maps, record."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import xarray as xr

from distres.engine.jobs import Source, TileJob
from distres.io.volume import Grid, VolumeLike
from distres.kernels.localcorrelation import STRIDE
from distres.methods.dataset import open_run
from distres.methods.localfsc import LocalFscResult, localfsc_jobs, run_localfsc
from distres.methods.localfsc_plan import LocalFscParameters, levels_wanted
from distres.methods.mask import MaskResult, auto_mask, load_mask, search_level
from distres.methods.options import RunOptions
from distres.methods.products import Arrays, finish, summary
from distres.methods.pyramid import copy_job, halving_job, ingest
from distres.methods.session import HalfMaps, Session, open_half_maps, open_session
from distres.methods.trial import ChainEstimate, StandIn, estimate_chain

METHOD = "localfsc"


@dataclass(frozen=True, slots=True, kw_only=True)
class LocalFscRun:
    """A finished run.

    Attributes
    ----------
    directory
        Where it lies.
    record
        What ``run.json`` says.
    density
        Both half maps, for pictures.
    """

    directory: Path
    record: dict[str, Any]
    density: tuple[Source, ...]

    def summary(self) -> dict[str, Any]:
        """Return what a script wants to know, as JSON values."""
        return summary(self.directory, self.record)

    def dataset(self, *, load: bool = False) -> xr.Dataset:
        """Open the result, lazily unless `load`."""
        return open_run(self.directory, load=load)


def compute_localfsc(
    half1: VolumeLike,
    half2: VolumeLike | None,
    parameters: LocalFscParameters,
    options: RunOptions,
) -> LocalFscRun:
    """Compute the local FSC of two half maps and write everything that comes of it.

    Parameters
    ----------
    half1, half2
        Paths, addresses, arrays or volumes; half 2 is found by name when it is None.
    parameters
        Choices of the method.
    options
        Mask, places and resources.

    Raises
    ------
    InputError
        The inputs cannot be used, see `open_half_maps`.
    UsageError
        The resolution range does not fit the grid.
    OutputExistsError
        The directory holds a run.
    """
    maps = open_half_maps(half1, half2, options)
    grid = maps.half1.grid
    levels = pyramid_levels(grid, parameters, masked=maps.mask is not None)
    with open_session(options, default_output=f"{maps.stem}_{METHOD}") as session:
        first = ingest(maps.half1, session.run, "half1", session.executor, levels)
        second = ingest(maps.half2, session.run, "half2", session.executor, levels)
        mask = bring_mask(session, maps, first, second)
        result = run_localfsc(
            first,
            second,
            grid,
            session.run,
            session.executor,
            parameters,
            mask=mask.source,
            occupancy=mask.occupancy,
            tile=options.tile_vox,
        )
        record = _finish(session, maps, parameters, mask, result)
        return LocalFscRun(
            directory=session.run.directory, record=record, density=(first[0], second[0])
        )


def pyramid_levels(grid: Grid, parameters: LocalFscParameters, *, masked: bool) -> int:
    """Return how many levels the bands, and the search for a mask, need."""
    wanted = levels_wanted(grid, parameters)
    return wanted if masked else max(wanted, search_level(grid.shape) + 1)


def bring_mask(
    session: Session, maps: HalfMaps, first: Sequence[Source], second: Sequence[Source]
) -> MaskResult:
    """Check the user's mask or make one; its warnings become the session's."""
    grid, tile = maps.half1.grid, session.options.tile_vox
    if maps.mask is not None:
        found = load_mask(maps.mask, grid, session.run, session.executor, tile=tile)
    else:
        found = auto_mask(first, second, grid, session.run, session.executor, tile=tile)
    for warning in found.warnings:
        session.warn(warning)
    return found


def _finish(
    session: Session,
    maps: HalfMaps,
    parameters: LocalFscParameters,
    mask: MaskResult,
    result: LocalFscResult,
) -> dict[str, Any]:
    return finish(
        session,
        maps,
        method=METHOD,
        thresholds=parameters.thresholds,
        parameters={**asdict(parameters), "mask": {"kind": mask.kind, **mask.parameters}},
        arrays=Arrays(locres=result.locres, flags=result.flags, mask=mask.source.path),
        extra={
            "localfsc": {
                **result.as_json(),
                "curves": {str(level): path for level, path in result.curves.items()},
                "curve_stride": STRIDE,
            },
            "mask_statistics": mask.statistics,
        },
    )


def dry_run(
    half1: VolumeLike,
    half2: VolumeLike | None,
    parameters: LocalFscParameters,
    options: RunOptions,
) -> ChainEstimate:
    """Say what a run would take: tiles, halo, memory, disk, and time from three tiles a job."""
    maps = open_half_maps(half1, half2, options)
    grid = maps.half1.grid
    levels = pyramid_levels(grid, parameters, masked=maps.mask is not None)
    with open_session(options, default_output=f"{maps.stem}_{METHOD}") as session:
        jobs: list[TileJob] = []
        for name, volume in (("half1", maps.half1), ("half2", maps.half2)):
            if volume.random_access:
                jobs.append(
                    copy_job(volume, f"inputs/{name}/0", executor=session.executor, outputs=True)
                )
            jobs += [
                halving_job(
                    _stand_in(grid, level - 1),
                    f"inputs/{name}/{level}",
                    executor=session.executor,
                    outputs=True,
                )
                for level in range(1, levels)
            ]
        stand_ins = [_stand_in(grid, level) for level in range(levels)]
        jobs += localfsc_jobs(
            stand_ins,
            stand_ins,
            grid,
            session.run,
            session.executor,
            parameters,
            tile=options.tile_vox,
        )
        return estimate_chain(jobs, session.executor)


def _stand_in(grid: Grid, level: int) -> StandIn:
    return StandIn(shape=grid.coarser(2**level).shape)
