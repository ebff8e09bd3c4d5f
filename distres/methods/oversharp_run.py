"""A whole run of the oversharpening scan: a map and its halves in; curve, verdict and map out."""

from dataclasses import asdict
from math import prod
from typing import Any

import zarr

from distres.engine.cluster import Executor
from distres.engine.jobs import TileJob
from distres.engine.run import Run
from distres.engine.runner import output
from distres.errors import UsageError
from distres.io.curves import write_columns
from distres.io.grid import Grid
from distres.io.names import stem_of
from distres.io.omezarr import OWN, describe
from distres.io.volume import Volume, VolumeLike, open_volume, require_same_grid
from distres.kernels.sharpen import Edge
from distres.methods.bring import bring_mask
from distres.methods.deepres_model import Model
from distres.methods.deepres_plan import DeepResParameters
from distres.methods.deepres_run import CITATION, model_for, stored_rms
from distres.methods.export import export_array
from distres.methods.judge import judge_halves
from distres.methods.localfsc_plan import LocalFscParameters
from distres.methods.localfsc_plan import levels_wanted as localfsc_levels
from distres.methods.localfsc_run import planned as planned_localfsc
from distres.methods.mask import MaskResult, search_level
from distres.methods.monores_plan import MonoResParameters
from distres.methods.monores_plan import levels_wanted as monores_levels
from distres.methods.options import RunOptions
from distres.methods.oversharp import OversharpParameters
from distres.methods.oversharp_passes import Passes
from distres.methods.oversharp_scan import halves_parameters, measure_halves, run_scan
from distres.methods.oversharp_tiles import SHARPENED
from distres.methods.products import MethodRun
from distres.methods.pyramid import ingest
from distres.methods.record import make_record
from distres.methods.session import HalfMaps, Session, open_half_maps, open_session
from distres.methods.trial import ChainEstimate, StandIn, estimate_chain, ingest_jobs

METHOD = "oversharp"


class OversharpRun(MethodRun):
    """A finished run."""

    def summary(self) -> dict[str, Any]:
        """Return what a script wants to know, as JSON values."""
        return super().summary() | {METHOD: self.record[METHOD]}


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
    volume, maps, model = _open(density, half1, half2, parameters, network, options)
    levels = _levels(volume.grid, maps, parameters)
    stem = stem_of(volume.path)
    with open_session(
        options,
        default_output=f"{stem}_{METHOD}",
        preflight=lambda executor: _planned(
            volume.grid, model, parameters, network, executor, None, options
        ),
    ) as session:
        source = ingest(volume, session.run, "map", session.executor)[0]
        first = ingest(maps.half1, session.run, "half1", session.executor, levels)
        second = ingest(maps.half2, session.run, "half2", session.executor, levels)
        mask = bring_mask(session, maps, first, second)
        found = judge_halves(session, maps, mask.source)
        passes = Passes(
            grid=volume.grid,
            model=model,
            source=source,
            rms=stored_rms(source),
            mask=mask.source,
            occupancy=mask.occupancy,
            mask_volume_angstrom3=float(mask.statistics["volume_angstrom3"]),
            edge=choose_edge(volume.grid, parameters, found),
            parameters=parameters,
            network=network,
            executor=session.executor,
            run=session.run,
            tile=options.tile_vox,
        )
        locres = measure_halves(session, maps, mask, first, second, parameters, network)
        result = run_scan(session, passes, first[0], second[0], locres)
        if not result["reached"]:
            session.warn(
                "DeepRes and the halves do not meet under any B-factor tried: the map written is "
                f"that of B = {result['b_square_angstrom']:+.0f} square angstrom, the end of the "
                "scan"
            )
        outputs = _export(session, volume, stem, locres)
        write_columns(session.run.directory / outputs["curve"], result["curve"])
        record = _record(session, volume, maps, passes, mask, result, locres, outputs)
        session.run.write_record(record)
        return OversharpRun(directory=session.run.directory, record=record)


def dry_run(
    density: VolumeLike,
    half1: VolumeLike,
    half2: VolumeLike | None,
    parameters: OversharpParameters,
    network: DeepResParameters,
    options: RunOptions,
) -> ChainEstimate:
    """Say what a run would take; see `compute_oversharp` for the arguments.

    The places that are looked at are spread over the box, and the spectrum ends at two voxels
    unless a low-pass is given: the mask and the halves' global resolution are not known yet.
    """
    volume, maps, model = _open(density, half1, half2, parameters, network, options)
    if parameters.snr != "localfsc":
        raise UsageError(
            "--dry-run cannot plan MonoRes, whose passes depend on the noise it finds; leave out "
            "--snr monores, or --dry-run"
        )
    levels, fsc = _levels(volume.grid, maps, parameters), halves_parameters(parameters, network)
    with open_session(options, default_output=METHOD) as session:
        run, executor = session.run, session.executor
        jobs = ingest_jobs(volume, "map", executor, 1)
        for name, half in (("half1", maps.half1), ("half2", maps.half2)):
            jobs += ingest_jobs(half, name, executor, levels)
        jobs += planned_localfsc(maps, fsc, levels, run, executor, options)
        jobs += _planned(volume.grid, model, parameters, network, executor, run, options)
        return estimate_chain(jobs, executor)


def _open(
    density: VolumeLike,
    half1: VolumeLike,
    half2: VolumeLike | None,
    parameters: OversharpParameters,
    network: DeepResParameters,
    options: RunOptions,
) -> tuple[Volume, HalfMaps, Model]:
    """Open everything and see whether the scan makes sense, in seconds."""
    volume = open_volume(density, options.pixel_size_angstrom)
    maps = open_half_maps(half1, half2, options)
    require_same_grid(volume, maps.half1)
    model = model_for(volume.grid, network)
    if model.published:
        raise UsageError(
            "the scan runs networks of distres; give --weights a .safetensors file here"
        )
    if parameters.low_pass_angstrom is not None:
        choose_edge(volume.grid, parameters, None)
    return volume, maps, model


def _planned(
    grid: Grid,
    model: Model,
    parameters: OversharpParameters,
    network: DeepResParameters,
    executor: Executor,
    run: Run | None,
    options: RunOptions,
) -> list[TileJob]:
    """Plan the passes before anything exists; refuses a memory that is too small.

    Without a run the places are as close as they can be: no mask takes less memory.
    """
    stand_in = StandIn(shape=grid.shape)
    box_angstrom3 = prod(grid.shape) * prod(grid.voxel_size_angstrom)
    passes = Passes(
        grid=grid,
        model=model,
        source=stand_in,
        rms=1.0,
        mask=stand_in,
        occupancy=None,
        mask_volume_angstrom3=0.0 if run is None else box_angstrom3,
        edge=Edge.ending_at(parameters.low_pass_angstrom or 2 * max(grid.voxel_size_angstrom)),
        parameters=parameters,
        network=network,
        executor=executor,
        run=run,
        tile=options.tile_vox,
    )
    scan = parameters.scan
    return [
        passes.scan("oversharp scan", stand_in, scan),
        passes.scan("oversharp check", stand_in, scan[:1]),
        passes.spectra(stand_in, stand_in),
        passes.sharpen(scan[-1]),
    ]


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
    mask: MaskResult,
    result: dict[str, Any],
    locres: str,
    outputs: dict[str, str],
) -> dict[str, Any]:
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
            "arrays": {SHARPENED: SHARPENED, "locres": locres, "mask": mask.path},
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
