"""Whether maps obey a point group, in which setting, and where its axes meet."""

import logging
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from distres.engine.jobs import Source
from distres.errors import InputError
from distres.io.volume import Grid
from distres.kernels.symmetry import generators, settings_of
from distres.kernels.symmetry_check import Agreement, Float3, agreement
from distres.methods.session import Session

logger = logging.getLogger(__name__)

# Copies are compared on the first level whose longest edge is at most this.
CHECK_EDGE_VOX = 128
DOUBTFUL = 0.9
REFUSED = 0.7

Float32 = npt.NDArray[np.float32]


def check_level(shape: tuple[int, int, int]) -> int:
    """Return the pyramid level on which maps are compared with their turned copies."""
    level = 0
    while -(-max(shape) // 2**level) > CHECK_EDGE_VOX:
        level += 1
    return level


def find_setting(
    session: Session,
    grid: Grid,
    mask: Source,
    first: Sequence[Source],
    second: Sequence[Source] | None,
) -> tuple[str, Float3, Agreement]:
    """Return the setting and the centre, in voxels, that the maps obey best, and how well.

    Axes meet in voxel n / 2, the middle of most programs; where that does not fit, the middle of
    the box is tried.

    Parameters
    ----------
    session
        Its options name the point group; it is warned when the maps obey that only roughly.
    grid, mask
        Of the maps, on level 0.
    first, second
        Pyramids of the half maps; `second` is None for a single map.

    Raises
    ------
    InputError
        The maps do not obey the symmetry; the message says by how much.
    """
    copies = _Copies.of(grid, mask, first, second)
    z, y, x = (float(n // 2) for n in grid.shape)
    middle = ((grid.shape[0] - 1) / 2, (grid.shape[1] - 1) / 2, (grid.shape[2] - 1) / 2)
    wanted = session.options.point_group
    candidates = [(copies.agree(name, (z, y, x)), name, (z, y, x)) for name in wanted]
    if max(entry[0].worst for entry in candidates) < DOUBTFUL and middle != (z, y, x):
        candidates += [(copies.agree(name, middle), name, middle) for name in wanted]
    best, setting, centre = max(candidates, key=lambda entry: entry[0].worst)
    what, obey, shared = copies.words
    said = (
        f"turned copies agree in {best.worst:.0%} of {shared} down to {best.finest_angstrom:.1f} A"
    )
    if best.worst < REFUSED:
        others = settings_of(setting[0]) if setting[0] in "TI" and len(wanted) == 1 else ()
        fitting = [
            name
            for name in others
            if name not in wanted and copies.agree(name, (z, y, x)).worst >= DOUBTFUL
        ]
        remedy = f"try {fitting[0]}" if fitting else f"leave out --symmetry, or turn the {what}"
        raise InputError(f"{setting} is no symmetry of the {what}: {said}; {remedy}")
    if best.worst < DOUBTFUL:
        session.warn(f"the {what} {obey} {setting} only roughly: {said}")
    logger.info("the %s %s %s: %s", what, obey, setting, said)
    return setting, centre, best


@dataclass(frozen=True, slots=True, kw_only=True)
class _Copies:
    """What is compared with turned copies of itself: two half maps or a map, inside a mask."""

    half1: Float32
    half2: Float32 | None
    inside: npt.NDArray[np.bool_]
    spacing_angstrom: Float3
    step: int

    @classmethod
    def of(
        cls, grid: Grid, mask: Source, first: Sequence[Source], second: Sequence[Source] | None
    ) -> "_Copies":
        level = check_level(grid.shape)
        step, every = 2**level, (slice(None),) * 3
        dz, dy, dx = (step * d for d in grid.voxel_size_angstrom)
        return cls(
            half1=np.asarray(first[level].read(every), np.float32),
            half2=None if second is None else np.asarray(second[level].read(every), np.float32),
            inside=np.asarray(mask.read((slice(None, None, step),) * 3)) > 0,
            spacing_angstrom=(dz, dy, dx),
            step=step,
        )

    @property
    def words(self) -> tuple[str, str, str]:
        """What they are called in messages, and what their copies should have in common."""
        if self.half2 is None:
            return "map", "obeys", "its structure"
        return "half maps", "obey", "what they share"

    def agree(self, setting: str, centre_vox: Float3) -> Agreement:
        """Compare with the copies that the generators of a setting make."""
        z, y, x = (c / self.step for c in centre_vox)
        found = agreement(
            self.half1,
            self.half2,
            self.inside,
            list(generators(setting)),
            voxel_size_angstrom=self.spacing_angstrom,
            centre_vox=(z, y, x),
        )
        if found is None:
            have = "holds" if self.half2 is None else "share"
            raise InputError(
                f"the {self.words[0]} {have} nothing that shows a symmetry; leave out --symmetry"
            )
        return found
