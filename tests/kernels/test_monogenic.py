"""The monogenic amplitude against what it must be for waves, rotations, scaling and odd sizes."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from distres.errors import UsageError
from distres.kernels.monogenic import Band, box_shape, monogenic_amplitude, smooth_amplitude
from distres.kernels.riesz import riesz_block

RAMP = 0.02
UNIT = (1.0, 1.0, 1.0)
SHAPES = [(32, 32, 32), (31, 33, 35), (40, 12, 27), (5, 64, 48), (1, 32, 30)]


def noise(shape, seed=0):
    return torch.from_numpy(np.random.default_rng(seed).standard_normal(shape, dtype=np.float32))


def wave(shape, index, phase):
    """A plane wave that fits the box: `index` periods along each axis."""
    grid = np.meshgrid(*[np.arange(n) / n for n in shape], indexing="ij")
    argument = 2 * np.pi * sum(k * g for k, g in zip(index, grid, strict=True)) + phase
    return torch.from_numpy(np.cos(argument).astype(np.float32))


@settings(max_examples=40, deadline=None)
@given(
    index=st.tuples(*[st.integers(-9, 9)] * 3),
    phase=st.floats(0, 2 * np.pi),
    shape=st.sampled_from([(32, 32, 32), (31, 36, 41), (48, 20, 30)]),
    voxel=st.sampled_from([UNIT, (1.0, 1.4, 0.8)]),
)
def test_a_unit_plane_wave_has_amplitude_one_in_every_direction(index, phase, shape, voxel):
    frequency = np.linalg.norm([k / (n * d) for k, n, d in zip(index, shape, voxel, strict=True)])
    if frequency == 0:
        return
    low = frequency / 1.4
    if frequency < low + RAMP / 2:
        return  # on the lower edge of the band
    riesz = riesz_block(wave(shape, index, phase), voxel)
    amplitude = monogenic_amplitude(riesz, Band.octave(low, RAMP))
    assert float((amplitude - 1).abs().max()) < 1e-3
    extent = tuple(n * d for n, d in zip(shape, voxel, strict=True))
    smooth = smooth_amplitude(amplitude, extent, Band.smoother(low), shape)
    assert tuple(smooth.shape) == shape
    assert float((smooth - 1).abs().max()) < 1e-3


def test_at_the_resolution_tested_half_of_a_wave_passes():
    """The lower edge is centred on the frequency itself."""
    riesz = riesz_block(wave((40, 40, 40), (6, 0, 0), 0.1), UNIT)
    amplitude = monogenic_amplitude(riesz, Band.octave(6 / 40, RAMP))
    assert float((amplitude - 0.5).abs().max()) < 1e-3


def test_the_edge_at_the_faces_takes_what_lies_there_and_nothing_else():
    band = Band.high_pass(0.2, RAMP)
    inside = riesz_block(wave((40, 40, 40), (17, 3, 0), 0.1), UNIT)
    kept = monogenic_amplitude(inside, band, face_ramp_freq_vox=0.05)
    assert float((kept - 1).abs().max()) < 1e-3
    at_face = riesz_block(wave((40, 40, 40), (20, 3, 0), 0.1), UNIT)
    gone = monogenic_amplitude(at_face, band, face_ramp_freq_vox=0.05)
    assert float(gone.max()) < 1e-5


def test_a_wave_outside_the_band_has_no_amplitude():
    riesz = riesz_block(wave((32, 32, 32), (3, 1, 0), 0.3), UNIT)
    amplitude = monogenic_amplitude(riesz, Band.octave(0.2, RAMP))
    assert float(amplitude.max()) < 1e-5


@pytest.mark.parametrize("frequency", [0.03, 0.11, 0.24, 0.4])
def test_the_small_box_samples_the_amplitude_of_the_full_grid(frequency):
    """The filter is the same, so samples that fall on voxels agree to float32 rounding."""
    block = noise((48, 48, 48))
    riesz = riesz_block(block, UNIT)
    band = Band.octave(frequency, RAMP)
    small = monogenic_amplitude(riesz, band)
    full = reference_amplitude(block.numpy(), band)
    step = 48 // np.gcd(48, small.shape[0]) if small.shape[0] < 48 else 1
    every = small.shape[0] * step // 48
    np.testing.assert_allclose(
        small[::every, ::every, ::every], full[::step, ::step, ::step], atol=2e-5
    )


def reference_amplitude(block, band):
    """The textbook: four full-grid inverse transforms in double precision."""
    shape = block.shape
    u = np.meshgrid(*[np.fft.fftfreq(n) for n in shape], indexing="ij")
    norm = np.sqrt(sum(a * a for a in u))
    spectrum = np.fft.fftn(block.astype(np.float64)) * band.gain(torch.from_numpy(norm)).numpy()
    power = np.fft.ifftn(spectrum).real ** 2
    for axis, a in enumerate(u):
        odd = np.where(np.isclose(a, -0.5), 0, a) / np.where(norm > 0, norm, 1)
        power += np.fft.ifftn(-1j * odd * spectrum).real ** 2
        assert axis < 3
    return np.sqrt(power)


def test_high_pass_equals_the_textbook():
    block = noise((24, 27, 30))
    band = Band.high_pass(0.2, RAMP)
    amplitude = monogenic_amplitude(riesz_block(block, UNIT), band)
    np.testing.assert_allclose(amplitude, reference_amplitude(block.numpy(), band), atol=2e-5)


@pytest.mark.parametrize("axes", [(0, 1), (1, 2), (0, 2)])
@pytest.mark.parametrize("size", [32, 33])
def test_rotating_the_input_by_90_degrees_rotates_the_output(axes, size):
    """A rotation moves voxel 0 to the far end; rolling by one puts the origin back."""
    block = noise((size,) * 3)

    def turn(a):
        turned = torch.rot90(a, 1, axes)
        return torch.roll(turned, 1, axes[0])

    band = Band.octave(0.25, RAMP)
    expected = turn(monogenic_amplitude(riesz_block(block, UNIT), band))
    found = monogenic_amplitude(riesz_block(turn(block), UNIT), band)
    assert float((expected - found).abs().max()) < 1e-5


def test_scaling_the_input_scales_the_amplitude():
    block = noise((32, 30, 28))
    band = Band.octave(0.15, RAMP)
    one = monogenic_amplitude(riesz_block(block, UNIT), band)
    many = monogenic_amplitude(riesz_block(block * 1e4, UNIT), band)
    torch.testing.assert_close(many, one * 1e4, rtol=1e-4, atol=1e-1)


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("frequency", [1e-3, 0.01, 0.02, 0.25, 0.4999, 0.5, 0.6, 0.9])
@pytest.mark.parametrize("kind", [Band.octave, Band.high_pass])
def test_no_frequency_and_no_size_gives_nan(shape, frequency, kind):
    riesz = riesz_block(noise(shape) + 5.0, UNIT)
    amplitude = monogenic_amplitude(riesz, kind(frequency, RAMP))
    smooth = smooth_amplitude(
        amplitude, tuple(map(float, shape)), Band.low_pass(frequency, RAMP), shape
    )
    assert bool(torch.isfinite(amplitude).all())
    assert bool(torch.isfinite(smooth).all())
    assert tuple(smooth.shape) == shape


def test_a_constant_has_no_amplitude_in_a_band_but_its_own_value_without_one():
    riesz = riesz_block(torch.full((16, 17, 18), -3.0), UNIT)
    assert float(monogenic_amplitude(riesz, Band.octave(0.01, RAMP)).max()) < 1e-5
    torch.testing.assert_close(monogenic_amplitude(riesz, Band()), torch.full((16, 17, 18), 3.0))


def test_a_band_takes_only_the_box_it_needs():
    assert box_shape((200, 200, 200), UNIT, 0.52) == (200, 200, 200)
    for top in (0.05, 0.2, 0.45):
        box = box_shape((200, 96, 7), (1.0, 2.0, 1.0), top)
        for n, d, m in zip((200, 96, 7), (1.0, 2.0, 1.0), box, strict=True):
            assert m == n or 2 * top * n * d < m <= 2.5 * top * n * d + 8


def test_smoothing_onto_a_small_box_samples_the_full_answer():
    amplitude = noise((40, 40, 40)).abs()
    extent = (40.0, 40.0, 40.0)
    low_pass = Band.low_pass(0.1, RAMP)
    full = smooth_amplitude(amplitude, extent, low_pass, (40, 40, 40))
    small = smooth_amplitude(amplitude, extent, low_pass, (20, 10, 20))
    torch.testing.assert_close(small, full[::2, ::4, ::2], atol=1e-5, rtol=1e-4)


@pytest.mark.parametrize("cutoff", [0.1, 0.3, 0.7])
@pytest.mark.parametrize("shape", [(40, 41, 42), (60, 41, 30)])
def test_a_part_of_a_smoothed_field_is_that_part_of_all_of_it(cutoff, shape):
    amplitude = noise((40, 41, 42)).abs()
    low_pass = Band.low_pass(cutoff, RAMP)
    extent = (40.0, 41.0, 42.0)
    full = smooth_amplitude(amplitude, extent, low_pass, shape)
    keep = (slice(3, 20), slice(0, 41), slice(11, 30))
    part = smooth_amplitude(amplitude, extent, low_pass, shape, keep)
    torch.testing.assert_close(part, full[keep], atol=1e-5, rtol=1e-4)


def test_smoothing_keeps_the_mean():
    amplitude = noise((30, 31, 32)).abs()
    smooth = smooth_amplitude(amplitude, (30.0, 31.0, 32.0), Band.low_pass(0.2, RAMP), (60, 31, 15))
    assert float(smooth.mean()) == pytest.approx(float(amplitude.mean()), rel=1e-5)


def test_edges_that_do_not_rise_are_refused():
    with pytest.raises(UsageError, match="must rise"):
        Band(start=0.3, low=0.2)


@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")
def test_cuda_gives_the_answer_of_the_cpu():
    block = noise((40, 41, 42))
    for band in (Band.octave(0.1, RAMP), Band.octave(0.3, RAMP), Band.high_pass(0.2, RAMP)):
        on_cpu = monogenic_amplitude(riesz_block(block, UNIT), band)
        on_gpu = monogenic_amplitude(riesz_block(block.cuda(), UNIT), band).cpu()
        torch.testing.assert_close(on_gpu, on_cpu, atol=1e-5, rtol=1e-4)
