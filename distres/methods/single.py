"""One map, or two half maps: what a method that takes either was given."""

import logging
from dataclasses import dataclass
from pathlib import Path

from distres.errors import InputError
from distres.io.halves import find_partner
from distres.io.names import stem_of
from distres.io.volume import Volume, VolumeLike, open_volume, require_same_grid
from distres.methods.options import RunOptions
from distres.methods.session import HalfMaps, noting, open_half_maps

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class Map(HalfMaps):
    """A single map, in the place of half 1; half 2 is the same map and means nothing."""

    @property
    def volumes(self) -> dict[str, Volume]:
        """Return the inputs by role."""
        found = {"map": self.half1}
        return found if self.mask is None else {**found, "mask": self.mask}


def open_maps(
    first: VolumeLike, second: VolumeLike | None, options: RunOptions, *, single: bool
) -> HalfMaps:
    """Open two half maps, or one map.

    Parameters
    ----------
    first, second
        When only one is given, its partner is looked for by name; without one it is a map.
    options
        Gives the mask and the pixel size.
    single
        Take the first as a map even if it has a partner.

    Returns
    -------
    `HalfMaps`, or `Map`.

    Raises
    ------
    InputError
        A file cannot be read, or the grids differ.
    """
    if second is None and not single:
        single = not isinstance(first, str | Path) or not _has_partner(first)
    if not single:
        return open_half_maps(first, second, options)
    if second is not None:
        raise InputError("two maps were given with --single; give one, or leave the option out")
    with noting() as notes:
        volume = open_volume(first, options.pixel_size_angstrom)
        mask = None
        if options.mask is not None:
            mask = open_volume(options.mask, options.pixel_size_angstrom)
            require_same_grid(volume, mask)
    stem = stem_of(volume.path)
    return Map(half1=volume, half2=volume, mask=mask, stem=stem, notes=tuple(notes))


def _has_partner(path: str | Path) -> bool:
    try:
        find_partner(path)
    except InputError:
        logger.info("%s has no partner: noise is judged from its solvent", path)
        return False
    return True
