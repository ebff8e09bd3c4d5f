"""Radial power counts every coefficient once, and a line finds the B-factor that was put in."""

import numpy as np
import pytest
import torch

from distres.kernels.guinier import bin_centres, fit_b_factor, radial_power


@pytest.mark.parametrize("shape", [(16, 16, 16), (15, 12, 9), (8, 10, 7)])
def test_white_noise_has_the_power_of_its_variance(shape):
    block = torch.from_numpy(
        np.random.default_rng(1).standard_normal(shape).astype(np.float32) * 3 + 5
    )
    # Corners reach sqrt(3) times Nyquist: bins up to twice that hold every coefficient.
    sums, counts = radial_power(block, (1.0, 1.0, 1.0), 1.0)
    assert counts.sum() == block.numel() - 1  # all but the mean
    # Parseval: exact but for float32 transforms, eps * log2(n) = 2e-6.
    assert sums.sum() == pytest.approx(
        float(block.double().var(unbiased=False)) * block.numel(), rel=1e-5
    )


def test_the_fit_finds_the_b_factor_of_a_gaussian():
    frequency = bin_centres(0.25)
    amplitude = 7.0 * np.exp(-80.0 * frequency**2 / 4)
    b, start = fit_b_factor(frequency, amplitude, high_angstrom=4.5)
    assert b == pytest.approx(80, rel=1e-9)
    assert start == pytest.approx(np.log(7), rel=1e-9)


def test_too_few_bins_give_no_number():
    b, _ = fit_b_factor(bin_centres(0.25), np.full(100, np.nan), high_angstrom=4.5)
    assert np.isnan(b)
