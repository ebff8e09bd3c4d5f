"""The mask of a run: the user's, checked, or one made from the maps."""

from collections.abc import Sequence

from distres.engine.jobs import Source
from distres.methods.mask import MaskResult, auto_mask, load_mask
from distres.methods.session import HalfMaps, Session


def bring_mask(
    session: Session,
    maps: HalfMaps,
    first: Sequence[Source],
    second: Sequence[Source] | None,
) -> MaskResult:
    """Check the user's mask or make one; its warnings become the session's.

    Parameters
    ----------
    first, second
        Pyramids of the half maps, reaching `distres.methods.mask.search_level` when there is no
        mask; `second` is None for a single map.

    Raises
    ------
    InputError
        The mask cannot be used, or no particle stands out.
    """
    grid, tile = maps.half1.grid, session.options.tile_vox
    if maps.mask is not None:
        found = load_mask(maps.mask, grid, session.run, session.executor, tile=tile)
    else:
        found = auto_mask(first, second, grid, session.run, session.executor, tile=tile)
    for warning in found.warnings:
        session.warn(warning)
    return found
