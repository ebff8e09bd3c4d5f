"""A whole run of ResMap: two half maps or one map, mask, passes, maps, record."""

from dataclasses import asdict

from distres.io.volume import VolumeLike
from distres.methods.bring import bring_mask
from distres.methods.judge import judge_halves
from distres.methods.options import RunOptions
from distres.methods.products import Arrays, MethodRun, finish
from distres.methods.pyramid import ingest
from distres.methods.resmap import run_resmap
from distres.methods.resmap_plan import ResmapParameters
from distres.methods.session import open_session
from distres.methods.single import Map, open_maps
from distres.methods.symmetry import bring_unit, levels_for_search

METHOD = "resmap"


def compute_resmap(
    half1: VolumeLike,
    half2: VolumeLike | None,
    parameters: ResmapParameters,
    options: RunOptions,
    *,
    single: bool = False,
) -> MethodRun:
    """Compute ResMap of two half maps, or of one map, and write everything that comes of it.

    Parameters
    ----------
    half1, half2
        Paths, addresses, arrays or volumes. Without half 2 its file is looked for by name; where
        there is none, half 1 is taken as a single map.
    parameters
        Choices of the method.
    options
        Mask, places and resources.
    single
        Take half 1 as a single map even if it has a partner.

    Raises
    ------
    InputError
        The inputs cannot be used, or their noise cannot be read.
    OutputExistsError
        The directory holds a run.
    """
    maps = open_maps(half1, half2, options, single=single)
    grid = maps.half1.grid
    parameters.wavelengths(grid)
    if parameters.compat:
        options.require_whole("--compat resmap")
    with open_session(options, default_output=f"{maps.stem}_{METHOD}") as session:
        if not isinstance(maps, Map):
            judge_halves(session, maps)
        levels = levels_for_search(maps, options)
        pyramids = {
            name: ingest(volume, session.run, name, session.executor, levels)
            for name, volume in maps.volumes.items()
            if name != "mask"
        }
        first, *others = pyramids.values()
        second = others[0] if others else None
        mask = bring_mask(session, maps, first, second)
        unit = bring_unit(session, maps, mask, first, second)
        if isinstance(maps, Map):
            session.warn(
                "a single map: its noise is read outside the mask, where filtering or masking may "
                "have changed it; raw half maps are better"
            )
        result = run_resmap(
            {name: pyramid[0] for name, pyramid in pyramids.items()},
            mask.source,
            mask.occupancy,
            grid,
            session.run,
            session.executor,
            parameters,
            unit=unit.source,
            unit_occupancy=unit.occupancy,
            tile=options.tile_vox,
        )
        result = unit.expanded(session, result)
        if result.limit_angstrom is not None:
            session.warn(
                f"the noise ends at {result.limit_angstrom:.2f} A: the map was low-passed, and "
                f"nothing finer than {result.wavelengths[0]:.2f} A was tested"
            )
        record = finish(
            session,
            maps,
            method=METHOD,
            thresholds=(parameters.rate,),
            parameters={**asdict(parameters), "mask": mask.as_json()},
            arrays=Arrays(locres=result.locres, flags=result.flags, mask=mask.path),
            extra={
                METHOD: result.as_json(),
                "mask_statistics": mask.statistics,
                **unit.facts,
            },
        )
        density = tuple(pyramid[0] for pyramid in pyramids.values())
        return MethodRun(directory=session.run.directory, record=record, density=density)
