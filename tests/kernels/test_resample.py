import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from distres.kernels.resample import (
    HALVING_HALO,
    HALVING_PASS_FREQ_VOX,
    HALVING_STOP_FREQ_VOX,
    halve,
    halve_volume,
    halving_taps,
)


def response(freq_vox):
    """Frequency response of the taps along one axis, from their definition."""
    offsets = np.arange(-HALVING_HALO, HALVING_HALO + 1)
    return np.cos(2 * np.pi * np.outer(np.atleast_1d(freq_vox), offsets)) @ halving_taps()


def test_the_response_is_flat_below_a_fifth_and_gone_above_three_tenths():
    passed = np.linspace(0, HALVING_PASS_FREQ_VOX, 400)
    # Along the diagonal the three axes multiply: the third power is the worst direction.
    assert np.abs(response(passed) ** 3 - 1).max() < 1e-3
    stopped = np.linspace(HALVING_STOP_FREQ_VOX, 0.5, 400)
    assert np.abs(response(stopped)).max() < 1e-3
    assert response(0.0)[0] == pytest.approx(1, abs=1e-12)
    assert response(0.5)[0] == pytest.approx(0, abs=1e-12)


@pytest.mark.parametrize(
    "freq_vox", [(0.0, 0.0, 0.0), (0.19, 0, 0), (0, 0.2, 0), (0.11, 0.12, 0.1), (0.2, 0.2, 0.2)]
)
def test_a_plane_wave_below_the_band_edge_stays_where_it_is(freq_vox):
    z, y, x = np.ogrid[:96, :80, :88]
    phase = 2 * np.pi * (freq_vox[0] * z + freq_vox[1] * y + freq_vox[2] * x) + 0.3
    wave = np.cos(phase).astype(np.float32)
    coarse = halve_volume(wave)
    assert coarse.shape == (48, 40, 44)
    # Reflected edges are no plane wave: compare where the filter sees the wave alone.
    inside = (slice(HALVING_HALO // 2 + 1, -HALVING_HALO // 2),) * 3
    np.testing.assert_allclose(coarse[inside], wave[::2, ::2, ::2][inside], atol=1e-3)


@pytest.mark.parametrize("axis", [0, 1, 2])
@pytest.mark.parametrize("freq", [0.3, 0.37, 0.5])
def test_a_plane_wave_that_would_alias_is_removed(axis, freq):
    shape = [80, 80, 80]
    index = np.moveaxis(np.arange(80.0)[:, None, None], 0, axis)
    wave = np.broadcast_to(np.cos(2 * np.pi * freq * index), shape).astype(np.float32)
    coarse = halve_volume(wave)
    inside = (slice(HALVING_HALO // 2 + 1, -HALVING_HALO // 2),) * 3
    assert np.abs(coarse[inside]).max() < 1e-3


@given(data=st.data())
@settings(max_examples=25, deadline=None)
def test_a_tile_gives_the_bits_of_the_whole_volume(data):
    shape = data.draw(st.tuples(*[st.integers(2, 60)] * 3))
    volume = np.random.default_rng(0).normal(size=shape).astype(np.float32)
    whole = halve_volume(volume)
    read, missing, out = [], [], []
    for n in shape:
        low = 2 * data.draw(st.integers(0, (n - 1) // 2))
        high = data.draw(st.integers(low + 1, n))
        first, last = max(low - HALVING_HALO, 0), min(high + HALVING_HALO, n)
        read.append(slice(first, last))
        missing.append((HALVING_HALO - (low - first), HALVING_HALO - (last - high)))
        out.append(slice(low // 2, -(-high // 2)))
    tile = halve(volume[tuple(read)], missing=missing)
    np.testing.assert_array_equal(tile, whole[tuple(out)])


def test_a_constant_stays_constant_to_the_edges_and_odd_lengths_round_up():
    coarse = halve_volume(np.full((7, 33, 2), 3.0, np.float32))
    assert coarse.shape == (4, 17, 1)
    # 25 float32 operations an axis on numbers near 3.
    np.testing.assert_allclose(coarse, 3.0, rtol=25 * 3 * 6e-8)


def test_noise_keeps_the_power_of_its_lower_half_band():
    noise = np.random.default_rng(3).normal(size=(96, 96, 96)).astype(np.float32)
    coarse = halve_volume(noise)
    # White noise through the filter keeps the sum of the squared taps along each axis.
    expected = float((halving_taps() ** 2).sum()) ** 3
    # 48^3 voxels, nearly independent: relative spread of the variance sqrt(2 / 110592) = 0.4 %.
    assert coarse.var() == pytest.approx(expected, rel=0.03)
