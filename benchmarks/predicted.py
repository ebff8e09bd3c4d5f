"""What MonoRes must answer where the spectra of signal and noise are known.

In a region with a stationary Gaussian signal of power S(k) and noise of power N(k), the amplitude
in a band is a random field with one shape and a strength of the root of the band's mean power: the
median voxel passes a test where sqrt(1 + S / N) exceeds the noise's quantile over the noise's own
median, and its resolution is the last test it passes before it fails two in a row.
"""

import numpy as np
import numpy.typing as npt
import torch

from distres.kernels.monogenic import Band
from distres.kernels.monores import LevelTests, plan_levels, smoothed_amplitude
from distres.kernels.noise_threshold import single_test_quantile
from distres.kernels.riesz import riesz_block
from distres.kernels.sweep import FAILURES_TO_DIE
from distres.kernels.wedge import Wedge

EDGE = 96
Curve = npt.NDArray[np.float64]


def noise_ratios(tests: LevelTests, voxel: float, wedge: Wedge | None) -> list[float]:
    """Simulate the quantile of white noise's smoothed amplitude over its median, on one level."""
    noise = np.random.default_rng(0).standard_normal((EDGE,) * 3, dtype=np.float32)
    riesz = riesz_block(torch.from_numpy(noise), (voxel,) * 3, wedge)
    ratios = []
    for frequency in tests.frequencies:
        smooth = smoothed_amplitude(riesz, frequency, tests.ramp, riesz.shape).numpy()
        low, high = np.quantile(smooth, [0.5, single_test_quantile(0.95)])
        ratios.append(float(high / low))
    return ratios


def band_power(curve: tuple[Curve, Curve], frequency: float, ramp: float, nyquist: float) -> float:
    """Average a power spectrum over the coefficients of the band of one test."""
    k = np.linspace(1e-4 * nyquist, nyquist, 800)
    gain = Band.octave(frequency, ramp).gain(torch.from_numpy(k)).numpy()
    weight = (k * gain) ** 2
    return float((weight * np.interp(k, *curve)).sum() / weight.sum())


def predicted_resolution(
    tests: npt.NDArray[np.float64],
    voxel: float,
    levels: int,
    signal: tuple[Curve, Curve],
    noises: npt.ArrayLike,
    wedge: Wedge | None = None,
) -> npt.NDArray[np.float64]:
    """Return the resolution of the median voxel for each strength of white noise.

    Parameters
    ----------
    tests
        Resolutions in angstrom, coarse to fine.
    voxel, levels
        Voxel length in angstrom, and levels of the pyramid.
    signal
        Frequencies in 1/angstrom, and power of the signal per coefficient.
    noises
        Powers of the noise in the map (the mean of the halves) per measured coefficient.
    """
    passed = []
    for level in plan_levels(tests, (voxel,) * 3, levels):
        ratios = noise_ratios(level, voxel * 2**level.level, wedge)
        for frequency, ratio in zip(level.frequencies, ratios, strict=True):
            power = band_power(signal, frequency, level.ramp, 0.5 / voxel)
            passed.append(np.sqrt(1 + power / np.atleast_1d(noises)) > ratio)
    found = []
    for column in np.stack(passed).T:
        last, failures = np.nan, 0
        for resolution, hit in zip(tests, column, strict=True):
            failures = 0 if hit else failures + 1
            last = float(resolution) if hit else last
            if failures == FAILURES_TO_DIE:
                break
        found.append(last)
    return np.array(found)
