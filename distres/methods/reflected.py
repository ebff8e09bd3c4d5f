"""Read a block that may reach beyond the volume's faces."""

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from distres.engine.jobs import Source


def read_reflected(source: Source, spans: Sequence[tuple[int, int]]) -> npt.NDArray[np.float32]:
    """Read a block; what lies outside the volume is its mirror image about the outermost voxel.

    Parameters
    ----------
    source
        (z, y, x).
    spans
        First voxel and end of the block along z, y, x; both may lie outside.
    """
    region, missing = [], []
    for (first, last), n in zip(spans, source.shape[-3:], strict=True):
        region.append(slice(min(max(first, 0), n - 1), max(min(last, n), 1)))
        missing.append((max(-first, 0), max(last - n, 0)))
    values = np.nan_to_num(np.asarray(source.read(tuple(region)), np.float32))
    return np.ascontiguousarray(np.pad(values, missing, mode="reflect"))
