"""What the monogenic methods begin with: pyramids, mask, and where the noise is measured."""

import warnings

from distres.errors import TrustWarning
from distres.io.volume import Volume, open_volume, require_same_grid
from distres.methods.bring import bring_mask
from distres.methods.judge import judge_halves
from distres.methods.mask import search_level
from distres.methods.monores_passes import MonoResInputs
from distres.methods.monores_plan import MonoResParameters, levels_wanted
from distres.methods.options import RunOptions
from distres.methods.pyramid import ingest
from distres.methods.session import HalfMaps, Session
from distres.methods.single import Map
from distres.methods.solvent import find_noise_sphere
from distres.methods.symmetry import Unit, bring_unit, levels_for_search


def is_single(maps: HalfMaps) -> bool:
    """Tell a single map from two half maps."""
    return isinstance(maps, Map)


def mode_of(maps: HalfMaps) -> str:
    """Return ``single map`` or ``half maps``, for the record."""
    return "single map" if is_single(maps) else "half maps"


def levels_needed(maps: HalfMaps, parameters: MonoResParameters, options: RunOptions) -> int:
    """Return how many pyramid levels the tests, and the searches, need.

    Raises
    ------
    UsageError
        The range does not fit the grid.
    """
    grid = maps.half1.grid
    needed = levels_for_search(maps, options)
    if is_single(maps):
        needed = max(needed, search_level(grid.shape) + 1)
    if parameters.compat:
        parameters.range_angstrom(grid)
        return needed
    return max(needed, levels_wanted(grid, parameters))


def open_region(
    maps: HalfMaps, parameters: MonoResParameters, options: RunOptions
) -> Volume | None:
    """Open the mask of the noise region, if one was named, and check its grid."""
    if parameters.noise_region is None:
        return None
    with warnings.catch_warnings():
        # What the maps' own headers say has been told already.
        warnings.simplefilter("ignore", TrustWarning)
        region = open_volume(parameters.noise_region, options.pixel_size_angstrom)
    require_same_grid(maps.half1, region)
    return region


def bring_inputs(
    session: Session,
    maps: HalfMaps,
    region: Volume | None,
    parameters: MonoResParameters,
    levels: int,
) -> tuple[MonoResInputs, Unit]:
    """Put everything into the run: pyramids, mask, what of it is solved, and the noise's sphere.

    Parameters
    ----------
    session
        The open run.
    maps, region
        What was opened.
    parameters
        Of the sweep.
    levels
        Pyramid levels, see `levels_needed`.

    Raises
    ------
    InputError
        A single map holds no noise to compare with.
    """
    run, executor, grid = session.run, session.executor, maps.half1.grid
    single = is_single(maps)
    one = ingest(maps.half1, run, "map" if single else "half1", executor, levels)
    two = None if single else ingest(maps.half2, run, "half2", executor, levels)
    mask = bring_mask(session, maps, one, two)
    if not single:
        judge_halves(session, maps, mask.source)
    unit = bring_unit(session, maps, mask, one, two)
    sphere = None
    if two is None and region is None and not parameters.compat:
        sphere = find_noise_sphere(one[search_level(grid.shape)], grid, mask.occupancy)
    inputs = MonoResInputs(
        half1=one,
        half2=two,
        grid=grid,
        mask=mask.source,
        occupancy=mask.occupancy,
        unit=unit.source,
        unit_occupancy=unit.occupancy,
        region=None if region is None else ingest(region, run, "noise_region", executor, levels),
        sphere=sphere,
    )
    return inputs, unit
