"""A whole run of MonoRes: inputs, pyramids, mask, noise, decisions, maps, record."""

from dataclasses import asdict
from typing import Any

from distres.io.volume import VolumeLike
from distres.methods.monores import MonoResResult, run_monores
from distres.methods.monores_inputs import bring_inputs, levels_needed, mode_of, open_region
from distres.methods.monores_plan import MonoResParameters
from distres.methods.options import RunOptions
from distres.methods.products import Arrays, MethodRun, finish
from distres.methods.session import HalfMaps, Session, open_session
from distres.methods.single import open_maps
from distres.methods.symmetry import Unit

METHOD = "monores"
# Voxels of more than half the mask are answered.
MASK_ABOVE = 0.5


def compute_monores(
    first: VolumeLike,
    second: VolumeLike | None,
    parameters: MonoResParameters,
    options: RunOptions,
    *,
    single: bool = False,
) -> MethodRun:
    """Compute MonoRes of two half maps, or of one map, and write everything that comes of it.

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
    levels = levels_needed(maps, parameters, options)
    region = open_region(maps, parameters, options)
    if parameters.compat:
        options.require_whole("--compat xmipp")
    with open_session(options, default_output=f"{maps.stem}_{METHOD}") as session:
        inputs, unit = bring_inputs(session, maps, region, parameters, levels)
        result = run_monores(
            inputs, session.run, session.executor, parameters, tile=options.tile_vox
        )
        for warning in result.warnings:
            session.warn(warning)
        result = unit.expanded(session, result, mask_above=MASK_ABOVE)
        record = _finish(session, maps, parameters, unit, result)
        return MethodRun(directory=session.run.directory, record=record, density=inputs.density)


def _finish(
    session: Session,
    maps: HalfMaps,
    parameters: MonoResParameters,
    unit: Unit,
    result: MonoResResult,
) -> dict[str, Any]:
    mask = unit.mask
    return finish(
        session,
        maps,
        method=METHOD,
        thresholds=(parameters.confidence,),
        parameters={
            **asdict(parameters),
            "mode": mode_of(maps),
            "mask": mask.as_json(),
        },
        arrays=Arrays(locres=result.locres, flags=result.flags, mask=mask.path, extra={}),
        extra={METHOD: result.as_json(), "mask_statistics": mask.statistics, **unit.facts},
    )
