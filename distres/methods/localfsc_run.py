"""A whole run of the local FSC: inputs, pyramids, mask, curves, crossings, maps, record."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict, replace
from typing import Any

from distres.engine.cluster import Executor
from distres.engine.jobs import Source, TileJob
from distres.engine.run import Run
from distres.engine.runner import output
from distres.engine.sources import Layer, Mean
from distres.io.volume import Grid, VolumeLike
from distres.kernels.bands import Band
from distres.kernels.localcorrelation import STRIDE
from distres.methods.bring import bring_mask
from distres.methods.judge import judge_halves
from distres.methods.localfilter import levels_for, run_filter
from distres.methods.localfsc import LocalFscResult, localfsc_jobs, run_localfsc
from distres.methods.localfsc_plan import LocalFscParameters, choose_bands, levels_wanted
from distres.methods.options import RunOptions
from distres.methods.products import Arrays, MethodRun, finish
from distres.methods.pyramid import ingest
from distres.methods.session import HalfMaps, Session, open_half_maps, open_session
from distres.methods.symmetry import Unit, bring_unit, levels_for_search
from distres.methods.trial import StandIn

METHOD = "localfsc"


def compute_localfsc(
    half1: VolumeLike,
    half2: VolumeLike | None,
    parameters: LocalFscParameters,
    options: RunOptions,
    *,
    filtered: bool = False,
) -> MethodRun:
    """Compute the local FSC of two half maps and write everything that comes of it.

    Parameters
    ----------
    half1, half2
        Paths, addresses, arrays or volumes; half 2 is found by name when it is None.
    parameters
        Choices of the method.
    options
        Mask, places and resources.
    filtered
        Also write the mean of the halves, low-passed everywhere at the first threshold's local
        resolution.

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
    levels = max(levels_wanted(grid, parameters), levels_for_search(maps, options))
    if filtered:
        levels = max(levels, levels_for(grid))
    with open_session(
        options,
        default_output=f"{maps.stem}_{METHOD}",
        preflight=lambda executor: planned(maps, parameters, levels, None, executor, options),
    ) as session:
        first = ingest(maps.half1, session.run, "half1", session.executor, levels)
        second = ingest(maps.half2, session.run, "half2", session.executor, levels)
        mask = bring_mask(session, maps, first, second)
        unmasked_angstrom = judge_halves(session, maps, masked=False)
        unit = bring_unit(session, maps, mask, first, second)
        result = run_localfsc(
            first,
            second,
            grid,
            session.run,
            session.executor,
            parameters,
            mask=unit.source,
            occupancy=unit.occupancy,
            tile=options.tile_vox,
        )
        result = unit.expanded(session, result)
        extra = _filter(session, grid, first, second, result) if filtered else {}
        record = _finish(session, maps, parameters, unit, result, extra, unmasked_angstrom)
        return MethodRun(
            directory=session.run.directory, record=record, density=(first[0], second[0])
        )


def _filter(
    session: Session,
    grid: Grid,
    first: Sequence[Source],
    second: Sequence[Source],
    result: LocalFscResult,
) -> dict[str, str]:
    """Low-pass the mean of the halves at the local resolution of the first threshold."""
    means: list[Source] = [Mean(first=a, second=b) for a, b in zip(first, second, strict=True)]
    locres = Layer(source=output(session.run, result.locres), index=0)
    found = run_filter(
        means, locres, grid, session.run, session.executor, tile=session.options.tile_vox
    )
    return {"filtered": found.filtered}


def _finish(
    session: Session,
    maps: HalfMaps,
    parameters: LocalFscParameters,
    unit: Unit,
    result: LocalFscResult,
    arrays: dict[str, str],
    unmasked_angstrom: float | None,
) -> dict[str, Any]:
    mask = unit.mask
    return finish(
        session,
        maps,
        method=METHOD,
        thresholds=parameters.thresholds,
        parameters={**asdict(parameters), "mask": mask.as_json()},
        arrays=Arrays(locres=result.locres, flags=result.flags, mask=mask.path, extra=arrays),
        extra={
            "localfsc": {
                **result.as_json(),
                "curves": {str(level): path for level, path in result.curves.items()},
                "curve_stride": STRIDE,
                "unmasked_resolution_angstrom": unmasked_angstrom,
            },
            "mask_statistics": mask.statistics,
            **unit.facts,
        },
    )


def planned(
    maps: HalfMaps,
    parameters: LocalFscParameters,
    levels: int,
    run: Run | None,
    executor: Executor,
    options: RunOptions,
) -> list[TileJob]:
    """Plan all passes before anything exists; refuses a memory that is too small."""
    grid = maps.half1.grid
    stand_ins = [_stand_in(grid, level) for level in range(levels)]
    *curves, last = localfsc_jobs(
        stand_ins, stand_ins, grid, run, executor, parameters, tile=options.tile_vox
    )
    measured = _curve_stand_ins(grid, choose_bands(grid, parameters, levels))
    return [*curves, replace(last, inputs={**last.inputs, **measured})]


def _curve_stand_ins(grid: Grid, bands: Sequence[Band]) -> dict[str, Source]:
    """Return what the last pass reads: the curves of every level, at every second voxel."""
    counts = Counter(band.level for band in bands)
    return {
        f"curves_{level}": StandIn(
            shape=(count, *(-(-n // STRIDE) for n in grid.coarser(2**level).shape))
        )
        for level, count in counts.items()
    }


def _stand_in(grid: Grid, level: int) -> StandIn:
    return StandIn(shape=grid.coarser(2**level).shape)
