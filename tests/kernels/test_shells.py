import numpy as np
import pytest
import scipy.fft
from hypothesis import given, settings
from hypothesis import strategies as st

from distres.kernels.shells import Shells, fsc_of_sums, shell_sums, shells_of

edge = st.integers(4, 21)
size = st.floats(0.5, 4.0)


def transform(volume):
    return scipy.fft.rfftn(volume.astype(np.float32))


@settings(max_examples=60, deadline=None)
@given(shape=st.tuples(edge, edge, edge), sizes=st.tuples(size, size, size))
def test_every_coefficient_is_counted_once_and_powers_obey_parseval(shape, sizes):
    shells = Shells(shape=shape, voxel_size_angstrom=sizes)
    volume = np.random.default_rng(0).normal(size=shape)
    other = np.random.default_rng(1).normal(size=shape)
    assert shells.coefficients().sum() == volume.size
    assert (shells.coefficients()[:-1] > 0).all()
    cross, power, power2 = shell_sums(transform(volume), transform(other), shells).sum(axis=1)
    # A float32 transform of n values is good to about 1e-7 sqrt(log2 n) relative; sums average it.
    assert power == pytest.approx(volume.size * np.square(volume).sum(), rel=1e-5)
    assert power2 == pytest.approx(volume.size * np.square(other).sum(), rel=1e-5)
    both = volume.size * (volume * other).sum()
    assert cross == pytest.approx(both, abs=1e-5 * np.sqrt(power * power2))


@settings(max_examples=30, deadline=None)
@given(shape=st.tuples(edge, edge, edge), cut=st.integers(1, 20))
def test_parts_sum_to_the_whole(shape, cut):
    shells = Shells(shape=shape, voxel_size_angstrom=(1.0, 1.5, 2.0))
    rng = np.random.default_rng(2)
    first, second = (transform(rng.normal(size=shape)) for _ in range(2))
    rows, columns = min(cut, shape[1] - 1), min(cut, shape[2] // 2)
    parts = [
        shell_sums(first[:, y, x], second[:, y, x], shells, (y, x))
        for y in (slice(0, rows), slice(rows, shape[1]))
        for x in (slice(0, columns), slice(columns, shape[2] // 2 + 1))
    ]
    whole = shell_sums(first, second, shells)
    np.testing.assert_allclose(sum(parts), whole, rtol=1e-12, atol=1e-12 * whole[1:].max())


def test_a_wave_falls_into_the_shell_of_its_physical_frequency():
    # 8 periods along an axis of 24 voxels of 2.5 A: 1 / 7.5 A, wherever that axis lies.
    sizes = {0: (2.5, 1.0, 1.0), 1: (1.0, 2.5, 1.0), 2: (1.0, 1.0, 2.5)}
    for axis, voxel in sizes.items():
        shape = [40, 40, 40]
        shape[axis] = 24
        shells = shells_of(shape, voxel)
        phase = 2 * np.pi * 8 * np.arange(24) / 24
        wave = np.cos(phase).reshape([-1 if a == axis else 1 for a in range(3)])
        spectrum = transform(np.broadcast_to(wave, shape))
        power = shell_sums(spectrum, spectrum, shells)[1]
        found = shells.frequency_per_angstrom[int(power[:-1].argmax())]
        assert abs(found - 1 / 7.5) <= shells.width_per_angstrom / 2
        # A single wave has a single shell: the rest is float32 rounding.
        assert power.max() == pytest.approx(power.sum(), rel=1e-6)


def test_shells_end_at_nyquist_of_the_coarsest_axis():
    shells = Shells(shape=(30, 64, 64), voxel_size_angstrom=(3.0, 1.0, 1.0))
    assert shells.nyquist_per_angstrom == pytest.approx(1 / 6)
    assert shells.frequency_per_angstrom[-1] <= 1 / 6 + 1e-9
    assert shells.frequency_per_angstrom[-1] + shells.width_per_angstrom > 1 / 6
    assert shells.width_per_angstrom == pytest.approx(1 / 90)


def test_an_even_cube_has_half_its_edge_in_shells():
    assert Shells(shape=(64, 64, 64), voxel_size_angstrom=(1.1, 1.1, 1.1)).count == 33
    assert Shells(shape=(65, 65, 65), voxel_size_angstrom=(1.1, 1.1, 1.1)).count == 33


def test_fsc_is_symmetric_and_blind_to_scale():
    shells = Shells(shape=(20, 20, 20), voxel_size_angstrom=(1.0, 1.0, 1.0))
    rng = np.random.default_rng(3)
    signal = rng.normal(size=shells.shape)
    first, second = (transform(signal + rng.normal(size=shells.shape)) for _ in range(2))
    curve = fsc_of_sums(shell_sums(first, second, shells))
    swapped = fsc_of_sums(shell_sums(second, first, shells))
    np.testing.assert_array_equal(curve, swapped)
    scaled = fsc_of_sums(shell_sums(first * np.float32(8.0), -second / 4, shells))
    # Powers of two change no bits of the products; the sign turns the curve over.
    np.testing.assert_allclose(scaled[1:], -curve[1:], rtol=1e-12)


def test_a_shell_without_power_correlates_with_nothing():
    sums = np.ones((3, 5))
    sums[:, 2] = 0
    assert fsc_of_sums(sums).tolist() == [1, 1, 0, 1]
