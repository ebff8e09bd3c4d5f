"""A whole run of MonoRes: inputs, pyramids, mask, noise, decisions, maps, record."""

from dataclasses import asdict
from typing import Any

from distres.io.volume import VolumeLike
from distres.methods.monores import MonoResResult, run_monores
from distres.methods.monores_inputs import Given, bring_inputs, open_given
from distres.methods.monores_plan import MonoResParameters
from distres.methods.options import RunOptions
from distres.methods.products import Arrays, MethodRun, finish
from distres.methods.session import Session, open_session
from distres.methods.symmetry import Unit

METHOD = "monores"


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
    given = open_given(first, second, parameters, options, single=single)
    if parameters.compat:
        options.require_whole("--compat xmipp")
    with open_session(options, default_output=f"{given.maps.stem}_{METHOD}") as session:
        inputs, unit = bring_inputs(session, given, parameters)
        result = run_monores(
            inputs, session.run, session.executor, parameters, tile=options.tile_vox
        )
        for warning in result.warnings:
            session.warn(warning)
        result = unit.expanded(session, result)
        record = _finish(session, given, parameters, unit, result)
        return MethodRun(directory=session.run.directory, record=record, density=inputs.density)


def _finish(
    session: Session,
    given: Given,
    parameters: MonoResParameters,
    unit: Unit,
    result: MonoResResult,
) -> dict[str, Any]:
    mask = unit.mask
    return finish(
        session,
        given.maps,
        method=METHOD,
        thresholds=(parameters.confidence,),
        parameters={
            **asdict(parameters),
            "mode": given.mode,
            "mask": mask.as_json(),
        },
        arrays=Arrays(locres=result.locres, flags=result.flags, mask=mask.path, extra={}),
        extra={METHOD: result.as_json(), "mask_statistics": mask.statistics, **unit.facts},
    )
