"""A whole run of LocalDeblur: inputs, resolution field, iterations."""

from dataclasses import replace
from pathlib import Path
from typing import Any

from distres.engine.jobs import Source
from distres.engine.runner import output, run_job
from distres.errors import InputError, UsageError
from distres.io.grid import Grid
from distres.io.volume import VolumeLike
from distres.methods.deblur import run_deblur
from distres.methods.deblur_inputs import (
    MEAN,
    MapInputs,
    RunResolution,
    mean_job,
    open_map,
    open_run_resolution,
)
from distres.methods.deblur_passes import Passes
from distres.methods.deblur_plan import (
    DeblurParameters,
    ResolutionField,
    coarsest_angstrom_of,
)
from distres.methods.deblur_resolution import bring_resolution
from distres.methods.deblur_result import METHOD, DeblurRun, Prepared, finish_deblur
from distres.methods.localfsc_plan import LocalFscParameters
from distres.methods.localfsc_run import compute_localfsc
from distres.methods.mask import load_mask
from distres.methods.model_profile import model_amplitude
from distres.methods.monores_plan import MonoResParameters
from distres.methods.monores_run import compute_monores
from distres.methods.options import RunOptions
from distres.methods.pyramid import ingest
from distres.methods.session import Session, open_half_maps, open_session

RESOLUTION_METHODS = ("localfsc", "monores")


def deblur_map(
    density: VolumeLike,
    locres: VolumeLike,
    parameters: DeblurParameters,
    options: RunOptions,
    *,
    structure: Path | None = None,
) -> DeblurRun:
    """Sharpen a map by a resolution map; neither file is touched.

    Parameters
    ----------
    density
        Unfiltered map.
    locres
        Resolution map of any program, or the directory of a finished run of ours.
    parameters
        Choices of the method.
    options
        Mask, places and resources.
    structure
        Atomic model whose Guinier profile is drawn beside the map's.

    Raises
    ------
    InputError
        The inputs cannot be used.
    OutputExistsError
        The directory holds a run.
    """
    inputs = open_map(density, locres, options)
    model = _model_of(structure, inputs.density.grid)
    with open_session(options, default_output=f"{inputs.stem}_{METHOD}") as session:
        return _compute(session, replace(_prepare_map(session, inputs), **model), parameters)


def deblur_halves(
    half1: VolumeLike,
    half2: VolumeLike | None,
    method: str,
    parameters: DeblurParameters,
    options: RunOptions,
    *,
    threshold: float = 0.143,
    structure: Path | None = None,
) -> DeblurRun:
    """Measure the local resolution of two half maps, then sharpen their mean by it.

    Parameters
    ----------
    half1, half2
        As for the method that measures.
    method
        One of `RESOLUTION_METHODS`; its run is kept in a folder of that name inside the run.
    threshold
        Of the local FSC.
    parameters, options, structure
        As in `deblur_map`.
    """
    if method not in RESOLUTION_METHODS:
        names = " or ".join(RESOLUTION_METHODS)
        raise UsageError(f"method '{method}' measures no resolution here; use {names}")
    maps = open_half_maps(half1, half2, options)
    model = _model_of(structure, maps.half1.grid)
    directory = options.output or Path(f"{maps.stem}_{METHOD}")
    with open_session(options, default_output=str(directory)) as session:
        inner = replace(
            options, output=session.run.directory / method, client=session.executor.client
        )
        measured = _measure(method, half1, half2, inner, threshold, parameters.device)
        first = ingest(maps.half1, session.run, "half1", session.executor)[0]
        second = ingest(maps.half2, session.run, "half2", session.executor)[0]
        job = mean_job(session, first, second, maps.half1.grid)
        run_job(job, run=session.run, executor=session.executor)
        prepared = Prepared(
            observed=output(session.run, MEAN),
            locres=measured,
            mask=measured.mask,
            grid=maps.half1.grid,
            header=maps.half1.header,
            stem=maps.stem,
            volumes=maps.volumes,
            notes=maps.notes,
        )
        model["facts"] = {**model.get("facts", {}), "method": method}
        return _compute(session, replace(prepared, **model), parameters)


def _model_of(structure: Path | None, grid: Grid) -> dict[str, Any]:
    """Return what an atomic model adds to `Prepared`."""
    if structure is None:
        return {}
    model = model_amplitude(structure, max(grid.voxel_size_angstrom))
    return {"model": model, "facts": {"structure": str(structure)}}


def _measure(
    method: str,
    half1: VolumeLike,
    half2: VolumeLike | None,
    options: RunOptions,
    threshold: float,
    device: str,
) -> RunResolution:
    if options.client is None:
        options = replace(options, cluster="none")
    directory = options.output
    if directory is None:
        raise InputError("the method that measures needs a directory")
    if (directory / "run.json").is_file() and options.resume:
        return open_run_resolution(directory)
    if method == "monores":
        compute_monores(half1, half2, MonoResParameters(device=device), options)
    else:
        parameters = LocalFscParameters(thresholds=(threshold,), device=device)
        compute_localfsc(half1, half2, parameters, options)
    return open_run_resolution(directory)


def _prepare_map(session: Session, inputs: MapInputs) -> Prepared:
    run, executor, grid = session.run, session.executor, inputs.density.grid
    observed = ingest(inputs.density, run, "map", executor)[0]
    mask: Source | None = None
    if inputs.mask is not None:
        found = load_mask(inputs.mask, grid, run, executor, tile=session.options.tile_vox)
        for warning in found.warnings:
            session.warn(warning)
        mask = found.source
    elif isinstance(inputs.locres, RunResolution):
        mask = inputs.locres.mask
    return Prepared(
        observed=observed,
        locres=inputs.locres,
        mask=mask,
        grid=grid,
        header=inputs.density.header,
        stem=inputs.stem,
        volumes=inputs.volumes,
        notes=inputs.notes,
    )


def _compute(session: Session, given: Prepared, parameters: DeblurParameters) -> DeblurRun:
    found, table = bring_resolution(
        session,
        given.locres,
        given.observed,
        given.mask,
        given.grid,
        extend=parameters.model != "xmipp",
        coarsest_angstrom=coarsest_angstrom_of(parameters, given.grid),
    )
    _warn(session, found, parameters)
    passes = Passes.of(
        given.observed,
        found,
        given.mask,
        given.grid,
        session.run,
        session.executor,
        parameters,
        tile=session.options.tile_vox,
    )
    result = run_deblur(passes, session.run, session.executor)
    if not result.converged:
        session.warn(
            f"the map still changed by {100 * result.iterations[-1].change:.1f} % in the last of "
            f"{len(result.iterations)} iterations; --iterations allows more"
        )
    record = finish_deblur(session, given, parameters, found, table, result)
    return DeblurRun(directory=session.run.directory, record=record)


def _warn(session: Session, found: ResolutionField, parameters: DeblurParameters) -> None:
    if parameters.model != "paper" or parameters.snr is not None:
        return
    if found.noise_variance <= 0:
        session.warn(
            "the map has no noise outside the mask: the SNR is taken as infinite; give an unmasked "
            "map, a mask, or --snr"
        )
    elif found.snr < 1:
        session.warn(
            f"the map varies less inside the mask than outside (SNR {found.snr:.2f}): is it the "
            "right mask?"
        )
