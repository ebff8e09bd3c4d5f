"""What a run of LocalDeblur leaves: maps, tables of iterations and Guinier profiles, the record."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from distres.engine.jobs import Source
from distres.engine.runner import output
from distres.engine.tables import Table
from distres.io.curves import write_columns
from distres.io.grid import Grid
from distres.io.mrc import MrcHeader
from distres.io.volume import Volume
from distres.kernels.guinier import bin_centres, fit_b_factor
from distres.methods.deblur import DeblurResult
from distres.methods.deblur_inputs import RunResolution
from distres.methods.deblur_plan import DeblurParameters, ResolutionField
from distres.methods.deblur_resolution import RESOLUTION
from distres.methods.export import export_array
from distres.methods.model_profile import scaled_to
from distres.methods.products import BIN_EDGES_ANGSTROM
from distres.methods.record import make_record
from distres.methods.session import Session

METHOD = "deblur"

Float64 = npt.NDArray[np.float64]


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
class Prepared:
    """Everything that the iterations need, in the run's store."""

    observed: Source
    locres: Volume | RunResolution
    mask: Source | None
    grid: Grid
    header: MrcHeader | None
    stem: str
    volumes: Mapping[str, Volume]
    notes: tuple[str, ...] = ()
    model: Float64 | None = None
    facts: dict[str, Any] = field(default_factory=dict)


def finish_deblur(
    session: Session,
    given: Prepared,
    parameters: DeblurParameters,
    found: ResolutionField,
    table: Table,
    result: DeblurResult,
) -> dict[str, Any]:
    """Export the maps, write the tables, and write the record.

    Parameters
    ----------
    session, given, parameters, found
        The run, its inputs, its choices, its resolutions.
    table
        Rows of the job that read the resolutions.
    result
        What the iterations left.
    """
    run = session.run
    profile = guinier_profile(result.profiles, given.grid, found, given.model)
    outputs = _export(session, given, result)
    _write_iterations(run.directory / outputs["iterations"], result)
    write_columns(run.directory / outputs["guinier"], profile["columns"])
    record = make_record(
        method=METHOD,
        grid=given.grid,
        inputs=given.volumes,
        parameters=_recorded_parameters(given, parameters, result),
        results={
            "outputs": outputs,
            "arrays": {"density": result.path, "gain": result.gain, "locres": RESOLUTION},
            "histograms": {
                "used": {
                    "edges_angstrom": [float(edge) for edge in BIN_EDGES_ANGSTROM],
                    "counts": table.sum("counts").tolist(),
                }
            },
            "statistics": _statistics(found, result, profile),
            "iterations": [asdict(iteration) for iteration in result.iterations],
        },
        warnings=[*given.notes, *session.warnings],
        executor=session.executor,
        stopwatch=session.stopwatch,
        argv=session.options.argv,
    )
    run.write_record(record)
    return record


def _export(session: Session, given: Prepared, result: DeblurResult) -> dict[str, str]:
    """Write the maps; return the names of all files of the run by role."""
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
    return outputs | {"iterations": f"{name}_iterations.csv", "guinier": f"{name}_guinier.csv"}


def _recorded_parameters(
    given: Prepared, parameters: DeblurParameters, result: DeblurResult
) -> dict[str, Any]:
    return {
        **asdict(parameters),
        "k_per_square_angstrom": result.k_per_square_angstrom,
        "snr": None if result.damping == 0 else 1 / result.damping,
        "step": result.step,
        "bands": result.bands,
        "tile_core_vox": list(result.plan.core),
        "tile_halo_vox": list(result.plan.halo),
        **given.facts,
    }


def _statistics(
    found: ResolutionField, result: DeblurResult, profile: Mapping[str, Any]
) -> dict[str, Any]:
    count, logs, _ = (float(v) for v in result.profiles.sum("logs"))
    return {
        "iterations": len(result.iterations),
        "converged": result.converged,
        "change": result.iterations[-1].change,
        "gain_mean": float(np.exp(logs / count)) if count else None,
        "b_factor_before": profile["b_before"],
        "b_factor_after": profile["b_after"],
        "finest_angstrom": found.finest_angstrom,
        "sharp_angstrom": found.sharp_angstrom,
        "median_angstrom": found.median_angstrom,
        "coarsest_angstrom": found.coarsest_angstrom,
    }


def guinier_profile(
    profiles: Table, grid: Grid, found: ResolutionField, model: Float64 | None = None
) -> dict[str, Any]:
    """Return the Guinier profiles of input and output, and the B-factors of lines through them.

    Parameters
    ----------
    profiles
        Rows of the gain job.
    grid, found
        The map's grid and resolutions.
    model
        (bins,) profile of an atomic model, which is scaled to the output's.
    """
    frequency = bin_centres(0.5 / max(grid.voxel_size_angstrom))
    columns = {"frequency_per_angstrom": frequency}
    fitted = {}
    for role, name in (("before", "map"), ("after", "iterate")):
        amplitude = radial_amplitude(profiles, name)
        columns[f"amplitude_{role}"] = amplitude
        b, _ = fit_b_factor(frequency, amplitude, high_angstrom=found.sharp_angstrom)
        fitted[f"b_{role}"] = b if np.isfinite(b) else None
    if model is not None:
        after = columns["amplitude_after"]
        columns["amplitude_model"] = scaled_to(model, after, frequency, found.sharp_angstrom)
    return {"columns": columns, **fitted}


def radial_amplitude(profiles: Table, name: str) -> np.ndarray[Any, np.dtype[np.float64]]:
    """Return the root of the mean power in each bin of the ``map`` or of the ``iterate``."""
    counts = profiles.sum(f"coefficients_{name}")
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.asarray(np.sqrt(profiles.sum(f"power_{name}") / counts), np.float64)


def _write_iterations(path: Path, result: DeblurResult) -> None:
    rows = [asdict(iteration) for iteration in result.iterations]
    write_columns(path, {name: [row[name] for row in rows] for name in rows[0]})
