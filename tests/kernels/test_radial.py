import numpy as np
import pytest
import torch

from distres.kernels.bandfilter import HalfBlocks
from distres.kernels.bands import Band, plan_bands
from distres.kernels.radial import (
    coefficient_density,
    radial_curves,
    radial_resolution,
    radial_sums,
    smooth_shells,
)

VOXEL = (1.0, 1.0, 1.0)
FACES = ((True, True),) * 3
BAND = Band(centre=0.2, half_octaves=0.85, nyquist=0.5)


def noise(edge, seed):
    return np.random.default_rng(seed).standard_normal((edge,) * 3).astype(np.float32)


def sums_of(half1, half2, bands, core=None, centre=None, bins=24):
    halves = HalfBlocks.of(torch.from_numpy(half1), torch.from_numpy(half2), VOXEL, FACES)
    n = half1.shape[0]
    return np.stack(
        [
            radial_sums(
                halves,
                band,
                core=core or (slice(0, n),) * 3,
                centre=centre or (n // 2,) * 3,
                width=1.0,
                bins=bins,
            )
            for band in bands
        ]
    )


def test_shells_hold_their_volume():
    found = sums_of(noise(48, 0), noise(48, 1), [BAND], bins=20)[0, :, 3]
    inner, outer = np.arange(20), np.arange(1, 21)
    expected = 4 / 3 * np.pi * (outer**3 - inner**3)
    # Samples on a grid of about a voxel fill thin shells unevenly.
    np.testing.assert_allclose(found[8:], expected[8:], rtol=0.1)
    assert found.sum() == pytest.approx(expected.sum(), rel=0.01)


def test_parts_of_a_block_add_up_to_all_of_it():
    half1, half2 = noise(40, 2), noise(40, 3)
    every = sums_of(half1, half2, [BAND])
    left = sums_of(half1, half2, [BAND], core=(slice(0, 40), slice(0, 40), slice(0, 17)))
    right = sums_of(half1, half2, [BAND], core=(slice(0, 40), slice(0, 40), slice(17, 40)))
    np.testing.assert_allclose(left + right, every, rtol=1e-9, atol=1e-9)


def test_noise_correlates_as_little_as_its_coefficients_say():
    curves, number = [], None
    for seed in range(6):
        sums = sums_of(noise(56, 10 + seed), noise(56, 20 + seed), [BAND], bins=26)
        smooth, effective = smooth_shells(sums, 6.0)
        curves.append(radial_curves(smooth)[0, 10:25])
        number = coefficient_density(BAND) * effective[0, 10:25]
    # 6 halves times some 3 independent radii: a ratio known to a quarter, three of those.
    assert 0.3 < np.mean(np.array(curves) ** 2 * number) < 1.8


def test_a_resolution_that_worsens_with_radius_is_read_at_every_radius():
    """White signal blurred more outside than inside, white noise: the truth is written down."""
    edge, strength = 96, 4.0
    common = noise(edge, 30)
    k = np.meshgrid(*(np.fft.fftfreq(edge) for _ in range(3)), indexing="ij")
    square = sum(axis**2 for axis in k)
    axes = np.ogrid[tuple(slice(edge) for _ in range(3))]
    radius = np.sqrt(sum((a - edge // 2) ** 2 for a in axes))
    spectrum = np.fft.fftn(common)
    blurs = (60.0, 300.0)
    inside, outside = (
        strength * np.fft.ifftn(spectrum * np.exp(-b / 4 * square)).real for b in blurs
    )
    signal = np.where(radius < 24, inside, outside)
    halves = [(signal + noise(edge, s)).astype(np.float32) for s in (31, 32)]
    bands = plan_bands(voxel_size=1.0, lowest=1 / 20)
    smooth, effective = smooth_shells(sums_of(*halves, bands, bins=46), 6.0)
    found = radial_resolution(radial_curves(smooth), effective[0], bands, 0.5, significance=0.02)
    for blur, part in zip(blurs, (slice(8, 17), slice(34, 44)), strict=True):
        # FSC 1/2 where strength^2 exp(-B s^2 / 2) = 1.
        truth = np.sqrt(blur / (4 * np.log(strength)))
        assert np.median(found[part]) == pytest.approx(truth, rel=0.08)


def test_noise_has_no_resolution_at_any_radius():
    bands = plan_bands(voxel_size=1.0, lowest=1 / 16)
    smooth, effective = smooth_shells(sums_of(noise(64, 40), noise(64, 41), bands, bins=30), 5.0)
    found = radial_resolution(radial_curves(smooth), effective[0], bands, 0.143, significance=0.02)
    assert np.isnan(found).mean() >= 0.9
