"""Correlation against distance from a centre: how resolution changes with radius in a capsid.

Both halves are filtered to a band first, over the whole volume; only then are products summed over
thin shells of space. Nothing is cut before the transform, so no shell makes correlation of its own,
however thin it is. Sums over thin shells can be smoothed to any thickness afterwards.
"""

from collections.abc import Sequence
from functools import lru_cache

import numpy as np
import numpy.typing as npt
import torch

from distres.kernels.bandfilter import Float3, HalfBlocks
from distres.kernels.bands import Band
from distres.kernels.crossing import CurveModel, find_crossings
from distres.kernels.significance import significance_level

Float = npt.NDArray[np.float64]

# Columns of radial sums: b1 b2, b1^2, b2^2, and volume.
COLUMNS = 4
# Below this many independent coefficients a correlation says nothing.
FEWEST = 8.0


def radial_sums(
    halves: HalfBlocks,
    band: Band,
    *,
    core: Sequence[slice],
    centre: Float3,
    width: float,
    bins: int,
) -> Float:
    """Sum products of both halves in a band over shells around a centre.

    Parameters
    ----------
    halves
        Transformed blocks.
    band
        The band.
    core
        Voxels of the block (z, y, x) that count.
    centre
        In voxels of the block; may lie outside.
    width
        Thickness of the thin shells, in the unit of the spacing.
    bins
        Their number; what lies beyond is left out.

    Returns
    -------
    (bins, 4) float64: sums of b1 b2, b1^2, b2^2 over space, and volumes.
    """
    first, second = halves.filtered(band)
    squares, parts, sample = [], [], 1.0
    facts = zip(
        first.shape, halves.padded, halves.before, halves.spacing, core, centre, strict=True
    )
    for size, padded, before, step, part, middle in facts:
        place = np.arange(size) * (padded / size) - before
        chosen = np.flatnonzero((place >= part.start - 0.5) & (place < part.stop - 0.5))
        parts.append(slice(int(chosen[0]), int(chosen[-1]) + 1) if chosen.size else slice(0, 0))
        squares.append(((place[parts[-1]] - middle) * step) ** 2)
        sample *= padded / size * step
    z, y, x = squares
    radius = np.sqrt(z[:, None, None] + y[:, None] + x)
    shell = torch.from_numpy(np.minimum(radius / width, bins).astype(np.int64)).view(-1)
    shell = shell.to(first.device)
    cut = tuple(parts)
    b1, b2 = first[cut].reshape(-1).double(), second[cut].reshape(-1).double()
    columns = (b1 * b2, b1 * b1, b2 * b2, torch.ones_like(b1))
    sums = torch.zeros((bins + 1, COLUMNS), dtype=torch.float64, device=first.device)
    for index, column in enumerate(columns):
        sums[:, index].index_add_(0, shell, column)
    found: Float = sums[:bins].cpu().numpy() * sample
    return found


def smooth_shells(sums: Float, thickness_bins: float) -> tuple[Float, Float]:
    """Add thin shells up under a raised cosine, around each.

    Parameters
    ----------
    sums
        (..., bins, 4).
    thickness_bins
        Full width at half maximum of the window, in thin shells.

    Returns
    -------
    smooth
        Like `sums`.
    effective
        (..., bins) effective volume of the window, ``(sum w)^2 / sum w^2``.
    """
    bins = sums.shape[-2]
    place = np.arange(bins)
    distance = np.abs(place[:, None] - place) / max(thickness_bins, 1.0)
    window = np.where(distance < 1, (1 + np.cos(np.pi * np.minimum(distance, 1))) / 2, 0.0)
    smooth = np.einsum("rs,...sc->...rc", window, sums)
    volume = sums[..., 3]
    weight = np.einsum("rs,...s->...r", window, volume)
    square = np.einsum("rs,...s->...r", window**2, volume)
    return smooth, weight**2 / np.maximum(square, 1e-12)


def radial_curves(smooth: Float) -> Float:
    """Correlations (...,) from sums (..., 4); 0 where there is no power."""
    power = np.sqrt(smooth[..., 1] * smooth[..., 2])
    curves: Float = np.where(power > 0, smooth[..., 0] / np.where(power > 0, power, 1), 0.0)
    return curves


@lru_cache(maxsize=256)
def coefficient_density(band: Band) -> float:
    """Return independent real coefficients per volume of white noise in a band.

    ``(int B^2 d^3k)^2 / int B^4 d^3k``: the wide-band limit, which counts too few for windows
    thinner than a wavelength and so errs to the careful side.
    """
    k = np.linspace(band.bottom, band.top, 1025)
    passed = band.response(k) ** 2
    shell = 4 * np.pi * k**2
    step = k[1] - k[0]
    return float((passed * shell).sum() ** 2 / (passed**2 * shell).sum() * step)


def radial_resolution(
    curves: Float,
    effective: Float,
    bands: Sequence[Band],
    threshold: float,
    *,
    significance: float,
) -> Float:
    """Find where the curve of every radius crosses a threshold.

    Parameters
    ----------
    curves
        (bands, bins) correlations, low to high frequency.
    effective
        (bins,) effective volumes of the windows.
    bands
        The bands.
    threshold
        Correlation; raised to what noise exceeds with probability `significance`.

    Returns
    -------
    (bins,) resolution, NaN where the curve is never above or too little of space is in the window.
    """
    density = np.array([coefficient_density(band) for band in bands])
    number = density[:, None] * effective
    noise = significance_level(1 / np.sqrt(np.maximum(number, 1.0)), significance)
    levels = np.minimum(np.maximum(threshold, noise), max(threshold, 0.9))
    frequency, _ = find_crossings(
        torch.from_numpy(curves.astype(np.float32)),
        CurveModel.of(bands),
        torch.from_numpy(levels.astype(np.float32)),
    )
    found = frequency.numpy().astype(np.float64)
    # The crossing itself must lie where the window tells something.
    crossing_density = np.interp(
        np.nan_to_num(found, nan=bands[0].centre), [b.centre for b in bands], density
    )
    known = np.isfinite(found) & (crossing_density * effective >= FEWEST)
    resolution: Float = np.where(known, 1 / np.where(known, found, 1.0), np.nan)
    return resolution
