"""A whole run of MonoDir: inputs, directions, MonoRes beside them, profiles, tables, record."""

from dataclasses import asdict
from typing import Any

from distres.io.volume import VolumeLike
from distres.kernels.directional_maps import MAPS
from distres.methods.monodir import MonoDirResult, run_monodir
from distres.methods.monodir_passes import require_tiles
from distres.methods.monodir_plan import MonoDirParameters
from distres.methods.monodir_profiles import PROFILES, ZSCORE, Profiles, run_profiles
from distres.methods.monodir_tables import preferred_directions, write_tables
from distres.methods.monores import MonoResResult, run_monores
from distres.methods.monores_inputs import Given, bring_inputs, open_given
from distres.methods.options import RunOptions
from distres.methods.products import Arrays, MethodRun, finish
from distres.methods.session import Session, open_session
from distres.methods.symmetry import Unit

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
    first, second, single
        As for `distres.methods.monores_inputs.open_given`.
    parameters
        Choices of the method.
    options
        Mask, places and resources.

    Raises
    ------
    InputError
        The inputs cannot be used, or hold no noise to compare with.
    UsageError
        The resolution range does not fit the grid.
    OutputExistsError
        The directory holds a run.
    """
    if parameters.keep_directions:
        options.require_whole("--keep-directions")
    sweep = parameters.sweep()
    given = open_given(first, second, sweep, options, single=single)
    with open_session(
        options,
        default_output=f"{given.maps.stem}_{METHOD}",
        preflight=lambda executor: require_tiles(
            given.maps.half1.grid, executor, parameters, tile=options.tile_vox
        ),
    ) as session:
        inputs, unit = bring_inputs(session, given, sweep)
        run, executor, tile = session.run, session.executor, options.tile_vox
        result = run_monodir(inputs, run, executor, parameters, tile=tile)
        undirected = run_monores(inputs, run, executor, sweep, tile=tile)
        for warning in dict.fromkeys((*result.warnings, *undirected.warnings)):
            session.warn(warning)
        maps = _whole(session, unit, result, undirected)
        profiles = run_profiles(
            session,
            inputs.grid,
            {name: maps[name] for name in PROFILES},
            inputs.centre_angstrom,
            unit.mask.occupancy,
        )
        record = _finish(session, given, parameters, unit, result, maps, profiles)
        return MethodRun(directory=run.directory, record=record, density=inputs.density)


def _whole(
    session: Session, unit: Unit, result: MonoDirResult, undirected: MonoResResult
) -> dict[str, str]:
    """Give every voxel of the mask what its mate in the unit has; return paths by name.

    Maps of MonoDir are interpolated as between the points that were decided, so that ADR stays the
    mean of the highest and the lowest; MonoRes is copied as by itself.
    """
    maps = {name: result.arrays[name] for name in MAPS}
    return unit.copied(
        session, {**maps, "monores": undirected.locres}, result.arrays["flags"], plain=MAPS
    )


def _finish(
    session: Session,
    given: Given,
    parameters: MonoDirParameters,
    unit: Unit,
    result: MonoDirResult,
    maps: dict[str, str],
    profiles: Profiles,
) -> dict[str, Any]:
    mask = unit.mask
    tables = write_tables(session.run.directory, f"{given.maps.stem}_{METHOD}", result, profiles)
    extra = {name: path for name, path in maps.items() if name != "flags"}
    return finish(
        session,
        given.maps,
        method=METHOD,
        thresholds=(parameters.confidence,),
        parameters={
            **asdict(parameters),
            "edge_degrees": parameters.edge_degrees,
            "mode": given.mode,
            "mask": mask.as_json(),
        },
        arrays=Arrays(
            locres=maps["adr"],
            flags=maps["flags"],
            mask=mask.path,
            extra={**extra, "zscore": ZSCORE},
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
            **unit.facts,
        },
    )
