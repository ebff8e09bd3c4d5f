"""A whole run of LocalDeblur: inputs, resolution field, iterations, maps, profiles, record."""

import csv
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np

from distres.engine.jobs import Source
from distres.engine.runner import output, run_job
from distres.engine.tables import Table
from distres.errors import InputError, UsageError
from distres.io.grid import Grid
from distres.io.mrc import MrcHeader
from distres.io.volume import Volume, VolumeLike
from distres.kernels.guinier import bin_centres, fit_b_factor
from distres.methods.deblur import (
    COARSEST_VOX,
    DeblurParameters,
    DeblurResult,
    Passes,
    ResolutionField,
    radial_amplitude,
    run_deblur,
)
from distres.methods.deblur_inputs import (
    MEAN,
    MapInputs,
    RunResolution,
    bring_resolution,
    mean_job,
    open_map,
    open_run_resolution,
)
from distres.methods.deblur_tiles import RESOLUTION
from distres.methods.export import export_array
from distres.methods.localfsc_plan import LocalFscParameters
from distres.methods.localfsc_run import compute_localfsc
from distres.methods.mask import load_mask
from distres.methods.monores_plan import MonoResParameters
from distres.methods.monores_run import compute_monores
from distres.methods.options import RunOptions
from distres.methods.products import BIN_EDGES_ANGSTROM
from distres.methods.pyramid import ingest
from distres.methods.record import make_record
from distres.methods.session import Session, open_half_maps, open_session

METHOD = "deblur"
RESOLUTION_METHODS = ("localfsc", "monores")


@dataclass(frozen=True, slots=True, kw_only=True)
class DeblurRun:
    """A finished run.

    Attributes
    ----------
    directory
        Where it lies.
    record
        What ``run.json`` says.
    """

    directory: Path
    record: dict[str, Any]

    def summary(self) -> dict[str, Any]:
        """Return what a script wants to know, as JSON values."""
        return {
            "method": METHOD,
            "statistics": self.record["statistics"],
            "warnings": self.record["warnings"],
            "outputs": {k: str(self.directory / v) for k, v in self.record["outputs"].items()},
            "record": str(self.directory / "run.json"),
        }


@dataclass(frozen=True, slots=True, kw_only=True)
class _Prepared:
    """Everything that the iterations need, in the run's store."""

    observed: Source
    locres: Volume | RunResolution
    mask: Source | None
    grid: Grid
    header: MrcHeader | None
    stem: str
    volumes: Mapping[str, Volume]
    notes: tuple[str, ...] = ()
    facts: dict[str, Any] = field(default_factory=dict)


def deblur_map(
    density: VolumeLike, locres: VolumeLike, parameters: DeblurParameters, options: RunOptions
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

    Raises
    ------
    InputError
        The inputs cannot be used.
    OutputExistsError
        The directory holds a run.
    """
    inputs = open_map(density, locres, options)
    with open_session(options, default_output=f"{inputs.stem}_{METHOD}") as session:
        return _compute(session, _prepare_map(session, inputs), parameters)


def deblur_halves(
    half1: VolumeLike,
    half2: VolumeLike | None,
    method: str,
    parameters: DeblurParameters,
    options: RunOptions,
    *,
    threshold: float = 0.143,
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
    parameters, options
        As in `deblur_map`.
    """
    if method not in RESOLUTION_METHODS:
        names = " or ".join(RESOLUTION_METHODS)
        raise UsageError(f"method '{method}' measures no resolution here; use {names}")
    if options.dry_run:
        raise UsageError(
            "a dry run needs a resolution map: give --locres, or dry-run the method that makes it"
        )
    maps = open_half_maps(half1, half2, options)
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
        prepared = _Prepared(
            observed=output(session.run, MEAN),
            locres=measured,
            mask=measured.mask,
            grid=maps.half1.grid,
            header=maps.half1.header,
            stem=maps.stem,
            volumes=maps.volumes,
            notes=maps.notes,
            facts={"method": method},
        )
        return _compute(session, prepared, parameters)


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


def _prepare_map(session: Session, inputs: MapInputs) -> _Prepared:
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
    return _Prepared(
        observed=observed,
        locres=inputs.locres,
        mask=mask,
        grid=grid,
        header=inputs.density.header,
        stem=inputs.stem,
        volumes=inputs.volumes,
        notes=inputs.notes,
    )


def _compute(session: Session, given: _Prepared, parameters: DeblurParameters) -> DeblurRun:
    voxel = max(given.grid.voxel_size_angstrom)
    found, table = bring_resolution(
        session,
        given.locres,
        given.observed,
        given.mask,
        given.grid,
        extend=parameters.model != "xmipp",
        coarsest_angstrom=COARSEST_VOX * voxel if parameters.model == "blur" else None,
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
    record = _finish(session, given, parameters, found, table, result)
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


def _finish(
    session: Session,
    given: _Prepared,
    parameters: DeblurParameters,
    found: ResolutionField,
    table: Table,
    result: DeblurResult,
) -> dict[str, Any]:
    run = session.run
    name = f"{given.stem}_{METHOD}"
    files = {
        "sharpened": (f"{name}.mrc", result.path, False),
        "gain": (f"{name}_gain.mrc", result.gain, False),
        "locres_fill": (f"{name}_locres_fill.mrc", RESOLUTION, True),
    }
    for role, (file, path, fill) in files.items():
        export_array(
            output(run, path),
            given.grid,
            given.header,
            run.directory / file,
            fill=fill,
            label=f"{METHOD} {role}",
            overwrite=True,  # the run directory is this run's own
        )
    outputs = {role: file for role, (file, _, _) in files.items()}
    outputs |= {"iterations": f"{name}_iterations.csv", "guinier": f"{name}_guinier.csv"}
    profile = guinier_profile(result.profiles, given.grid, found)
    _write_iterations(run.directory / outputs["iterations"], result)
    _write_columns(run.directory / outputs["guinier"], profile["columns"])
    count, logs, _ = (float(v) for v in result.profiles.sum("logs"))
    record = make_record(
        method=METHOD,
        grid=given.grid,
        inputs=given.volumes,
        parameters={
            **asdict(parameters),
            "k_per_square_angstrom": result.k_per_square_angstrom,
            "snr": None if result.damping == 0 else 1 / result.damping,
            "step": result.step,
            "bands": result.bands,
            "tile_core_vox": list(result.plan.core),
            "tile_halo_vox": list(result.plan.halo),
            **given.facts,
        },
        results={
            "outputs": outputs,
            "arrays": {"density": result.path, "gain": result.gain, "locres": RESOLUTION},
            "histograms": {
                "used": {
                    "edges_angstrom": [float(edge) for edge in BIN_EDGES_ANGSTROM],
                    "counts": table.sum("counts").tolist(),
                }
            },
            "statistics": {
                "iterations": len(result.iterations),
                "converged": result.converged,
                "change": result.iterations[-1].change,
                "gain_mean": float(np.exp(logs / count)) if count else None,
                "b_factor_before": profile["b_before"],
                "b_factor_after": profile["b_after"],
                "finest_angstrom": found.finest_angstrom,
                "median_angstrom": found.median_angstrom,
                "coarsest_angstrom": found.coarsest_angstrom,
            },
            "iterations": [asdict(iteration) for iteration in result.iterations],
        },
        warnings=[*given.notes, *session.warnings],
        executor=session.executor,
        stopwatch=session.stopwatch,
        argv=session.options.argv,
    )
    run.write_record(record)
    return record


def guinier_profile(profiles: Table, grid: Grid, found: ResolutionField) -> dict[str, Any]:
    """Return the Guinier profiles of input and output, and the B-factors of lines through them."""
    frequency = bin_centres(0.5 / max(grid.voxel_size_angstrom))
    columns = {"frequency_per_angstrom": frequency}
    fitted = {}
    for role, name in (("before", "map"), ("after", "iterate")):
        amplitude = radial_amplitude(profiles, name)
        columns[f"amplitude_{role}"] = amplitude
        b, _ = fit_b_factor(frequency, amplitude, high_angstrom=found.finest_angstrom)
        fitted[f"b_{role}"] = b if np.isfinite(b) else None
    return {"columns": columns, **fitted}


def _write_iterations(path: Path, result: DeblurResult) -> None:
    rows = [asdict(iteration) for iteration in result.iterations]
    _write_columns(path, {name: [row[name] for row in rows] for name in rows[0]})


def _write_columns(path: Path, columns: Mapping[str, Any]) -> None:
    with path.open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(columns)
        writer.writerows(zip(*columns.values(), strict=True))
