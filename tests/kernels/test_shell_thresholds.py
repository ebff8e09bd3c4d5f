import numpy as np
import pytest
import scipy.fft

from distres.kernels.shell_thresholds import (
    first_crossing,
    half_bit,
    k_sigma,
    masked_coefficients,
)
from distres.kernels.shells import Shells, fsc_of_sums, shell_sums


def ball(shells, radius_vox, edge_vox=1.0):
    axes = np.ogrid[tuple(slice(-(n // 2), n - n // 2) for n in shells.shape)]
    radius = np.sqrt(sum(a.astype(float) ** 2 for a in axes))
    return np.clip((radius_vox + edge_vox - radius) / edge_vox, 0, 1)


def test_half_bit_has_its_published_form_and_limits():
    n = np.array([16.0, 400.0, 1e12])
    published = (0.2071 + 1.9102 / np.sqrt(n)) / (1.2071 + 0.9102 / np.sqrt(n))
    # The published constants are rounded to four decimals.
    np.testing.assert_allclose(half_bit(n), published, atol=1e-4)
    assert half_bit(1e12) == pytest.approx(0.2071 / 1.2071, abs=1e-5)
    assert half_bit(1) <= 1
    # One bit: t = 0.5 and a limit of 1/3, the FSC of a signal half as strong as the noise.
    assert half_bit(1e12, snr=0.5) == pytest.approx(1 / 3, abs=1e-5)


def test_k_sigma_is_k_standard_deviations_of_white_noise():
    assert k_sigma([100, 10_000]).tolist() == pytest.approx([0.3, 0.03])
    assert k_sigma(1) == 1


def test_a_mask_of_ones_leaves_all_degrees_of_freedom():
    shells = Shells(shape=(20, 24, 15), voxel_size_angstrom=(1.0, 1.2, 2.0))
    n = shells.coefficients()
    np.testing.assert_allclose(
        masked_coefficients(np.ones(shells.shape), shells, n), n[:-1], rtol=1e-9
    )


def test_an_empty_mask_leaves_one_degree_of_freedom():
    shells = Shells(shape=(8, 8, 8), voxel_size_angstrom=(1.0, 1.0, 1.0))
    n = shells.coefficients()
    assert (masked_coefficients(np.zeros(shells.shape), shells, n) == 1).all()


def test_masked_noise_scatters_as_the_effective_degrees_of_freedom_say():
    shells = Shells(shape=(32, 28, 24), voxel_size_angstrom=(1.0, 1.2, 1.5))
    mask = ball(shells, 7.0, 2.0).astype(np.float32)
    n = shells.coefficients()
    effective = masked_coefficients(np.square(mask), shells, n)
    assert (effective[4:] < 0.5 * n[4:-1]).all()  # the mask matters in this test
    rng = np.random.default_rng(5)
    curves = []
    for _ in range(150):
        halves = [
            scipy.fft.rfftn(rng.normal(size=shells.shape).astype(np.float32) * mask)
            for _ in range(2)
        ]
        curves.append(fsc_of_sums(shell_sums(halves[0], halves[1], shells)))
    z = np.array(curves)[:, 5:] * np.sqrt(effective[5:])
    # The variance of z is 1. Its mean over 150 runs and k shells has an SD of sqrt(2 / (150 k)),
    # more by the likeness of neighbouring shells (a factor of 2 at most); 5 SD, and 4 % for
    # counting pairs by volume.
    k = z.shape[1]
    assert np.mean(z**2) == pytest.approx(1.0, abs=5 * 2 * np.sqrt(2 / (150 * k)) + 0.04)


def test_block_means_of_the_mask_are_enough():
    shells = Shells(shape=(48, 48, 48), voxel_size_angstrom=(1.0, 1.0, 1.0))
    power = np.square(ball(shells, 14.0, 4.0))
    n = shells.coefficients()
    fine = masked_coefficients(power, shells, n)
    blocks = power.reshape(24, 2, 24, 2, 24, 2).mean(axis=(1, 3, 5))
    np.testing.assert_allclose(masked_coefficients(blocks, shells, n), fine, rtol=0.02)


def test_the_crossing_is_interpolated_between_shells():
    curve = np.array([1, 1, 0.9, 0.6, 0.2, 0.1, 0.0, 0.0])
    assert first_crossing(curve, 0.5) == pytest.approx(3.25)
    assert first_crossing(curve, 0.6) == pytest.approx(3.0)


def test_one_dip_is_not_the_end():
    curve = np.array([1, 0.9, 0.9, 0.1, 0.9, 0.8, 0.1, 0.1, 0.1])
    assert first_crossing(curve, 0.5) == pytest.approx(5 + 0.3 / 0.7)
    assert first_crossing(curve, 0.5, run=1) == pytest.approx(2.5)


def test_a_fall_in_the_last_shell_counts():
    assert first_crossing(np.array([1, 1, 1, 0.6, 0.4]), 0.5) == pytest.approx(3.5)


def test_curves_that_never_fall_or_never_rise_say_so():
    assert first_crossing(np.ones(9), 0.143) is None
    assert first_crossing(np.array([1, 0.1, 0.0, 0.1]), 0.143) == 0.0


def test_a_threshold_may_be_a_curve():
    curve = np.linspace(1, 0, 11)
    assert first_crossing(curve, np.linspace(0, 1, 11)) == pytest.approx(5.0)
