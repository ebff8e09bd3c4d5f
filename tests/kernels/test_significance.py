import numpy as np
import pytest
import torch

from distres.kernels.bands import Band
from distres.kernels.localcorrelation import Windows, correlation_curves, curve_deviation
from distres.kernels.significance import (
    independent_coefficients,
    noise_deviation,
    significance_level,
)


def test_wide_windows_hold_window_volume_times_shell_volume() -> None:
    # The wide-band limit: window of V = (R * 4/3)^3 equivalent voxels per raised cosine, times the
    # fraction of the spectrum that passes, (sum B^2)^2 / sum B^4. At R = 20 wavelengths the
    # correlation length of the noise, about one wavelength, is small; 5 % covers it.
    band = Band(centre=0.25, half_octaves=0.7, nyquist=0.5)
    radius = 80.0
    k = np.linspace(band.bottom, band.top, 4001)
    b2 = band.response(k) ** 2
    step = k[1] - k[0]
    shell = 4 * np.pi * (b2 * k**2).sum() ** 2 / (b2**2 * k**2).sum() * step
    assert independent_coefficients(band, (radius,)) == pytest.approx(
        (radius * 4 / 3) ** 3 * shell, rel=0.05
    )


def test_coefficients_depend_on_radius_over_wavelength_alone() -> None:
    counts = [
        independent_coefficients(Band(centre=c, half_octaves=0.7, nyquist=9.0), (2 / c,))
        for c in (0.05, 0.1, 0.4)
    ]
    assert max(counts) / min(counts) == pytest.approx(1, rel=1e-3)


def test_one_window_for_both_powers_gives_one_over_root_n() -> None:
    assert noise_deviation(64, 64) == pytest.approx(1 / 8)


def test_significance_is_the_normal_quantile() -> None:
    np.testing.assert_allclose(significance_level([1.0, 0.1], 0.025), [1.96, 0.196], rtol=1e-3)


def test_the_deviation_of_noise_is_what_theory_says() -> None:
    generator = torch.Generator().manual_seed(7)
    halves = [torch.randn(96, 96, 96, generator=generator) for _ in range(2)]
    windows = Windows()
    bands = [Band(centre=c, half_octaves=0.7, nyquist=0.5) for c in (0.23, 0.39)]
    curves = correlation_curves(*halves, spacing=(1, 1, 1), bands=bands, windows=windows)
    inner = curves[:, 8:-8, 8:-8, 8:-8]
    for curve, band in zip(inner, bands, strict=True):
        expected = curve_deviation(band, windows, 1.0, 96.0)
        # (64 / 2 R)^3 independent windows of R = 2.75 wavelengths: 24 and 120 of them, so the
        # deviation itself is known to 1/sqrt(2 * 24) = 14 %; the fold of squares adds some 8 %.
        assert curve.std().item() == pytest.approx(expected, rel=0.3)
        assert abs(curve.mean().item()) < 3 * expected / np.sqrt(24)
