import numpy as np
import pytest

from distres.kernels.deepres_labels import Transfer
from distres.kernels.deepres_synthesis import (
    RIM,
    Augmentation,
    Piece,
    density_scale,
    draw_crops,
    draw_transfer,
    filtered_map,
    noise_fields,
)

EDGE = 48
SILENT = Augmentation(
    noise=0, silent=1, coloured=0, decay=0, sharpen=0, dip=0, scramble=0, offset=0, masked=0
)


@pytest.fixture(scope="module")
def piece():
    """A ball of white noise: its spectrum after filtering is the filter's."""
    rng = np.random.default_rng(0)
    axis = np.arange(EDGE) - EDGE / 2
    radius = np.sqrt(axis[:, None, None] ** 2 + axis[:, None] ** 2 + axis**2)
    distance = np.digitize(radius, [10, 12, 14], right=True).astype(np.uint8)
    density = rng.standard_normal((EDGE,) * 3) * (radius < 13)
    return Piece(density=density.astype(np.float16), distance=distance)


def whole(piece, transfer, **more):
    return filtered_map(piece, transfer, 5.0, voxel_size_angstrom=1.0, crop_vox=17, **more)


def test_a_filtered_map_has_the_spectrum_of_its_gain_and_unit_scale(piece):
    transfer = Transfer(resolution_angstrom=4.0, b_factor=50.0)
    got = whole(piece, transfer)
    assert density_scale(got.density, got.distance) == pytest.approx(1, rel=1e-5)
    before = np.fft.rfftn(piece.density.astype(np.float64))
    after = np.fft.rfftn(got.density.astype(np.float64))
    k = np.meshgrid(
        np.fft.fftfreq(EDGE), np.fft.fftfreq(EDGE), np.fft.rfftfreq(EDGE), indexing="ij"
    )
    radius = np.sqrt(sum(axis**2 for axis in k))
    expected = transfer.gain(radius, 1.0)
    gain = (after / before).real
    # The gain is read from 4096 radial bins: the tail's slope of 80 times a bin of 2e-4 is 0.017.
    assert np.allclose(gain / gain[0, 0, 0], expected, atol=0.02)


def test_scrambling_keeps_everything_below_the_cutoff(piece):
    transfer = Transfer(resolution_angstrom=5.0)
    plain = np.fft.rfftn(whole(piece, transfer).density)
    mixed = np.fft.rfftn(whole(piece, transfer, scramble=np.random.default_rng(1)).density)
    k = np.sqrt(
        np.fft.fftfreq(EDGE)[:, None, None] ** 2
        + np.fft.fftfreq(EDGE)[:, None] ** 2
        + np.fft.rfftfreq(EDGE) ** 2
    )
    below, beyond = k < 0.19, k > 0.23
    ratio = mixed[below] / plain[below]
    # One factor for all: the scale. float32 transforms of 1e5 values.
    assert np.allclose(ratio, ratio.mean(), rtol=1e-2)
    assert np.abs(plain[beyond]).max() < 1e-3 * np.abs(plain[below]).mean()
    assert np.abs(mixed[beyond]).max() > 0.01 * np.abs(plain[below]).mean()


def test_crops_without_nuisances_are_turned_parts_of_the_map(piece):
    one = whole(piece, Transfer(resolution_angstrom=3.0))
    crops = draw_crops([one] * 6, [], SILENT, 17, np.random.default_rng(2))
    assert crops.density.shape == (6, 1, 17, 17, 17)
    assert crops.weight.shape == (6, 5, 5, 5)
    assert np.all(crops.label_angstrom == 5.0)
    # The middle of a crop lies on the structure, and each value occurs in the map.
    assert np.all(crops.weight[:, 2, 2, 2] == 1)
    assert np.isin(crops.density, one.density).all()
    assert len({crop.tobytes() for crop in crops.density}) == 6


def test_weights_turn_with_their_crop(piece):
    one = whole(piece, Transfer(resolution_angstrom=3.0))
    # Where the map says so itself, the turned weight must follow the turned crop.
    marked = np.where(one.distance <= RIM, 1.0, -1.0).astype(np.float32)
    crops = draw_crops(
        [type(one)(density=marked, distance=one.distance, centres=one.centres, label_angstrom=5.0)]
        * 20,
        [],
        SILENT,
        17,
        np.random.default_rng(3),
    )
    inner = crops.density[:, 0, 6:-6, 6:-6, 6:-6]
    assert np.array_equal(crops.weight, (inner > 0).astype(np.float32))
    assert 0.5 < crops.weight.mean() < 1


def test_noise_reaches_its_stated_level_and_no_more(piece):
    flat = whole(piece, Transfer(resolution_angstrom=3.0))
    quiet = type(flat)(
        density=np.zeros_like(flat.density),
        distance=flat.distance,
        centres=flat.centres,
        label_angstrom=5.0,
    )
    rng = np.random.default_rng(4)
    noisy = Augmentation(noise=0.25, silent=0.1, coloured=0.5, offset=0, masked=0)
    crops = draw_crops([quiet] * 400, noise_fields(rng), noisy, 17, rng)
    spread = crops.density.std(axis=(1, 2, 3, 4))
    # Uniform between 0 and 0.25, a tenth silent. Coloured noise in a crop varies more than white.
    assert 0.05 < np.mean(spread == 0) < 0.16
    white_or_near = np.sort(spread[spread > 0])
    assert np.median(white_or_near) == pytest.approx(0.125, rel=0.2)
    assert np.quantile(white_or_near, 0.9) == pytest.approx(0.225, rel=0.15)


@pytest.mark.parametrize("voxel", [1.0, 0.5])
def test_every_label_drawn_lies_in_its_range(voxel):
    rng = np.random.default_rng(5)
    augmentation = Augmentation(decay_b_factor=300 * voxel**2, sharpen_b_factor=-60 * voxel**2)
    labels = (2.3 * voxel, 14 * voxel)
    drawn = [draw_transfer(rng, augmentation, labels, voxel) for _ in range(400)]
    got = np.array([label for _, label in drawn])
    assert got.min() >= labels[0]
    assert got.max() <= labels[1]
    # Every octave occurs; sharpening amplifies no cutoff more than fivefold or so.
    for low in (2.3, 4.6, 9.2):
        assert np.mean((got > low * voxel) & (got < 1.5 * low * voxel)) > 0.1
    edge = [t.gain(np.array([1 / t.resolution_angstrom]), voxel)[0] for t, _ in drawn if not t.dip]
    assert max(edge) < 6


def test_noise_fields_have_unit_variance_and_their_colour():
    fields = noise_fields(np.random.default_rng(6))
    assert np.allclose([field.std() for field in fields], 1, rtol=1e-5)
    axis, half = np.fft.fftfreq(60), np.fft.rfftfreq(60)
    k = np.sqrt(axis[:, None, None] ** 2 + axis[:, None] ** 2 + half**2)
    # Odd ones are strong at low frequencies, even ones are cut off: none is white. The weakest
    # excess (3.2, width 0.05) has a mean power of 2.6 below 0.05, known to 13 % from 56 values.
    for number, field in enumerate(fields):
        power = np.abs(np.fft.rfftn(field)) ** 2
        low, high = power[k < 0.05].mean(), power[k > 0.55].mean()
        assert low > 1.5 * high if number % 2 else high < 1e-6 * low
