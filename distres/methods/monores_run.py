"""A whole run of MonoRes: inputs, pyramids, mask, noise, decisions, maps, record."""

from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

from distres.engine.jobs import TileJob
from distres.errors import UsageError
from distres.io.volume import VolumeLike
from distres.methods.monores import MonoResResult, run_monores
from distres.methods.monores_inputs import Given, MonoResInputs, bring_inputs, open_given, stand_ins
from distres.methods.monores_passes import Passes
from distres.methods.monores_plan import MonoResParameters
from distres.methods.options import RunOptions
from distres.methods.products import Arrays, MethodRun, finish
from distres.methods.session import Session, open_session
from distres.methods.symmetry import Unit
from distres.methods.trial import ChainEstimate, estimate_chain

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


def dry_run(
    first: VolumeLike,
    second: VolumeLike | None,
    parameters: MonoResParameters,
    options: RunOptions,
    *,
    single: bool = False,
) -> ChainEstimate:
    """Say what a run would take, as if all voxels were in the mask and passed every test.

    Raises
    ------
    UsageError
        The published algorithm was asked for, whose only tile is the whole volume.
    """
    if parameters.compat:
        raise UsageError(
            "--compat xmipp has one tile, so a dry run of it would be the run itself; leave out "
            "--dry-run"
        )
    given = open_given(first, second, parameters, options, single=single)
    with open_session(options, default_output=f"{given.maps.stem}_{METHOD}") as session:
        inputs, jobs = stand_ins(session, given)
        return estimate_sweep(session, inputs, jobs, parameters)


def estimate_sweep(
    session: Session, inputs: MonoResInputs, jobs: Sequence[TileJob], parameters: MonoResParameters
) -> ChainEstimate:
    """Try the passes over all levels, after the jobs that bring the inputs."""
    run, executor, tile = session.run, session.executor, session.options.tile_vox
    resolutions = parameters.resolutions(inputs.grid)
    passes = Passes(inputs, run, executor, parameters, resolutions, tile)
    planned = [job for tests in passes.levels() for job in passes.planned(tests)]
    return estimate_chain([*jobs, *planned], executor)


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
