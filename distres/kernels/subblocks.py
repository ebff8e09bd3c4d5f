"""Parts of a block: boxes around voxels of interest, cut out with a halo, their faces faded."""

from collections.abc import Sequence
from math import prod

import numpy as np
import scipy.fft
import torch

from distres.kernels.masks import bounds
from distres.kernels.sweep import SweepState

# Over so many voxels a block fades out where it was cut.
TAPER_VOX = 12

Core = tuple[slice, slice, slice]


def living_box(state: SweepState) -> Core | None:
    """Return the smallest box that holds all voxels still in the sweep; None when there is none."""
    alive = state.alive.cpu().numpy()
    return bounds(alive) if alive.any() else None


def fast_length(n: int, multiple: int = 1) -> int:
    """Return the smallest length fast to transform that holds n and is a multiple."""
    return multiple * scipy.fft.next_fast_len(-(-n // multiple))


def times(region: Core, factor: int) -> Core:
    """Return the voxels of a region of every `factor`-th of them."""
    z, y, x = (slice(factor * s.start, factor * s.stop) for s in region)
    return z, y, x


def grown(region: Core, core: Core, read: Core, halo: int, multiple: int = 1) -> Core:
    """Return the part of a block that a region of its core needs, in a length fast to transform.

    Its lengths are multiples of `multiple`, as those of the block and all places given are.
    """
    found = []
    for part, own, limit in zip(region, core, read, strict=True):
        first = max(own.start + part.start - halo, limit.start)
        last = min(own.start + part.stop + halo, limit.stop)
        last = min(first + fast_length(last - first, multiple), limit.stop)
        if fast_length(last - first, multiple) != last - first:
            first, last = limit.start, limit.stop
        found.append(slice(first, last))
    return found[0], found[1], found[2]


def cut(signal: torch.Tensor, read: Core) -> torch.Tensor:
    """Copy a part of a block; what was inside the block fades out towards the new faces."""
    block = signal[read].clone()
    ends = zip(read, signal.shape, strict=True)
    taper_faces(block, [(TAPER_VOX * (s.start > 0), TAPER_VOX * (s.stop < n)) for s, n in ends])
    return block


def voxels(box: Core) -> int:
    """Count the voxels of a box."""
    return prod(part.stop - part.start for part in box)


def taper_faces(block: torch.Tensor, widths: Sequence[tuple[int, int]]) -> None:
    """Fade a block out towards its faces.

    Parameters
    ----------
    block
        (z, y, x); changed in place.
    widths
        Per axis, over how many voxels at the first and at the last face; 0 leaves a face as it is.
    """
    for axis, pair in enumerate(widths):
        for first, wanted in zip((True, False), pair, strict=True):
            width = min(wanted, block.shape[axis] // 4)
            if width == 0:
                continue
            place = torch.arange(width, device=block.device, dtype=block.dtype) + 0.5
            ramp = 0.5 - 0.5 * torch.cos(torch.pi * place / width)
            start = 0 if first else block.shape[axis] - width
            view = [1, 1, 1]
            view[axis] = width
            block.narrow(axis, start, width).mul_((ramp if first else ramp.flip(0)).view(view))


def share_of(region: torch.Tensor, share: float) -> Core:
    """Return the slab across the longest axis, about the middle, that holds a share of a region.

    Parameters
    ----------
    region
        (z, y, x) boolean; not empty.
    share
        Of its voxels, in (0, 1); a little more is returned.
    """
    inside = region.cpu().numpy()
    found = list(bounds(inside))
    longest = max(range(3), key=lambda axis: found[axis].stop - found[axis].start)
    lines = inside.sum(axis=tuple(a for a in range(3) if a != longest))
    below = np.cumsum(lines) / lines.sum()
    first = int(np.searchsorted(below, 0.5 - share / 2, side="right"))
    last = int(np.searchsorted(below, 0.5 + share / 2))
    found[longest] = slice(first, max(last, first) + 1)
    return found[0], found[1], found[2]
