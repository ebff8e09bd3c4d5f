"""A whole run of MonoRes: inputs, pyramids, mask, noise, decisions, maps, record."""

import warnings
from dataclasses import asdict
from typing import Any

from distres.errors import TrustWarning, UsageError
from distres.io.volume import Volume, VolumeLike, open_volume, require_same_grid
from distres.methods.bring import bring_mask
from distres.methods.mask import search_level
from distres.methods.monores import MonoResResult, run_monores
from distres.methods.monores_passes import MonoResInputs
from distres.methods.monores_plan import MonoResParameters, levels_wanted
from distres.methods.options import RunOptions
from distres.methods.products import Arrays, MethodRun, finish
from distres.methods.pyramid import ingest
from distres.methods.session import HalfMaps, Session, open_session
from distres.methods.single import Map, open_maps
from distres.methods.solvent import find_noise_sphere
from distres.methods.symmetry import Unit, bring_unit, levels_for_search

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
    grid = maps.half1.grid
    levels = _levels(maps, parameters, options)
    region = _open_region(maps, parameters, options)
    if parameters.compat and options.point_group != ("C1",):
        raise UsageError("--compat xmipp computes whole volumes; leave out --symmetry")
    with open_session(options, default_output=f"{maps.stem}_{METHOD}") as session:
        run, executor = session.run, session.executor
        one = ingest(maps.half1, run, "map" if _alone(maps) else "half1", executor, levels)
        two = None if _alone(maps) else ingest(maps.half2, run, "half2", executor, levels)
        mask = bring_mask(session, maps, one, two)
        unit = bring_unit(session, maps, mask, one, two)
        sphere = None
        if two is None and region is None and not parameters.compat:
            level = search_level(grid.shape)
            sphere = find_noise_sphere(one[level], grid, mask.occupancy)
        inputs = MonoResInputs(
            half1=one,
            half2=two,
            grid=grid,
            mask=mask.source,
            occupancy=mask.occupancy,
            unit=unit.source,
            unit_occupancy=unit.occupancy,
            region=None
            if region is None
            else ingest(region, run, "noise_region", executor, levels),
            sphere=sphere,
        )
        result = run_monores(inputs, run, executor, parameters, tile=options.tile_vox)
        for warning in result.warnings:
            session.warn(warning)
        result = unit.expanded(session, result, mask_above=MASK_ABOVE)
        record = _finish(session, maps, parameters, unit, result)
        density = (one[0],) if two is None else (one[0], two[0])
        return MethodRun(directory=run.directory, record=record, density=density)


def _alone(maps: HalfMaps) -> bool:
    return isinstance(maps, Map)


def _levels(maps: HalfMaps, parameters: MonoResParameters, options: RunOptions) -> int:
    """Return how many pyramid levels the tests, and the searches, need."""
    grid = maps.half1.grid
    needed = levels_for_search(maps, options)
    if _alone(maps):
        needed = max(needed, search_level(grid.shape) + 1)
    if parameters.compat:
        parameters.range_angstrom(grid)
        return needed
    return max(needed, levels_wanted(grid, parameters))


def _open_region(
    maps: HalfMaps, parameters: MonoResParameters, options: RunOptions
) -> Volume | None:
    if parameters.noise_region is None:
        return None
    with warnings.catch_warnings():
        # What the maps' own headers say has been told already.
        warnings.simplefilter("ignore", TrustWarning)
        region = open_volume(parameters.noise_region, options.pixel_size_angstrom)
    require_same_grid(maps.half1, region)
    return region


def _finish(
    session: Session,
    maps: HalfMaps,
    parameters: MonoResParameters,
    unit: Unit,
    result: MonoResResult,
) -> dict[str, Any]:
    mask = unit.mask
    mode = "single map" if _alone(maps) else "half maps"
    return finish(
        session,
        maps,
        method=METHOD,
        thresholds=(parameters.confidence,),
        parameters={
            **asdict(parameters),
            "mode": mode,
            "mask": {"kind": mask.kind, **mask.parameters},
        },
        arrays=Arrays(locres=result.locres, flags=result.flags, mask=mask.path, extra={}),
        extra={METHOD: result.as_json(), "mask_statistics": mask.statistics, **unit.facts},
    )
