"""What a shell correlation is compared with: criteria, degrees of freedom, and the crossing."""

import numpy as np
import numpy.typing as npt

from distres.kernels.shells import Float, Shells

HALF_BIT_SNR = 0.2071


def half_bit(coefficients: npt.ArrayLike, snr: float = HALF_BIT_SNR) -> Float:
    """Information curve: the correlation at which a half map carries `snr`, for n coefficients.

    Parameters
    ----------
    coefficients
        Effective real degrees of freedom n of a shell (both members of a Hermitian pair count).
    snr
        Signal over noise of a half map; 0.2071 is half a bit for the sum of both, 0.5 is one bit.

    Notes
    -----
    ``T = (t + (2 sqrt t + 1) / sqrt n) / (1 + t + 2 sqrt t / sqrt n)``, van Heel & Schatz 2005.
    Some programs take n / 2 here, which raises the curve: the paper's n is the full shell.
    """
    root = np.sqrt(np.maximum(np.asarray(coefficients, np.float64), 1.0))
    cross = 2 * np.sqrt(snr)
    curve: Float = (snr + (cross + 1) / root) / (1 + snr + cross / root)
    return curve


def k_sigma(coefficients: npt.ArrayLike, k: float = 3.0) -> Float:
    """Noise curve ``k / sqrt(n)``: `k` standard deviations of the correlation of white noise.

    n counts real degrees of freedom, so the standard deviation is exactly ``1 / sqrt(n)`` for large
    n. No ``sqrt 2`` and no term in the denominator, unlike other conventions in the literature.
    """
    root = np.sqrt(np.maximum(np.asarray(coefficients, np.float64), 1.0))
    curve: Float = np.minimum(k / root, 1.0)
    return curve


def masked_coefficients(
    mask_power: npt.NDArray[np.floating], shells: Shells, coefficients: npt.ArrayLike
) -> Float:
    """Count effective degrees of freedom per shell after both halves were multiplied by a mask.

    A mask makes neighbouring coefficients alike. For white noise ``Var C = 1 / n_eff`` with
    ``1 / n_eff = sum A(k - k') / n^2`` over all k and k' of the shell, where ``A`` is
    ``|FT(m^2)|^2 / (sum m^2)^2``. Pairs at one distance q are counted by the volume that a shell
    shares with itself moved by q, which is a sum of ball intersections. In real space the same
    number is the window's autocorrelation summed with the squared autocorrelation of the band.

    Parameters
    ----------
    mask_power
        (z, y, x) squared mask over the whole box; block means are enough, since ``A`` is
        concentrated in the first few coefficients.
    shells
        Shells of the full grid.
    coefficients
        n of the unmasked shells, (count,) or longer.

    Returns
    -------
    (count,) float64, at least 1; equal to n for a mask of ones.
    """
    counts = np.asarray(coefficients, np.float64)[: shells.count]
    spectrum = np.abs(np.fft.fftn(np.asarray(mask_power, np.float64))) ** 2
    if spectrum[0, 0, 0] == 0:
        return np.ones(shells.count)
    edges = [n * a for n, a in zip(shells.shape, shells.voxel_size_angstrom, strict=True)]
    axes = [np.fft.fftfreq(n, 1 / n) / e for n, e in zip(mask_power.shape, edges, strict=True)]
    distance = np.sqrt(axes[0][:, None, None] ** 2 + axes[1][:, None] ** 2 + axes[2] ** 2)
    distance /= shells.width_per_angstrom
    # Bins of a twentieth of a shell: the shared volume changes on the scale of a shell.
    place = np.rint(distance * 20).astype(np.intp).ravel()
    alike = np.bincount(place, (spectrum / spectrum[0, 0, 0]).ravel())
    used = np.flatnonzero(alike > 1e-9)
    shared = _shell_overlap(np.arange(shells.count)[:, None], used[None, :] / 20)
    pairs = (shared / shared[:, :1]) @ alike[used]
    result: Float = np.maximum(counts / np.maximum(pairs, 1.0), 1.0)
    return result


def _shell_overlap(shell: npt.NDArray[np.intp], distance: Float) -> Float:
    """Volume that shell i (radii i - 1/2 to i + 1/2) shares with itself moved by `distance`."""
    outer: Float = shell + np.float64(0.5)
    inner: Float = np.maximum(outer - 1.0, 0.0)
    overlap: Float = (
        _ball_overlap(outer, outer, distance)
        - 2 * _ball_overlap(outer, inner, distance)
        + _ball_overlap(inner, inner, distance)
    )
    return np.maximum(overlap, 0.0)


def _ball_overlap(large: Float, small: Float, distance: Float) -> Float:
    """Volume shared by two balls whose centres are `distance` apart."""
    safe = np.maximum(distance, 1e-12)
    lens: Float = (
        np.pi
        * (large + small - safe) ** 2
        * (safe**2 + 2 * safe * (large + small) - 3 * (large - small) ** 2)
        / (12 * safe)
    )
    inside = 4 / 3 * np.pi * small**3
    return np.where(
        distance <= large - small, inside, np.where(distance >= large + small, 0.0, lens)
    )


def first_crossing(curve: Float, threshold: npt.ArrayLike, *, run: int = 3) -> float | None:
    """Find where a curve falls below a threshold and stays there.

    The search starts at the first shell after 0 that reaches the threshold; the curve has fallen
    where `run` shells in a row (or all that are left) lie below. Between the last shell above and
    the first below, both taken as straight lines, the crossing is interpolated.

    Parameters
    ----------
    curve
        (count,) correlations.
    threshold
        One number or (count,).
    run
        Shells that must stay below: one dip, a zero of the contrast transfer, is not the end.

    Returns
    -------
    Crossing in shells; 0.0 when the curve never reaches the threshold, None when it never falls.
    """
    excess = np.asarray(curve - np.asarray(threshold, np.float64), np.float64)
    reached = np.flatnonzero(excess[1:] >= 0)
    if reached.size == 0:
        return 0.0
    below = excess < 0
    for shell in range(int(reached[0]) + 2, len(excess)):
        if below[shell : shell + run].all():
            before, after = excess[shell - 1], excess[shell]
            return float(shell - 1 + before / (before - after))
    return None
