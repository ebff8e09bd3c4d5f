"""Blocks of a box that goes on periodically, as one transform of the whole box sees it."""

from dataclasses import dataclass
from itertools import product

import numpy as np
import numpy.typing as npt
from scipy.fft import next_fast_len

from distres.engine.jobs import Source
from distres.engine.tiles import Region

Float32 = npt.NDArray[np.float32]


@dataclass(frozen=True, slots=True, kw_only=True)
class Reach:
    """What a tile reads of the periodic box.

    Attributes
    ----------
    runs
        Per axis, one or two slices of the box that lie side by side in the block.
    crop
        Where the core lies in the block.
    """

    runs: tuple[tuple[slice, ...], ...]
    crop: Region

    @classmethod
    def of(cls, core: Region, halo: int | tuple[int, int, int], shape: tuple[int, ...]) -> "Reach":
        """Surround a core by its halo, and grow the block to a length that transforms fast."""
        halos = (halo,) * 3 if isinstance(halo, int) else halo
        runs: list[tuple[slice, ...]] = []
        crop: list[slice] = []
        for part, h, n in zip(core, halos, shape, strict=True):
            length = part.stop - part.start
            wanted = int(next_fast_len(length + 2 * h, real=True))
            if wanted >= n:
                runs.append((slice(0, n),))
                crop.append(part)
                continue
            first = (part.start - h) % n
            last = first + wanted
            runs.append(
                (slice(first, last),) if last <= n else (slice(first, n), slice(0, last - n))
            )
            crop.append(slice(h, h + length))
        return cls(runs=tuple(runs), crop=(crop[0], crop[1], crop[2]))

    def read(self, source: Source) -> Float32:
        """Read the block."""
        places = []
        for axis in self.runs:
            ends = np.cumsum([0, *(s.stop - s.start for s in axis)])
            places.append(list(zip(axis, map(slice, ends[:-1], ends[1:]), strict=True)))
        block = np.empty([axis[-1][1].stop for axis in places], np.float32)
        for z, y, x in product(*places):
            values = np.asarray(source.read((z[0], y[0], x[0])), np.float32)
            block[z[1], y[1], x[1]] = values.reshape(values.shape[-3:])
        return block
