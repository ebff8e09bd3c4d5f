import numpy as np
import pytest
import torch

from distres.kernels.bands import Band
from distres.kernels.localcorrelation import Windows, correlation_curves, curve_deviation
from distres.kernels.significance import (
    face_factor,
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
        expected = curve_deviation(band, windows, 1.0)
        # About (64 / 8)^3 and (64 / 5)^3 windows of 1.8 wavelengths at half maximum lie side by
        # side: 500 and more, so the deviation itself is known to 3 %. Second orders stay.
        assert curve.std().item() == pytest.approx(expected, rel=0.1)
        assert abs(curve.mean().item()) < 3 * expected / np.sqrt(500) + 0.003


def test_a_face_leaves_half_of_the_window() -> None:
    assert face_factor(0.0, 99.0, 8.0) == pytest.approx(np.sqrt(2))
    assert face_factor(99.0, 8.0, 8.0) == pytest.approx(1)
    assert 1 < face_factor(3.0, 99.0, 8.0) < np.sqrt(2)


def test_the_face_factor_is_that_of_the_cut_window() -> None:
    u = (np.arange(-800, 800) + 0.5) / 100
    window = 1 + np.cos(np.pi * u / 8)
    cut = window[u > -3]
    expected = np.sqrt((cut**2).sum() / cut.sum() ** 2 / ((window**2).sum() / window.sum() ** 2))
    assert face_factor(3.0, 9.0, 8.0) == pytest.approx(expected, rel=1e-3)
