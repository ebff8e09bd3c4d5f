"""The amplitude of one end of a cone against the full-grid double cone."""

import numpy as np
import pytest
import torch

from distres.errors import UsageError
from distres.kernels.conebox import LATTICE_VOX, Cone, cone_box, cone_span, lattice_box
from distres.kernels.cones import ConeSpectrum, band_table
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
    full = one_sided_amplitude(riesz, band, cone, oversampling=1000.0).numpy()
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


@pytest.mark.parametrize("index", [0, 5, 33, 80])
def test_blocks_of_one_volume_sample_its_amplitude_at_the_same_places(index):
    """A packet of waves in the middle of 96 voxels, and 64 of these that hold it.

    It has fallen to exp(-0.02 28^2) = 2e-7 where it is cut. What reaches around a block is the
    filter's response: over 32 voxels its sinc has fallen to 1 / (pi 0.14 32) of the peak, and its
    edge of 0.04 cycles brings that down by 1 / ((2 32 0.04)^2 - 1): 1.3 % in all. A block off the
    lattice has samples elsewhere.
    """
    axis = half_sphere(81)[index]
    grid = np.indices((96,) * 3) - 48
    wave = np.cos(2 * np.pi * 0.2 * np.tensordot(axis, grid, axes=1))
    packet = torch.from_numpy((wave * np.exp(-0.02 * (grid**2).sum(axis=0))).astype(np.float32))
    cone, band = Cone(axis=tuple(axis), edge_degrees=10.0), Band.octave(0.14, 0.04)
    whole, on, off = (
        one_sided_amplitude(divided_spectrum(block, UNIT), band, cone, oversampling=1.2).numpy()
        for block in (packet, packet[16:80, 16:80, 16:80], packet[20:84, 20:84, 20:84])
    )
    samples = [n * LATTICE_VOX // 96 for n in whole.shape]
    assert [n * LATTICE_VOX // 64 for n in on.shape] == samples
    # A block begins 16 voxels, a period of the lattice, after the whole.
    same = whole[tuple(slice(k, k + n) for k, n in zip(samples, on.shape, strict=True))]
    assert np.abs(same - on).max() < 0.013 * whole.max()
    assert np.abs(same - off).max() > 0.2 * whole.max()


@pytest.mark.parametrize("oversampling", [1.0, 1.25, 2.0])
@pytest.mark.parametrize("edge", [16, 64, 112, 160, 208])
def test_a_period_of_the_lattice_holds_as_many_samples_in_every_block(edge, oversampling):
    """As in a block so long that bins are no matter, but for those a band begins or ends in."""
    band = Band.octave(0.2, 0.04)
    for axis in half_sphere(46)[::5]:
        where = UNIT, band.start, band.stop, Cone(axis=tuple(axis), edge_degrees=10.0)
        boxes = {}
        for n in (edge, 4096):
            size = cone_box((n,) * 3, *where)[1]
            box = lattice_box(size, (n,) * 3, cone_span(*where), oversampling)
            assert all(s <= m <= n for s, m in zip(size, box, strict=True))
            boxes[n] = np.array(box) * LATTICE_VOX / n
        assert (boxes[edge] % 1 == 0).all()
        if edge >= 64 and oversampling > 1:
            assert np.array_equal(boxes[edge], boxes[4096])


def test_the_power_of_a_band_is_the_mean_square_of_its_amplitude():
    """Parseval: exact, whatever the box. Bands are tables of float32, twice the gain."""
    block = torch.from_numpy(scene(size=40))
    riesz = divided_spectrum(block, UNIT)
    cone = Cone(axis=tuple(half_sphere(81)[20]), edge_degrees=10.0)
    bands = [Band.octave(f, RAMP) for f in (0.1, 0.2)]
    tables = [band_table(band, UNIT, block.device) for band in bands]
    cut = ConeSpectrum.of(riesz, cone, bands[0].start, bands[1].stop)
    squares = [
        float(cut.amplitude(*pair).double().square().mean())
        for pair in zip(bands, tables, strict=True)
    ]
    found = cut.powers(torch.stack(tables).double().square()).numpy()
    np.testing.assert_allclose(found, squares, rtol=1e-5)


@pytest.mark.parametrize("sign", [1.0, -1.0])
@pytest.mark.parametrize("axis", [0, 1, 2])
def test_both_ends_of_an_axis_have_half_of_its_highest_frequency(axis, sign):
    """The alternating wave has one coefficient; each end of a cone along the axis sees half."""
    ones = np.ones((16, 20, 24), dtype=np.float32)
    alternating = ones * np.cos(np.pi * np.indices(ones.shape)[axis]).astype(np.float32)
    riesz = divided_spectrum(torch.from_numpy(alternating), UNIT)
    direction = [0.0, 0.0, 0.0]
    direction[axis] = sign
    amplitude = one_sided_amplitude(riesz, Band.octave(0.4, RAMP), Cone(axis=tuple(direction)))
    torch.testing.assert_close(amplitude, torch.ones_like(amplitude), atol=1e-3, rtol=0)


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
