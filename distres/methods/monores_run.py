"""A whole run of MonoRes: inputs, pyramids, mask, noise, decisions, maps, record."""

import warnings
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import xarray as xr

from distres.engine.jobs import Source
from distres.errors import TrustWarning
from distres.io.volume import Volume, VolumeLike, open_volume, require_same_grid
from distres.kernels.monores import plan_levels
from distres.methods.dataset import open_run
from distres.methods.mask import MaskResult, auto_mask, load_mask, search_level
from distres.methods.monores import MonoResInputs, MonoResResult, run_monores
from distres.methods.monores_plan import MonoResParameters
from distres.methods.options import RunOptions
from distres.methods.products import Arrays, finish, summary
from distres.methods.pyramid import ingest
from distres.methods.session import HalfMaps, Session, open_session
from distres.methods.single import Map, open_maps
from distres.methods.solvent import find_noise_sphere

METHOD = "monores"
# Deeper levels would hold bands of a few voxels only.
MOST_LEVELS = 6
THINNEST_VOX = 16


@dataclass(frozen=True, slots=True, kw_only=True)
class MonoResRun:
    """A finished run: its directory and record."""

    directory: Path
    record: dict[str, Any]

    def summary(self) -> dict[str, Any]:
        """Return what a script wants to know, as JSON values."""
        return summary(self.directory, self.record)

    def dataset(self, *, load: bool = False) -> xr.Dataset:
        """Open the result, lazily unless `load`."""
        return open_run(self.directory, load=load)


def compute_monores(
    first: VolumeLike,
    second: VolumeLike | None,
    parameters: MonoResParameters,
    options: RunOptions,
    *,
    single: bool = False,
) -> MonoResRun:
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
    levels = _levels(maps, parameters)
    region = _open_region(maps, parameters, options)
    with open_session(options, default_output=f"{maps.stem}_{METHOD}") as session:
        run, executor = session.run, session.executor
        one = ingest(maps.half1, run, "map" if _alone(maps) else "half1", executor, levels)
        two = None if _alone(maps) else ingest(maps.half2, run, "half2", executor, levels)
        mask = _bring_mask(session, maps, one, two)
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
            region=None
            if region is None
            else ingest(region, run, "noise_region", executor, levels),
            sphere=sphere,
        )
        result = run_monores(inputs, run, executor, parameters, tile=options.tile_vox)
        for warning in result.warnings:
            session.warn(warning)
        record = _finish(session, maps, parameters, mask, result)
        return MonoResRun(directory=run.directory, record=record)


def _alone(maps: HalfMaps) -> bool:
    return isinstance(maps, Map)


def _levels(maps: HalfMaps, parameters: MonoResParameters) -> int:
    """Return how many pyramid levels the tests, and the searches, need."""
    grid = maps.half1.grid
    needed = search_level(grid.shape) + 1 if maps.mask is None or _alone(maps) else 1
    if parameters.compat:
        parameters.range_angstrom(grid)
        return needed
    most = MOST_LEVELS
    while most > 1 and min(grid.coarser(2 ** (most - 1)).shape) < THINNEST_VOX:
        most -= 1
    plan = plan_levels(parameters.resolutions(grid), grid.voxel_size_angstrom, most)
    return max(needed, plan[0].level + 1)


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


def _bring_mask(
    session: Session, maps: HalfMaps, one: Sequence[Source], two: Sequence[Source] | None
) -> MaskResult:
    """Check the user's mask or make one; its warnings become the session's."""
    grid, tile = maps.half1.grid, session.options.tile_vox
    if maps.mask is not None:
        found = load_mask(maps.mask, grid, session.run, session.executor, tile=tile)
    else:
        found = auto_mask(one, two, grid, session.run, session.executor, tile=tile)
    for warning in found.warnings:
        session.warn(warning)
    return found


def _finish(
    session: Session,
    maps: HalfMaps,
    parameters: MonoResParameters,
    mask: MaskResult,
    result: MonoResResult,
) -> dict[str, Any]:
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
        extra={METHOD: result.as_json(), "mask_statistics": mask.statistics},
    )
