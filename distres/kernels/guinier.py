"""Guinier profiles: how amplitudes fall with frequency, and the B-factor that says so in a number.

A Guinier plot shows ``ln F`` over ``1/d^2`` (Rosenthal and Henderson 2003). Amplitudes of a map
that is blurred by B fall by ``-B / (4 d^2)``: the slope of a line through the plot is ``-B / 4``.
"""

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
import torch

from distres.kernels.fourier import radial_frequency, rfftn

Float64 = npt.NDArray[np.float64]

BINS = 100
FIT_FROM_ANGSTROM = 10.0


def bin_centres(nyquist_per_angstrom: float, bins: int = BINS) -> Float64:
    """Return the frequencies of `radial_power`'s bins, (bins,) in 1/angstrom."""
    return np.asarray((np.arange(bins) + 0.5) * nyquist_per_angstrom / bins)


def radial_power(
    block: torch.Tensor,
    voxel_size_angstrom: Sequence[float],
    nyquist_per_angstrom: float,
    bins: int = BINS,
) -> tuple[Float64, npt.NDArray[np.int64]]:
    """Sum the power of a block over shells of equal thickness up to the Nyquist frequency.

    Parameters
    ----------
    block
        (z, y, x) float32; its mean is not counted.
    voxel_size_angstrom
        Voxel edges (z, y, x).
    nyquist_per_angstrom
        Upper end of the last bin: the same for all blocks that are to be added.

    Returns
    -------
    (bins,) sums of ``|F|^2 / voxels`` over the coefficients of the full transform, and (bins,) how
    many there are.
    """
    parts = torch.view_as_real(rfftn(block))
    power = (parts[..., 0].square() + parts[..., 1].square()).cpu().numpy()
    radius = radial_frequency(block.shape, voxel_size_angstrom, device=block.device).cpu().numpy()
    # One bin more takes what lies beyond the Nyquist frequency, and frequency 0.
    index = np.minimum(radius * np.float32(bins / nyquist_per_angstrom), bins).astype(np.int64)
    index[0, 0, 0] = bins
    # A coefficient of the half transform stands for itself and its mirror image, except on the
    # planes that are their own.
    own = [0, -1] if block.shape[-1] % 2 == 0 and block.shape[-1] > 1 else [0]
    counts = 2 * np.bincount(index.ravel(), minlength=bins + 1)
    for plane in own:
        power[..., plane] *= 0.5
        counts -= np.bincount(index[..., plane].ravel(), minlength=bins + 1)
    sums = np.bincount(index.ravel(), power.ravel(), minlength=bins + 1)
    scale = 2 / block.numel()
    return np.asarray(sums[:bins] * scale, np.float64), counts[:bins].astype(np.int64)


def fit_b_factor(
    frequency_per_angstrom: Float64,
    amplitude: Float64,
    *,
    low_angstrom: float = FIT_FROM_ANGSTROM,
    high_angstrom: float,
) -> tuple[float, float]:
    """Fit a line through a Guinier plot.

    Parameters
    ----------
    frequency_per_angstrom, amplitude
        (bins,) a radial profile.
    low_angstrom, high_angstrom
        Ends of the fit; with fewer than three bins between them it begins at twice `high_angstrom`.

    Returns
    -------
    B in square angstrom (positive when amplitudes fall), and ``ln F`` of the line at frequency 0;
    NaN when there is nothing to fit.
    """
    known = np.isfinite(amplitude) & (amplitude > 0) & (frequency_per_angstrom <= 1 / high_angstrom)
    chosen = known & (frequency_per_angstrom >= 1 / low_angstrom)
    if chosen.sum() < 3:
        chosen = known & (frequency_per_angstrom >= 0.5 / high_angstrom)
    if chosen.sum() < 3:
        return float("nan"), float("nan")
    slope, start = np.polyfit(frequency_per_angstrom[chosen] ** 2, np.log(amplitude[chosen]), 1)
    return float(-4 * slope), float(start)
