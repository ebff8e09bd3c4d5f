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
from distres.kernels.monores import FACE_RAMP_VOX, LevelTests, plan_levels, smoothed_amplitude
from distres.kernels.noise_threshold import amplitude_histogram, sweep_threshold
from distres.kernels.riesz import riesz_block
from distres.kernels.sweep import FAILURES_TO_DIE
from distres.kernels.wedge import Wedge

EDGE = 96  # of the simulated noise
GRID = 64  # of coefficients that spectra are averaged over
Curve = npt.NDArray[np.float64]


def noise_ratios(
    tests: LevelTests, voxel: float, wedge: Wedge | None, independent: float
) -> list[float]:
    """Simulate the threshold of white noise over its median smoothed amplitude, on one level."""
    noise = np.random.default_rng(0).standard_normal((EDGE,) * 3, dtype=np.float32)
    riesz = riesz_block(torch.from_numpy(noise), (voxel,) * 3, wedge)
    ratios = []
    for frequency in tests.frequencies:
        box = tests.lattice(riesz.shape)
        smooth = smoothed_amplitude(riesz, frequency, tests, box).numpy()
        scale = float(smooth.mean())
        counts = amplitude_histogram(torch.from_numpy(smooth).clamp_min(0), scale)
        threshold = sweep_threshold(counts, scale, 0.95, independent)
        ratios.append(threshold / float(np.median(smooth)))
    return ratios


def band_power(
    curve: tuple[Curve, Curve], frequency: float, tests: LevelTests, voxel: float
) -> float:
    """Average a power spectrum over the coefficients of the grid that one test's band passes.

    The corners of the grid are among them: half of the coefficients of a band that ends beyond
    Nyquist. Beyond the last frequency of the curve there is no power.
    """
    k = np.fft.fftfreq(GRID)
    fade = 0.5 - 0.5 * np.cos(np.pi * np.clip((0.5 - np.abs(k)) / FACE_RAMP_VOX, 0, 1))
    norm = np.sqrt(k[:, None, None] ** 2 + k[:, None] ** 2 + k**2) / voxel
    gain = Band.octave(frequency, tests.ramp).gain(torch.from_numpy(norm)).numpy()
    weight = (gain * fade[:, None, None] * fade[:, None] * fade) ** 2
    return float((weight * np.interp(norm, *curve, right=0.0)).sum() / weight.sum())


def predicted_resolution(
    tests: npt.NDArray[np.float64],
    voxel: float,
    levels: int,
    signal: tuple[Curve, Curve],
    noises: npt.ArrayLike,
    wedge: Wedge | None = None,
    stride: int = 1,
    independent: float = 1e6,
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
    wedge
        What was not measured.
    stride
        Voxels from one place decided to the next.
    independent
        Values of noise behind a threshold: few when it follows the noise in space.
    """
    passed = []
    for level in plan_levels(tests, (voxel,) * 3, levels, stride):
        ratios = noise_ratios(level, voxel * 2**level.level, wedge, independent)
        for frequency, ratio in zip(level.frequencies, ratios, strict=True):
            power = band_power(signal, frequency, level, voxel * 2**level.level)
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
