"""A whole run of the box FSC: inputs, box, mask, crossings, maps, record."""

from dataclasses import asdict, replace
from typing import Any

import zarr

from distres.engine.jobs import Source, ZarrSource
from distres.errors import UsageError
from distres.io.omezarr import OWN, OmeZarrVolume
from distres.io.stores import as_store
from distres.io.volume import Grid, VolumeLike
from distres.methods.blocres import (
    BOX_PER_RESOLUTION,
    BlocresParameters,
    run_blocres,
)
from distres.methods.bring import bring_mask
from distres.methods.judge import judge_halves
from distres.methods.options import RunOptions
from distres.methods.products import Arrays, MethodRun, finish
from distres.methods.pyramid import ingest
from distres.methods.session import open_half_maps, open_session
from distres.methods.symmetry import bring_unit, levels_for_search

METHOD = "blocres"
# Bsoft answers voxels of half the mask or more.
BSOFT_ABOVE = 0.5 - 1e-7


def compute_blocres(
    half1: VolumeLike,
    half2: VolumeLike | None,
    parameters: BlocresParameters,
    options: RunOptions,
) -> MethodRun:
    """Compute the box FSC of two half maps and write everything that comes of it.

    Parameters
    ----------
    half1, half2
        Paths, addresses, arrays or volumes; half 2 is found by name when it is None.
    parameters
        Choices of the method; without a box, six times the global resolution at 0.143.
    options
        Mask, places and resources.

    Raises
    ------
    InputError
        The inputs cannot be used, see `open_half_maps`.
    UsageError
        The box does not fit the volume.
    OutputExistsError
        The directory holds a run.
    """
    maps = open_half_maps(half1, half2, options)
    grid = maps.half1.grid
    with open_session(options, default_output=f"{maps.stem}_{METHOD}") as session:
        global_angstrom = judge_halves(session, maps)
        if parameters.box_angstrom is None and parameters.box_vox is None:
            parameters = replace(parameters, box_angstrom=_default_box(global_angstrom, grid))
        parameters.resolved(grid)
        levels = levels_for_search(maps, options)
        first = ingest(maps.half1, session.run, "half1", session.executor, levels)
        second = ingest(maps.half2, session.run, "half2", session.executor, levels)
        mask = bring_mask(session, maps, first, second)
        above = BSOFT_ABOVE if parameters.compat else 0.0
        unit = bring_unit(session, maps, mask, first, second, mask_above=above)
        result = run_blocres(
            first[0],
            second[0],
            grid,
            session.run,
            session.executor,
            parameters,
            means=[_mean(first[0]), _mean(second[0])],
            mask=unit.source,
            occupancy=unit.occupancy,
            tile=options.tile_vox,
        )
        result = unit.expanded(session, result)
        record = finish(
            session,
            maps,
            method=METHOD,
            thresholds=parameters.thresholds,
            parameters={
                **asdict(parameters),
                "resolved": result.parameters,
                "mask": mask.as_json(),
            },
            arrays=Arrays(locres=result.locres, flags=result.flags, mask=mask.path),
            extra={
                "blocres": {"boxes": result.boxes, "global_resolution_angstrom": global_angstrom},
                "mask_statistics": mask.statistics,
                **unit.facts,
            },
        )
        return MethodRun(
            directory=session.run.directory, record=record, density=(first[0], second[0])
        )


def _default_box(global_angstrom: float | None, grid: Grid) -> float:
    if global_angstrom is None:
        raise UsageError(
            "the halves correlate nowhere, so no box follows from their resolution; give --box"
        )
    box = BOX_PER_RESOLUTION * global_angstrom
    extent = min(n * step for n, step in zip(grid.shape, grid.voxel_size_angstrom, strict=True))
    if box > extent / 2:
        raise UsageError(
            f"the halves correlate to {global_angstrom:.1f} A only, which asks for a box of "
            f"{box:.0f} A in a volume of {extent:.0f} A; give --box if that is what you want"
        )
    return box


def _mean(source: Source) -> float:
    """Return the mean that was counted when the input was read."""
    if isinstance(source, OmeZarrVolume):
        return float(dict(source.statistics).get("mean", 0.0))
    if isinstance(source, ZarrSource):
        attributes: Any = zarr.open_array(
            as_store(source.store), path=source.path, mode="r"
        ).attrs.get(OWN)
        return float(attributes["statistics"]["mean"])
    return 0.0
