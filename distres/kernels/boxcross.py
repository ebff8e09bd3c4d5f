"""Where the correlation curves of many boxes cross a threshold: our rule, and Bsoft's."""

import numpy as np
import numpy.typing as npt
from scipy.signal import fftconvolve
from scipy.stats import norm

from distres.kernels.boxes import BoxDesign

Float = npt.NDArray[np.float64]
Float32 = npt.NDArray[np.float32]
Flags = npt.NDArray[np.uint8]

NEVER_ABOVE = np.uint8(1)
NEVER_BELOW = np.uint8(2)

# Bsoft writes resolutions no worse than this.
BSOFT_WORST_ANGSTROM = 200.0

# Below so few degrees of freedom Fisher's z says nothing.
_FEWEST = 8.0


def degrees_of_freedom(design: BoxDesign) -> Float:
    """Count the effective real degrees of freedom of every shell in the window: (shells,) float64.

    White noise correlates with variance ``1 / n_eff = sum_d A(d) rho(d)^2``: A the autocorrelation
    of the squared window over its sum squared, rho the normalised point response of the shell.
    All factors are even, so one octant and one matrix product per axis are enough.
    """
    bz, by, bx = design.box
    waves = [
        np.cos(2 * np.pi * np.outer(np.arange(b), np.arange(k)) / pad)
        for b, k, pad in zip(design.box, design.harmonics, design.pads, strict=True)
    ]
    weights = design.shell_weights().reshape(*design.harmonics, -1)
    response = np.einsum("cx,zyxs->zycs", waves[2], weights)
    response = np.einsum("by,zycs->zbcs", waves[1], response)
    response = np.einsum("az,zbcs->abcs", waves[0], response)
    response /= response[:1, :1, :1]
    shared = _folded_autocorrelation(design.window**2)
    variance = shared.reshape(1, bz * by * bx) @ (response**2).reshape(bz * by * bx, -1)
    number: Float = 1 / variance[0]
    return number


def _folded_autocorrelation(weights: Float) -> Float:
    """Autocorrelation at distances 0, 1, ... over the sum squared, signs added on every axis."""
    # An even function is its own mirror image.
    full = fftconvolve(weights, weights, "full")
    result: Float = full[tuple(slice(n - 1, None) for n in weights.shape)] / weights.sum() ** 2
    for axis in range(weights.ndim):
        np.moveaxis(result, axis, 0)[1:] *= 2
    return result


def effective_threshold(
    threshold: float, freedom: Float, *, false_positive: float = 0.02
) -> tuple[Float, int]:
    """Raise a fixed threshold where noise alone would pass it.

    Parameters
    ----------
    threshold
        Fixed correlation.
    freedom
        (shells,) from `degrees_of_freedom`.
    false_positive
        Share of noise boxes that may lie above in one shell.

    Returns
    -------
    curve
        (shells,) the larger of the fixed threshold and ``tanh(z / sqrt(n_eff - 3))``.
    start
        First shell in which the window tells anything: where a curve has to begin above.
    """
    start = int(np.argmax(freedom >= _FEWEST))
    z = float(norm.isf(false_positive))
    noise = np.tanh(z / np.sqrt(np.maximum(freedom - 3, 0.25)))
    return np.maximum(threshold, noise), start


def first_sustained_crossing(
    curves: Float32, threshold: Float, *, start: int, run: int = 3
) -> tuple[Float32, Flags]:
    """Find where each curve falls below the threshold and stays there.

    A curve must begin above, in shell `start` or the next. It has fallen where `run` shells in a
    row, or all that are left, lie below; the crossing is interpolated between the last shell
    above and the first below, both taken as straight lines.

    Parameters
    ----------
    curves
        (boxes, shells) correlations.
    threshold
        (shells,).
    start
        First shell that counts.
    run
        Shells that must stay below: one dip is not the end, one late peak not a return.

    Returns
    -------
    shell
        (boxes,) float32 crossing in shells; NaN where flagged NEVER_ABOVE, the last shell where
        flagged NEVER_BELOW.
    flags
        (boxes,) uint8.
    """
    excess = curves - threshold.astype(np.float32)
    above = excess >= 0
    count = above.shape[1]
    begins = above[:, start] | above[:, min(start + 1, count - 1)]
    first = np.where(above[:, start], start, start + 1)
    stays_below = ~above
    for ahead in range(1, run):
        stays_below[:, : count - ahead] &= ~above[:, ahead:]
    stays_below &= np.arange(count) > first[:, None]
    falls = stays_below.any(axis=1)
    after = np.where(falls, stays_below.argmax(axis=1), count - 1)
    boxes = np.arange(len(curves))
    high, low = excess[boxes, after - 1], excess[boxes, after]
    with np.errstate(divide="ignore", invalid="ignore"):
        shell = (after - 1 + high / (high - low)).astype(np.float32)
    shell[~falls] = count - 1
    shell[~begins] = np.nan
    flags = np.where(begins, np.where(falls, 0, NEVER_BELOW), NEVER_ABOVE).astype(np.uint8)
    return shell, flags


def bsoft_resolution(
    curves: Float32, threshold: float, *, width_per_angstrom: float, finest_angstrom: float
) -> Float32:
    """Read resolutions as Bsoft 2.1 blocres does: at the last downward crossing, in angstrom.

    Parameters
    ----------
    curves
        (boxes, shells); shell 0 is 1.
    threshold
        Fixed correlation.
    width_per_angstrom
        Distance between shells.
    finest_angstrom
        Lower limit of the result; the upper one is 200 A, Bsoft's word for "never above".

    Returns
    -------
    (boxes,) float32 in angstrom.
    """
    above = curves >= np.float32(threshold)
    count = above.shape[1]
    falls = above[:, :-1] & ~above[:, 1:]
    last = count - 2 - falls[:, ::-1].argmax(axis=1)
    boxes = np.arange(len(curves))
    high, low = curves[boxes, last], curves[boxes, last + 1]
    with np.errstate(divide="ignore", invalid="ignore"):
        shell = last + (high - np.float32(threshold)) / (high - low)
        best = ~falls.any(axis=1) | ((last == 0) & above[:, -1])
        shell[best] = count - 1
        resolution = 1 / (shell * width_per_angstrom)
    result: Float32 = np.clip(resolution, finest_angstrom, BSOFT_WORST_ANGSTROM).astype(np.float32)
    return result
