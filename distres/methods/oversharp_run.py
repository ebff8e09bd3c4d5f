"""A whole run of the oversharpening scan: a map and its halves in; curve, verdict and map out."""

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import zarr

from distres.engine.runner import output
from distres.errors import UsageError
from distres.io.curves import write_columns
from distres.io.grid import Grid
from distres.io.names import stem_of
from distres.io.omezarr import OWN, describe
from distres.io.volume import Volume, VolumeLike, open_volume, require_same_grid
from distres.kernels.sharpen import Edge
from distres.methods.bring import bring_mask
from distres.methods.deepres import DeepResParameters
from distres.methods.deepres_model import Model
from distres.methods.deepres_run import CITATION, model_for
from distres.methods.export import export_array
from distres.methods.judge import judge_halves
from distres.methods.localfsc_plan import LocalFscParameters
from distres.methods.localfsc_plan import levels_wanted as localfsc_levels
from distres.methods.mask import search_level
from distres.methods.monores_plan import MonoResParameters
from distres.methods.monores_plan import levels_wanted as monores_levels
from distres.methods.options import RunOptions
from distres.methods.oversharp import OversharpParameters
from distres.methods.oversharp_passes import Passes
from distres.methods.oversharp_tiles import SHARPENED
from distres.methods.pyramid import ingest
from distres.methods.record import make_record
from distres.methods.session import HalfMaps, Session, open_half_maps, open_session

METHOD = "oversharp"


@dataclass(frozen=True, slots=True, kw_only=True)
class OversharpRun:
    """A finished run.

    Attributes
    ----------
    directory
        The run.
    record
        What ``run.json`` says.
    """

    directory: Path
    record: dict[str, Any]

    def summary(self) -> dict[str, Any]:
        """Return what a script wants to know, as JSON values."""
        return {
            "method": METHOD,
            METHOD: self.record[METHOD],
            "warnings": self.record["warnings"],
            "outputs": {
                role: str(self.directory / name) for role, name in self.record["outputs"].items()
            },
            "record": str(self.directory / "run.json"),
        }


def compute_oversharp(
    density: VolumeLike,
    half1: VolumeLike,
    half2: VolumeLike | None,
    parameters: OversharpParameters,
    network: DeepResParameters,
    options: RunOptions,
) -> OversharpRun:
    """Scan B-factors of a map and write curve, verdict and the sharpened map.

    Parameters
    ----------
    density
        The map in question, sharpened or not.
    half1, half2
        Its half maps, as they were reconstructed; half 2 is found by name when it is None.
    parameters, network
        Choices of the scan and of DeepRes.
    options
        Mask, places and resources.

    Raises
    ------
    InputError
        A map cannot be used, or the grids differ.
    UsageError
        A B-factor of the scan is too strong, or no model suits the map.
    OutputExistsError
        The directory holds a run.
    """
    volume = open_volume(density, options.pixel_size_angstrom)
    maps = open_half_maps(half1, half2, options)
    require_same_grid(volume, maps.half1)
    model = _prepare(volume.grid, parameters, network)
    levels = _levels(volume.grid, maps, parameters)
    stem = stem_of(volume.path)
    with open_session(options, default_output=f"{stem}_{METHOD}") as session:
        source = ingest(volume, session.run, "map", session.executor)[0]
        first = ingest(maps.half1, session.run, "half1", session.executor, levels)
        second = ingest(maps.half2, session.run, "half2", session.executor, levels)
        mask = bring_mask(session, maps, first, second)
        found = judge_halves(session, maps, mask.source)
        passes = Passes(
            session=session,
            grid=volume.grid,
            model=model,
            source=source,
            mask=mask,
            edge=choose_edge(volume.grid, parameters, found),
            parameters=parameters,
            network=network,
        )
        locres = passes.halves(first, second)
        result = passes.result(first[0], second[0], locres)
        if not result["reached"]:
            session.warn(
                "DeepRes and the halves do not meet under any B-factor tried: the map written is "
                f"that of B = {result['b_square_angstrom']:+.0f} square angstrom, the end of the "
                "scan"
            )
        outputs = _export(session, volume, stem, locres)
        write_columns(session.run.directory / outputs["curve"], result["curve"])
        record = _record(session, volume, maps, passes, result, outputs)
        session.run.write_record(record)
        return OversharpRun(directory=session.run.directory, record=record)


def _prepare(grid: Grid, parameters: OversharpParameters, network: DeepResParameters) -> Model:
    """Load the network and see whether the scan makes sense, in seconds."""
    model = model_for(grid, network)
    if model.published:
        raise UsageError(
            "the scan runs networks of distres; give --weights a .safetensors file here"
        )
    if parameters.low_pass_angstrom is not None:
        choose_edge(grid, parameters, None)
    return model


def choose_edge(grid: Grid, parameters: OversharpParameters, fsc_angstrom: float | None) -> Edge:
    """Choose where the sharpened spectrum ends.

    Parameters
    ----------
    grid
        Of the map: nothing is finer than two voxels.
    parameters
        What the user asked for.
    fsc_angstrom
        Global resolution of the halves, the default; None when there is none.

    Raises
    ------
    UsageError
        The low-pass asked for does nothing, or the strongest B-factor leaves only noise.
    """
    nyquist, end = 2 * max(grid.voxel_size_angstrom), parameters.low_pass_angstrom
    if end and end < nyquist:
        raise UsageError(
            f"a low-pass at {end:g} A does nothing on voxels that hold {nyquist:g} A and more; "
            "give 0 for none"
        )
    chosen = fsc_angstrom if end is None else end
    edge = Edge.ending_at(max(chosen or nyquist, nyquist))
    edge.require(parameters.b_to)
    return edge


def _levels(grid: Grid, maps: HalfMaps, parameters: OversharpParameters) -> int:
    """Return how many levels of the halves the search for a mask and the method need."""
    search = 1 if maps.mask is not None else search_level(grid.shape) + 1
    if parameters.snr == "monores":
        return max(search, monores_levels(grid, MonoResParameters()))
    return max(search, localfsc_levels(grid, LocalFscParameters()))


def _export(session: Session, volume: Volume, stem: str, locres: str) -> dict[str, str]:
    """Write the sharpened map and the halves' resolution; name all outputs."""
    run = session.run
    array = zarr.open_array(run.store, path=SHARPENED, mode="r+")
    array.attrs[OWN] = describe(volume.grid, volume.header)
    outputs = {role: f"{stem}_{METHOD}_{role}.mrc" for role in (SHARPENED, "locres")}
    for role, place in ((SHARPENED, SHARPENED), ("locres", locres)):
        export_array(
            output(run, place),
            volume.grid,
            volume.header,
            run.directory / outputs[role],
            label=f"{METHOD} {role}",
            overwrite=True,  # the run directory is this run's own
        )
    return outputs | {"curve": f"{stem}_{METHOD}_curve.csv"}


def _record(
    session: Session,
    volume: Volume,
    maps: HalfMaps,
    passes: Passes,
    result: dict[str, Any],
    outputs: dict[str, str],
) -> dict[str, Any]:
    mask = passes.mask
    return make_record(
        method=METHOD,
        grid=volume.grid,
        inputs={"map": volume, **maps.volumes},
        parameters={
            **asdict(passes.parameters),
            "deepres": asdict(passes.network),
            "mask": mask.as_json(),
        },
        results={
            "outputs": outputs,
            "arrays": {SHARPENED: SHARPENED, "mask": mask.path},
            "histograms": {},
            "statistics": {},
            METHOD: result,
            "citations": [CITATION],
        },
        warnings=[*maps.notes, *session.warnings],
        executor=session.executor,
        stopwatch=session.stopwatch,
        argv=session.options.argv,
    )
