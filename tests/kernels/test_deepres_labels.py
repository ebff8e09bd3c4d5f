import numpy as np
import pytest

from distres.kernels.deepres_labels import Transfer, raised_cosine, visible_resolution


def test_the_low_pass_falls_from_one_to_zero_within_a_fiftieth_of_a_cycle_per_voxel():
    frequency = np.array([0.0, 0.2, 0.21, 0.22, 0.5])
    assert np.allclose(raised_cosine(frequency, 5.0, 1.0), [1, 1, 0.5, 0, 0], atol=1e-12)
    # 0.02 cycles a voxel of 0.5 angstrom are 0.04 per angstrom.
    assert np.allclose(
        raised_cosine(np.array([0.2, 0.22, 0.24]), 5.0, 0.5), [1, 0.5, 0], atol=1e-12
    )


@pytest.mark.parametrize("resolution", [2.4, 3.0, 5.0, 9.0, 13.0])
def test_the_map_most_like_a_low_passed_map_is_itself(resolution):
    # A B-factor too small to change anything sends the label through the search.
    transfer = Transfer(resolution_angstrom=resolution, b_factor=1e-6)
    # Candidates lie 0.6 % apart and the maximum is interpolated between them.
    assert visible_resolution(transfer, 1.0) == pytest.approx(resolution, rel=3e-3)


@pytest.mark.parametrize("b_factor", [60.0, 120.0, 240.0])
def test_a_decay_without_a_cutoff_is_visible_to_2_4_over_the_root_of_b(b_factor):
    transfer = Transfer(resolution_angstrom=2.0, b_factor=b_factor)
    # x = K sqrt(B) / 2 solves exp(-x^2) = 1.5 / x^3 * integral_0^x t^2 exp(-t^2) dt: x = 1.204.
    # The tail of the templates moves the answer a little, most where a voxel's band is narrow.
    assert 1 / visible_resolution(transfer, 1.0) == pytest.approx(2.41 / b_factor**0.5, rel=0.05)


def test_a_stronger_decay_never_makes_a_label_finer():
    labels = [
        visible_resolution(Transfer(resolution_angstrom=3.0, b_factor=b), 1.0)
        for b in np.linspace(1e-6, 300, 40)
    ]
    assert np.all(np.diff(labels) >= -1e-6)
    assert labels[-1] > 6


@pytest.mark.parametrize("b_factor", [-20.0, -60.0])
def test_sharpening_leaves_the_label_at_the_cutoff(b_factor):
    sharp = Transfer(resolution_angstrom=3.5, b_factor=b_factor)
    # The template's tail fits a rising spectrum best a little beyond: within half a tail.
    finest = 1 / (1 / 3.5 + 0.01)
    assert finest <= visible_resolution(sharp, 1.0) <= 3.5 * 1.003


def test_contrast_to_the_solvent_changes_no_label_but_the_gain():
    plain = Transfer(resolution_angstrom=6.0)
    dipped = Transfer(resolution_angstrom=6.0, dip=0.5, dip_per_angstrom=0.02)
    assert visible_resolution(plain, 1.0) == visible_resolution(dipped, 1.0)
    assert dipped.gain(np.array([0.0]), 1.0)[0] == pytest.approx(0.5)
    assert dipped.gain(np.array([0.1]), 1.0)[0] == pytest.approx(1.0, abs=1e-5)


def test_labels_scale_with_the_voxel():
    coarse = visible_resolution(Transfer(resolution_angstrom=4.0, b_factor=80.0), 1.0)
    fine = visible_resolution(Transfer(resolution_angstrom=2.0, b_factor=20.0), 0.5)
    assert fine == pytest.approx(coarse / 2, rel=1e-6)
