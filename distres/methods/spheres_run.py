"""A whole run of RELION's local resolution: inputs, mask, spheres, maps, record."""

from dataclasses import asdict

from distres.io.volume import VolumeLike
from distres.methods.blocres_run import METHOD
from distres.methods.bring import bring_mask
from distres.methods.judge import judge_halves
from distres.methods.options import RunOptions
from distres.methods.products import Arrays, MethodRun, finish
from distres.methods.pyramid import ingest
from distres.methods.session import open_half_maps, open_session
from distres.methods.spheres import SphereParameters, run_spheres
from distres.methods.symmetry import bring_unit, levels_for_search


def compute_spheres(
    half1: VolumeLike,
    half2: VolumeLike | None,
    parameters: SphereParameters,
    options: RunOptions,
) -> MethodRun:
    """Compute RELION's local resolution of two half maps and write everything that comes of it.

    Parameters
    ----------
    half1, half2
        Paths, addresses, arrays or volumes; half 2 is found by name when it is None.
    parameters
        Choices of the method.
    options
        Mask, places and resources. The mask says where an answer is wanted; it never changes one.

    Raises
    ------
    InputError
        The inputs cannot be used, see `open_half_maps`.
    UsageError
        Voxels are no cubes, or a sphere does not fit.
    ClusterError
        A worker cannot hold the volume.
    """
    maps = open_half_maps(half1, half2, options)
    grid = maps.half1.grid
    parameters.resolved(grid)
    with open_session(options, default_output=f"{maps.stem}_{METHOD}") as session:
        judge_halves(session, maps)
        levels = levels_for_search(maps, options)
        first = ingest(maps.half1, session.run, "half1", session.executor, levels)
        second = ingest(maps.half2, session.run, "half2", session.executor, levels)
        mask = bring_mask(session, maps, first, second)
        unit = bring_unit(session, maps, mask, first, second)
        result = run_spheres(
            first[0],
            second[0],
            grid,
            session.run,
            session.executor,
            parameters,
            mask=unit.source,
            occupancy=unit.occupancy,
            tile=options.tile_vox,
        )
        result = unit.expanded(session, result)
        record = finish(
            session,
            maps,
            method=METHOD,
            thresholds=(parameters.threshold,),
            parameters={
                **asdict(parameters),
                "compat": "relion",
                "resolved": result.parameters,
                "mask": mask.as_json(),
            },
            arrays=Arrays(locres=result.locres, flags=result.flags, mask=mask.path),
            extra={
                METHOD: {"spheres": result.spheres},
                "mask_statistics": mask.statistics,
                **unit.facts,
            },
        )
        return MethodRun(
            directory=session.run.directory, record=record, density=(first[0], second[0])
        )
