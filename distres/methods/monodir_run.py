"""A whole run of MonoDir: inputs, directions, MonoRes beside them, profiles, tables, record."""

from dataclasses import asdict
from typing import Any

from distres.io.volume import VolumeLike
from distres.methods.mask import MaskResult
from distres.methods.monodir import MonoDirResult, run_monodir
from distres.methods.monodir_passes import centre_angstrom, planned_jobs, require_tiles
from distres.methods.monodir_plan import MonoDirParameters
from distres.methods.monodir_profiles import PROFILES, ZSCORE, Profiles, run_profiles
from distres.methods.monodir_tables import preferred_directions, write_tables
from distres.methods.monores import MonoResResult, run_monores
from distres.methods.monores_inputs import (
    bring_inputs,
    is_single,
    levels_needed,
    mode_of,
    open_region,
)
from distres.methods.monores_passes import MonoResInputs
from distres.methods.options import RunOptions
from distres.methods.products import Arrays, MethodRun, finish
from distres.methods.session import HalfMaps, Session, open_session
from distres.methods.single import open_maps
from distres.methods.trial import ChainEstimate, StandIn, estimate_chain, ingest_jobs

METHOD = "monodir"
CITATION = (
    "Vilas, Tagare, Vargas, Carazo, Sorzano: Measuring local-directional resolution and local "
    "anisotropy in cryo-EM maps. Nature Communications 11, 55 (2020)."
)


def compute_monodir(
    first: VolumeLike,
    second: VolumeLike | None,
    parameters: MonoDirParameters,
    options: RunOptions,
    *,
    single: bool = False,
) -> MethodRun:
    """Compute MonoDir of two half maps, or of one map, and write everything that comes of it.

    Parameters
    ----------
    first, second
        Paths, addresses, arrays or volumes. When only one is given, its partner is looked for by
        name, and without one it is taken as a single map.
    parameters
        Choices of the method.
    options
        Mask, places and resources.
    single
        Take `first` as a single map even if it has a partner.

    Raises
    ------
    InputError
        The inputs cannot be used, or hold no noise to compare with.
    UsageError
        The resolution range does not fit the grid.
    OutputExistsError
        The directory holds a run.
    """
    maps = open_maps(first, second, options, single=single)
    sweep = parameters.sweep()
    levels = levels_needed(maps, sweep, options)
    region = open_region(maps, sweep, options)
    with open_session(
        options,
        default_output=f"{maps.stem}_{METHOD}",
        preflight=lambda executor: require_tiles(
            maps.half1.grid, executor, parameters, tile=options.tile_vox
        ),
    ) as session:
        inputs, unit = bring_inputs(session, maps, region, sweep, levels)
        mask = unit.mask
        run, executor, tile = session.run, session.executor, options.tile_vox
        result = run_monodir(inputs, run, executor, parameters, tile=tile)
        undirected = run_monores(inputs, run, executor, sweep, tile=tile)
        for warning in dict.fromkeys((*result.warnings, *undirected.warnings)):
            session.warn(warning)
        profiles = run_profiles(
            session,
            inputs.grid,
            {name: {**result.arrays, "monores": undirected.locres}[name] for name in PROFILES},
            centre_angstrom(inputs),
            mask.occupancy,
        )
        record = _finish(session, maps, parameters, mask, result, undirected, profiles)
        return MethodRun(directory=run.directory, record=record, density=inputs.density)


def dry_run_monodir(
    first: VolumeLike,
    second: VolumeLike | None,
    parameters: MonoDirParameters,
    options: RunOptions,
    *,
    single: bool = False,
) -> ChainEstimate:
    """Say what a run would take, as if all voxels were in the mask and passed every test."""
    maps = open_maps(first, second, options, single=single)
    grid = maps.half1.grid
    levels = levels_needed(maps, parameters.sweep(), options)
    with open_session(options, default_output=f"{maps.stem}_{METHOD}") as session:
        jobs = [
            job
            for name, volume in maps.volumes.items()
            if name != "mask"
            for job in ingest_jobs(volume, name, session.executor, levels)
        ]
        noise = [StandIn(shape=grid.coarser(2**level).shape) for level in range(levels)]
        inputs = MonoResInputs(
            half1=noise,
            half2=None if is_single(maps) else noise,
            grid=grid,
            region=noise if is_single(maps) else None,
        )
        jobs += planned_jobs(
            inputs, session.run, session.executor, parameters, tile=options.tile_vox
        )
        return estimate_chain(jobs, session.executor)


def _finish(
    session: Session,
    maps: HalfMaps,
    parameters: MonoDirParameters,
    mask: MaskResult,
    result: MonoDirResult,
    undirected: MonoResResult,
    profiles: Profiles,
) -> dict[str, Any]:
    tables = write_tables(session.run.directory, f"{maps.stem}_{METHOD}", result, profiles)
    extra = {name: path for name, path in result.arrays.items() if name != "flags"}
    return finish(
        session,
        maps,
        method=METHOD,
        thresholds=(parameters.confidence,),
        parameters={
            **asdict(parameters),
            "edge_degrees": parameters.edge_degrees,
            "mode": mode_of(maps),
            "mask": mask.as_json(),
        },
        arrays=Arrays(
            locres=result.arrays["adr"],
            flags=result.arrays["flags"],
            mask=mask.path,
            extra={**extra, "zscore": ZSCORE, "monores": undirected.locres},
        ),
        extra={
            METHOD: {
                "resolutions_angstrom": list(result.resolutions),
                "noise": result.noise.tolist(),
                "places": result.points,
                "preferred_directions": preferred_directions(result),
                "profiles": profiles.as_json(),
                "tables": tables,
                "directional": result.directional,
            },
            "mask_statistics": mask.statistics,
            "citations": [CITATION],
        },
    )
