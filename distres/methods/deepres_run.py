"""A whole run of DeepRes: a map in; resolution, uncertainty, pictures and record out."""

from dataclasses import asdict, replace
from typing import Any

import numpy as np
import zarr

from distres.engine.cluster import Executor
from distres.engine.jobs import Source, TileJob, ZarrSource
from distres.engine.run import Run
from distres.errors import UsageError
from distres.io.grid import Grid
from distres.io.omezarr import OmeZarrVolume, own_attributes
from distres.io.volume import VolumeLike
from distres.methods.bring import bring_mask
from distres.methods.deepres import DeepResResult, deepres_job, run_deepres
from distres.methods.deepres_model import Model, find_model
from distres.methods.deepres_plan import DeepResParameters, node_step
from distres.methods.deepres_tiles import INSIDE
from distres.methods.options import RunOptions
from distres.methods.products import Arrays, MethodRun, finish
from distres.methods.pyramid import ingest
from distres.methods.session import HalfMaps, Session, open_session
from distres.methods.single import open_maps
from distres.methods.symmetry import Unit, bring_unit, levels_for_search
from distres.methods.trial import ChainEstimate, StandIn, estimate_chain, ingest_jobs

METHOD = "deepres"
# Shares of the mask at an end of the range, or without density, that a reader must know of.
MANY = 0.05
CITATION = (
    "Ramírez-Aportela, Mota, Conesa, Carazo, Sorzano: DeepRes: a new deep-learning- and "
    "aspect-based local resolution method for electron-microscopy maps. IUCrJ 6, 1054 (2019)."
)


def compute_deepres(
    density: VolumeLike, parameters: DeepResParameters, options: RunOptions
) -> MethodRun:
    """Compute DeepRes of one map and write everything that comes of it.

    Parameters
    ----------
    density
        Path, address, array or volume: the map as it will be looked at, sharpened or not.
    parameters
        Choices of the method.
    options
        Mask, places and resources.

    Raises
    ------
    InputError
        The map, mask or weights cannot be used.
    UsageError
        No model tells the resolutions asked for.
    OutputExistsError
        The directory holds a run.
    """
    maps = open_maps(density, None, options, single=True)
    grid = maps.half1.grid
    model = model_for(grid, parameters)
    levels = levels_for_search(maps, options)
    with open_session(
        options,
        default_output=f"{maps.stem}_{METHOD}",
        preflight=lambda executor: _planned(maps, parameters, model, None, executor, options),
    ) as session:
        _warn_before(session, grid, parameters, model)
        pyramid = ingest(maps.half1, session.run, "map", session.executor, levels)
        mask = bring_mask(session, maps, pyramid, None)
        # A mask of exactly a half is inside.
        above = float(np.nextafter(np.float32(INSIDE), np.float32(0)))
        unit = bring_unit(session, maps, mask, pyramid, None, mask_above=above)
        result = run_deepres(
            pyramid[0],
            unit.source,
            unit.occupancy,
            grid,
            session.run,
            session.executor,
            parameters,
            model,
            rms=stored_rms(pyramid[0]),
            particle=mask.source,
            tile=options.tile_vox,
        )
        _warn_after(session, result)
        result = _expanded(session, unit, result)
        record = _finish(session, maps, parameters, unit, result)
        return MethodRun(directory=session.run.directory, record=record, density=(pyramid[0],))


def model_for(grid: Grid, parameters: DeepResParameters) -> Model:
    """Choose and load the network for a map.

    Raises
    ------
    UsageError
        The voxels hold nothing as fine as the network tells.
    """
    model = find_model(
        parameters.model_name(grid), parameters.weights, named=parameters.model != "auto"
    )
    nyquist, (fine, coarse) = 2 * max(grid.voxel_size_angstrom), model.range_angstrom
    if nyquist >= coarse:
        raise UsageError(
            f"voxels of {nyquist / 2:g} A hold resolutions of {nyquist:g} A and more, but model "
            f"{model.name} tells {fine:g} to {coarse:g} A; this map is too coarse for it"
        )
    return model


def stored_rms(source: Source) -> float:
    """Return the rms of an input about its mean, as counted when it was read.

    Raises
    ------
    UsageError
        The array was not read by `distres.methods.pyramid.ingest`.
    """
    if isinstance(source, OmeZarrVolume):
        kept: Any = dict(source.statistics)
    elif isinstance(source, ZarrSource):
        array = zarr.open_array(source.store, path=source.path, mode="r")
        kept = own_attributes(dict(array.attrs)).get("statistics", {})
    else:
        kept = {}
    if "rms" not in kept:
        raise UsageError("the map was not read into the run; its rms is not known")
    return float(kept["rms"])


def _warn_before(session: Session, grid: Grid, parameters: DeepResParameters, model: Model) -> None:
    nyquist, fine = 2 * max(grid.voxel_size_angstrom), model.range_angstrom[0]
    if nyquist > 1.2 * fine:
        session.warn(
            f"voxels of {nyquist / 2:g} A hold nothing finer than {nyquist:.2f} A; the network was "
            f"trained on voxels of {model.voxel_size_angstrom:g} A, whose noise reaches "
            f"{2 * model.voxel_size_angstrom:g} A"
        )
    if parameters.stride > 1 and node_step(grid, model, parameters.stride) == 1:
        session.warn(
            f"a stride of {parameters.stride} voxels saves nothing with this network: every voxel "
            "was computed"
        )
    if model.published:
        session.warn(
            "the paper's network has no uncertainty, and was trained on maps without noise or "
            "solvent: the map is multiplied by the mask"
        )


def _warn_after(session: Session, result: DeepResResult) -> None:
    fine, coarse, silent = result.ends
    low, high = result.model.range_angstrom
    other = {"A": "B", "B": "A"}.get(result.model.name)
    for share, where, angstrom in ((fine, "fine", low), (coarse, "coarse", high)):
        if share > MANY:
            helps = (where == "fine") == (result.model.name == "A")
            hint = f"; try --model {other}" if other and helps else ""
            session.warn(
                f"{100 * share:.0f} % of the mask lies at the {where} end of what model "
                f"{result.model.name} can tell ({angstrom:g} A){hint}"
            )
    if silent > MANY:
        session.warn(
            f"{100 * silent:.0f} % of the mask holds no density: the map was masked more tightly"
        )


def _expanded(session: Session, unit: Unit, result: DeepResResult) -> DeepResResult:
    """Give every voxel of the mask answer, uncertainty and flags of its mate in the unit."""
    told = {} if result.uncertainty is None else {"uncertainty": result.uncertainty}
    copied = unit.copied(
        session,
        {"locres": result.locres, **told},
        result.flags,
        plain=("uncertainty",),
    )
    return replace(
        result,
        locres=copied["locres"],
        flags=copied["flags"],
        uncertainty=copied.get("uncertainty"),
    )


def _finish(
    session: Session,
    maps: HalfMaps,
    parameters: DeepResParameters,
    unit: Unit,
    result: DeepResResult,
) -> dict[str, Any]:
    mask = unit.mask
    extra = {} if result.uncertainty is None else {"uncertainty": result.uncertainty}
    return finish(
        session,
        maps,
        method=METHOD,
        thresholds=(f"model {result.model.name}",),
        parameters={**asdict(parameters), "mask": mask.as_json()},
        arrays=Arrays(locres=result.locres, flags=result.flags, mask=mask.path, extra=extra),
        extra={
            METHOD: result.as_json(),
            "mask_statistics": mask.statistics,
            "citations": [CITATION],
            **unit.facts,
        },
    )


def dry_run(
    density: VolumeLike, parameters: DeepResParameters, options: RunOptions
) -> ChainEstimate:
    """Say what a run would take: tiles, halo, memory, disk, and time from three tiles a job.

    Without a mask the whole box is counted: less will be computed.
    """
    maps = open_maps(density, None, options, single=True)
    grid = maps.half1.grid
    model = model_for(grid, parameters)
    levels = levels_for_search(maps, options)
    with open_session(options, default_output=f"{maps.stem}_{METHOD}") as session:
        executor = session.executor
        jobs = ingest_jobs(maps.half1, "map", executor, levels)
        jobs.append(_planned(maps, parameters, model, session.run, executor, options))
        return estimate_chain(jobs, executor)


def _planned(
    maps: HalfMaps,
    parameters: DeepResParameters,
    model: Model,
    run: Run | None,
    executor: Executor,
    options: RunOptions,
) -> TileJob:
    """Plan the pass before anything exists; refuses a memory that is too small."""
    stand_in = StandIn(shape=maps.half1.grid.shape)
    known = maps.mask is not None and maps.mask.random_access
    return deepres_job(
        stand_in,
        maps.mask if maps.mask is not None and known else stand_in,
        None,
        maps.half1.grid,
        run,
        executor,
        parameters,
        model,
        rms=1.0,
        tile=options.tile_vox,
    )
