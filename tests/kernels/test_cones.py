"""The amplitude of one end of a cone against the full-grid double cone."""

import numpy as np
import pytest
import torch

from distres.errors import UsageError
from distres.kernels.cones import Cone, ConeSpectrum, band_table, cone_box
from distres.kernels.directions import half_sphere
from distres.kernels.monogenic import Band
from distres.kernels.riesz import divided_spectrum

UNIT = (1.0, 1.0, 1.0)
RAMP = 0.02


def scene(size=48, seed=0):
    """Points blurred to a falling spectrum, and noise."""
    rng = np.random.default_rng(seed)
    points = (rng.random((size,) * 3) < 0.02) * rng.uniform(1, 5, (size,) * 3)
    squared = sum(np.meshgrid(*[np.fft.fftfreq(size) ** 2] * 3, indexing="ij"))
    blurred = np.fft.ifftn(np.fft.fftn(points) * np.exp(-20 * squared)).real
    return (blurred + 0.05 * rng.standard_normal(blurred.shape)).astype(np.float32)


def one_sided_amplitude(riesz, band, cone, **options):
    """What a test of MonoDir looks at, for a single band."""
    cut = ConeSpectrum.of(riesz, cone, band.start, band.stop)
    table = band_table(band, riesz.voxel_angstrom, riesz.spectrum.device)
    return cut.amplitude(band, table, **options)


def double_cone_amplitude(block, band, cone):
    """The published form: Riesz amplitude of both ends of the cone, on the full grid."""
    u = np.meshgrid(*[np.fft.fftfreq(n) for n in block.shape], indexing="ij")
    norm = np.sqrt(sum(a * a for a in u))
    along = np.abs(sum(a * c for a, c in zip(u, cone.axis, strict=True)))
    gain = cone.gain(torch.from_numpy(along), torch.from_numpy(norm)).numpy()
    spectrum = np.fft.fftn(block) * band.gain(torch.from_numpy(norm)).numpy() * gain
    power = np.fft.ifftn(spectrum).real ** 2
    for a in u:
        power += np.fft.ifftn(-1j * a / np.where(norm > 0, norm, 1) * spectrum).real ** 2
    return np.sqrt(power)


@pytest.mark.parametrize("edge", [5.0, 10.0])
@pytest.mark.parametrize("index", [0, 3, 20, 55, 80])
def test_the_one_sided_cone_gives_the_amplitude_of_the_double_cone(index, edge):
    """Correlation 0.999 at 15 degrees: the Riesz component across the axis is what differs."""
    block = scene()
    cone = Cone(axis=tuple(half_sphere(81)[index]), edge_degrees=edge)
    band = Band.octave(0.12, RAMP)
    riesz = divided_spectrum(torch.from_numpy(block), UNIT)
    _, size = cone_box(riesz.shape, UNIT, band.start, band.stop, cone)
    full = one_sided_amplitude(riesz, band, cone, oversampling=48 / min(size) + 1).numpy()
    assert full.shape == block.shape
    expected = double_cone_amplitude(block, band, cone)
    assert np.corrcoef(full.ravel(), expected.ravel())[0, 1] >= 0.999
    assert np.median(np.abs(full - expected)) < 0.015 * expected.mean()


def test_the_small_box_samples_the_same_amplitude():
    block = torch.from_numpy(scene(size=40))
    riesz = divided_spectrum(block, UNIT)
    band = Band.octave(0.1, RAMP)
    cone = Cone(axis=(1.0, 0.0, 0.0))
    _, size = cone_box(riesz.shape, UNIT, band.start, band.stop, cone)
    assert np.prod(size) < 0.06 * 40**3
    small = one_sided_amplitude(riesz, band, cone)
    full = one_sided_amplitude(riesz, band, cone, oversampling=1000.0)
    common = [int(np.gcd(40, n)) for n in small.shape]
    few = small[tuple(slice(None, None, n // c) for n, c in zip(small.shape, common, strict=True))]
    many = full[tuple(slice(None, None, 40 // c) for c in common)]
    torch.testing.assert_close(few, many, atol=1e-5, rtol=1e-4)


def test_a_wave_counts_in_its_own_cone_only():
    """cos has amplitude 1 along its direction, and none 40 degrees away."""
    shape, index = (40, 36, 45), (7, 2, -3)
    grid = np.meshgrid(*[np.arange(n) / n for n in shape], indexing="ij")
    wave = np.cos(2 * np.pi * sum(k * g for k, g in zip(index, grid, strict=True)) + 0.4)
    riesz = divided_spectrum(torch.from_numpy(wave.astype(np.float32)), UNIT)
    u = np.array([k / n for k, n in zip(index, shape, strict=True)])
    band = Band.octave(float(np.linalg.norm(u)) / 1.4, RAMP)  # inside both edges
    axis = u / np.linalg.norm(u)
    for sign in (1, -1):
        amplitude = one_sided_amplitude(riesz, band, Cone(axis=tuple(sign * axis)))
        assert float((amplitude - 1).abs().max()) < 1e-3
    other = np.cross(axis, [1.0, 0, 0])
    away = np.cos(np.radians(40)) * axis + np.sin(np.radians(40)) * other / np.linalg.norm(other)
    assert float(one_sided_amplitude(riesz, band, Cone(axis=tuple(away))).max()) < 1e-4


@pytest.mark.parametrize("shape", [(32, 32, 32), (31, 20, 45), (4, 40, 30)])
@pytest.mark.parametrize("frequency", [0.005, 0.1, 0.3, 0.499])
def test_no_size_and_no_frequency_gives_nan(shape, frequency):
    riesz = divided_spectrum(torch.randn(shape, generator=torch.manual_seed(0)) + 3, UNIT)
    for axis in ((1.0, 0.0, 0.0), (0.6, 0.8, 0.0), (0.0, 0.0, -1.0)):
        amplitude = one_sided_amplitude(riesz, Band.octave(frequency, RAMP), Cone(axis=axis))
        assert bool(torch.isfinite(amplitude).all())


def test_a_cone_that_is_none_is_refused():
    with pytest.raises(UsageError, match="no cone"):
        Cone(axis=(1.0, 0.0, 0.0), half_angle_degrees=2.0, edge_degrees=10.0)
