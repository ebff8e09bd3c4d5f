import numpy as np
import pytest
import torch

from distres.kernels.fourier import irfftn, radial_frequency, rfftn
from distres.kernels.whitening import (
    SPECTRUM_BINS,
    NoiseFit,
    band_limit,
    radial_power,
    whiten,
)

VOXEL = (1.0, 1.0, 1.0)


def white(shape, seed=0):
    return torch.from_numpy(np.random.default_rng(seed).standard_normal(shape).astype(np.float32))


def coloured(shape, seed=0):
    """Noise whose amplitude falls by exp(-1.5 s / Nyquist)."""
    block = white(shape, seed)
    frequency = radial_frequency(shape, VOXEL)
    return irfftn(rfftn(block) * torch.exp(-3.0 * frequency), shape)


def fit(block, elbow=10.0):
    power, counts = radial_power(block[None], VOXEL)
    return NoiseFit.of(power, counts, 0.5, elbow)


def test_white_noise_has_power_one():
    power, counts = radial_power(white((4, 48, 48, 48)), VOXEL)
    # From bin 6 on 2000 and more half-space coefficients in 4 cubes, a third of them independent
    # under a Hann window cubed: 10 % is five sigma.
    np.testing.assert_allclose((power / counts)[6:], 1, rtol=0.1)


def test_the_fit_finds_the_slope_of_coloured_noise():
    _, slope, bend = fit(coloured((64, 64, 64))).coefficients
    # log amplitude is -1.5 s over s from 0.2 to 1; a parabola may share a little with its bend.
    assert slope + bend == pytest.approx(-1.5, abs=0.1)


def test_whitened_noise_is_flat():
    block = coloured((64, 64, 64))
    flat = whiten(block, fit(block), VOXEL)
    power, counts = radial_power(flat[None], VOXEL)
    beyond = np.arange(SPECTRUM_BINS) > 0.25 * SPECTRUM_BINS
    levels = (power / counts)[beyond]
    assert levels.std() / levels.mean() < 0.1


def test_the_gain_below_the_elbow_is_that_at_the_elbow():
    found = fit(coloured((48, 48, 48)))
    low, elbow = found.amplitude(torch.tensor([0.0, 0.1]))
    assert low == elbow


def test_sixteen_voxels_of_halo_are_enough():
    block = coloured((72, 72, 72))
    found = fit(block)
    whole = whiten(block, found, VOXEL)
    part = whiten(block[8:64, 8:64, 8:64].contiguous(), found, VOXEL)[16:-16, 16:-16, 16:-16]
    error = part - whole[24:48, 24:48, 24:48]
    assert error.std() < 2e-3 * whole.std()


def test_a_low_pass_is_seen_and_not_undone():
    shape = (64, 64, 64)
    frequency = radial_frequency(shape, VOXEL)
    block = irfftn(rfftn(coloured(shape)) * (frequency < 0.3), shape)
    power, counts = radial_power(block[None], VOXEL)
    assert band_limit(power, counts) == pytest.approx(0.6, abs=0.06)
    flat = whiten(block, fit(block), VOXEL)
    # Inside the band the amplitude grows by exp(1.5 * 0.6) at most; what lies beyond is no louder.
    assert flat.std() < 3 * block.std() * float(1 / fit(block).amplitude(torch.tensor([0.1]))[0])
    power, counts = radial_power(flat[None], VOXEL)
    assert (power / counts)[-6:].max() < 1e-3 * (power / counts)[8:12].mean()


def test_noise_that_nobody_filtered_has_no_limit():
    for block in (white((48, 48, 48)), coloured((48, 48, 48))):
        assert band_limit(*radial_power(block[None], VOXEL)) == 1.0
