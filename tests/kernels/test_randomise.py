import numpy as np
import pytest
import scipy.fft
from hypothesis import given, settings
from hypothesis import strategies as st

from distres.kernels.randomise import phase_factors, random_words, randomise_phases
from distres.kernels.shells import ALL, Shells, fsc_of_sums, shell_sums

edge = st.integers(4, 13)


def shells_for(shape):
    return Shells(shape=shape, voxel_size_angstrom=(1.0, 1.0, 1.0))


@settings(max_examples=60, deadline=None)
@given(shape=st.tuples(edge, edge, edge), seed=st.integers(0, 2**32))
def test_the_inverse_stays_real_and_keeps_every_modulus(shape, seed):
    shells = shells_for(shape)
    volume = np.random.default_rng(0).normal(size=shape).astype(np.float32)
    spectrum = scipy.fft.rfftn(volume)
    turned = spectrum.copy()
    randomise_phases(turned, shells, first_shell=2, seed=seed, stream=1)
    back = scipy.fft.rfftn(scipy.fft.irfftn(turned, s=shape))
    # If the half space were not Hermitian, the inverse would drop part of it. Bound: float32
    # rounding of two transforms, 1e-6 of the largest coefficient.
    limit = 4e-6 * np.abs(spectrum).max()
    np.testing.assert_allclose(back, turned, rtol=0, atol=limit)
    np.testing.assert_allclose(np.abs(turned), np.abs(spectrum), rtol=0, atol=limit)


@settings(max_examples=40, deadline=None)
@given(shape=st.tuples(edge, edge, edge), cut=st.integers(1, 12))
def test_phases_do_not_depend_on_the_block_they_are_made_in(shape, cut):
    shells = shells_for(shape)
    ones = np.ones(shells.half_shape, np.complex64)
    whole = ones.copy()
    randomise_phases(whole, shells, first_shell=1, seed=5, stream=0)
    rows, columns = min(cut, shape[1] - 1), min(cut, shape[2] // 2)
    for y in (slice(0, rows), slice(rows, shape[1])):
        for x in (slice(0, columns), slice(columns, shape[2] // 2 + 1)):
            block = ones[:, y, x].copy()
            randomise_phases(block, shells, first_shell=1, seed=5, stream=0, part=(y, x))
            np.testing.assert_array_equal(block, whole[:, y, x])


def test_lower_shells_stay_as_they_are():
    shells = shells_for((16, 16, 16))
    block = np.ones(shells.half_shape, np.complex64)
    randomise_phases(block, shells, first_shell=5, seed=1, stream=0)
    for z in range(16):
        low = shells.plane(z) < 5
        assert (block[z][low] == 1).all()
        assert (block[z][~low] != 1).mean() > 0.9


def test_phases_are_uniform_and_streams_are_independent():
    shells = shells_for((48, 48, 48))
    streams = [
        np.stack([phase_factors(shells, z, ALL, seed, stream) for z in range(48)])[:, :, 1:-1]
        for seed, stream in ((1, 0), (1, 1), (2, 0))
    ]
    n = streams[0].size
    for factors in streams:
        # The mean of n independent unit vectors has components of SD 1/sqrt(2n); moments up to
        # the fourth vanish for a uniform phase. 5 SD: 1 in 1.7 million per component.
        for power in (1, 2, 3, 4):
            mean = (factors.astype(np.complex128) ** power).mean()
            assert abs(mean.real) < 5 / np.sqrt(2 * n)
            assert abs(mean.imag) < 5 / np.sqrt(2 * n)
    for first, second in ((0, 1), (0, 2), (1, 2)):
        product = (streams[first].astype(np.complex128) * streams[second].conj()).mean()
        assert abs(product) < 5 / np.sqrt(n)
    # Neighbours are independent too.
    shifted = (streams[0][:, :, 1:].astype(np.complex128) * streams[0][:, :, :-1].conj()).mean()
    assert abs(shifted) < 5 / np.sqrt(n)


def test_words_of_the_counter_do_not_repeat():
    words = random_words(np.arange(100_000, dtype=np.uint64), 1, 0)
    assert len(np.unique(words)) == words.size  # a collision has a chance of 3e-10


def test_randomised_halves_of_one_map_do_not_correlate():
    shells = shells_for((32, 32, 32))
    volume = np.random.default_rng(4).normal(size=shells.shape).astype(np.float32)
    halves = []
    for stream in (0, 1):
        spectrum = scipy.fft.rfftn(volume)
        randomise_phases(spectrum, shells, first_shell=4, seed=9, stream=stream)
        halves.append(spectrum)
    curve = fsc_of_sums(shell_sums(halves[0], halves[1], shells))
    n = shells.coefficients()[:-1]
    assert curve[1:4] == pytest.approx(1.0, abs=1e-6)
    # Products of unit vectors with independent phases: SD 1/sqrt(n) (equal moduli or not, since
    # the power weights of one noise map raise the variance by 2 = <|F|^4>/<|F|^2>^2).
    z = curve[4:] * np.sqrt(n[4:] / 2)
    assert np.abs(z).max() < 5
