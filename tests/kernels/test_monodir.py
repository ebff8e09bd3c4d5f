"""MonoDir on a block: what noise passes, which direction a wave counts in, symmetry, silence."""

import numpy as np
import pytest
import torch
from scipy import ndimage

from distres.kernels.directions import half_sphere
from distres.kernels.monodir import (
    NEVER_PASSED,
    Cones,
    Reader,
    decide_directions,
    octave_band,
    on_lattice,
)
from distres.kernels.monodir_noise import directional_noise, fill_means, thresholds_of
from distres.kernels.monores import plan_levels
from distres.kernels.noise_threshold import histogram_quantile
from distres.kernels.sweep import SweepState, resolution_list

UNIT = (1.0, 1.0, 1.0)
EDGE = 64
RESOLUTIONS = np.array([8.0, 6.0, 4.0, 3.0])


def white(seed, edge=EDGE):
    values = np.random.default_rng(seed).standard_normal((edge,) * 3, dtype=np.float32)
    return torch.from_numpy(values)


def cones(directions=None):
    chosen = half_sphere(46) if directions is None else directions
    return Cones(directions=chosen, half_angle_degrees=15.0, edge_degrees=5.0)


def one_level(resolutions=RESOLUTIONS):
    return plan_levels(resolutions, UNIT, 1)[0]


def everywhere(edge=EDGE):
    return (slice(0, edge),) * 3


def measured_noise(block, *, tests=None, chosen=None, places=None):
    """Measure noise in the whole block; at all tests unless places are given."""
    region = torch.ones(block.shape, dtype=torch.bool)
    tests = tests or one_level()
    places = range(len(tests.frequencies)) if places is None else places
    return directional_noise(
        block, region, everywhere(len(block)), UNIT, tests, places, chosen or cones()
    )


def means_of(noise):
    return noise.sums / noise.samples


def decided(block, thresholds, *, tests=None, chosen=None, step=4):
    """Decide on a lattice over the whole block; (directions, z, y, x) index of the last pass."""
    chosen = chosen or cones()
    axis = np.arange(0, len(block), step, dtype=float)
    count = len(axis) ** 3
    state = SweepState.start(torch.ones((len(chosen), count), dtype=torch.bool))
    decide_directions(
        block,
        [axis] * 3,
        torch.arange(count),
        UNIT,
        tests or one_level(),
        chosen,
        thresholds,
        state,
    )
    return state.last.view(len(chosen), *[len(axis)] * 3).numpy()


def test_a_single_test_passes_the_share_of_noise_it_promises():
    """Thresholds from one block, tried on another, all 46 directions.

    About 46 / 2.8 independent cones of 64^3 / (2 sqrt(pi) 2.4)^3 / 2 = 210 values at 6 A: 3500 in
    all, of which 10 % pass with an SD of 0.5 %. Three of them, and 1 % for the means' own error.
    """
    noise = measured_noise(white(0), tests=one_level(np.array([6.0])))
    quantile = histogram_quantile(noise.counts[0], 0.9, 1.0)
    thresholds = thresholds_of(means_of(noise), np.array([quantile]))
    last = decided(white(1), thresholds, tests=one_level(np.array([6.0])))
    assert abs(np.mean(last == 0) - 0.1) < 0.025


def test_white_noise_is_alike_in_all_directions():
    """Means of 210 values or more (8 A: 90) with a relative SD of a quarter: 3 % at 8 A."""
    means = means_of(measured_noise(white(2)))
    assert means.std(axis=0).max() < 0.05 * means.mean()
    np.testing.assert_allclose(means / means.mean(axis=0), 1, atol=0.12)


def test_a_wave_passes_in_its_own_direction_only():
    """5 A, a whole number of waves: in the bands from 8 A on, beyond those from 4 A on."""
    index = np.array([0, 8, 10])
    grid = np.indices((EDGE,) * 3) / EDGE
    wave = np.cos(2 * np.pi * np.tensordot(index, grid, axes=1))
    directions = half_sphere(81)
    thresholds = np.full((81, len(RESOLUTIONS)), 0.5)
    block = torch.from_numpy(wave.astype(np.float32))
    last = decided(block, thresholds, chosen=cones(directions))
    angle = np.degrees(np.arccos(np.abs(directions @ (index / np.linalg.norm(index)))))
    assert (last[angle < 11] == 1).all()
    assert (last[angle > 18] == -1).all()


def test_turning_the_block_turns_the_answer():
    """A quarter turn from y to x: floating-point ties aside, every decision goes along."""
    block = white(3) + 3 * torch.from_numpy(ndimage.gaussian_filter(white(4).numpy(), 1.5))
    directions = half_sphere(46)[3:9]
    turned = np.stack([directions[:, 0], -directions[:, 2], directions[:, 1]], axis=1)
    thresholds = np.full((6, len(RESOLUTIONS)), 0.08)
    first = decided(block, thresholds, chosen=cones(directions), step=1)
    # Lattice point (y, x) goes to (-x, y); index 0 stays where it is on a periodic block.
    moved = torch.flip(block.transpose(1, 2), [1]).roll(1, 1).contiguous()
    second = decided(moved, thresholds, chosen=cones(turned), step=1)
    back = np.flip(np.roll(second, -1, 2), 2).swapaxes(2, 3)
    assert 0.05 < np.mean(first >= 2) < 0.95
    assert np.mean(first == back) > 0.9999


def test_the_answer_does_not_depend_on_the_scale_of_the_map():
    block, few = white(5), cones(half_sphere(46)[:8])
    answers = []
    for factor in (1.0, 3e4):
        noise = measured_noise(white(6) * factor, chosen=few)
        quantiles = [histogram_quantile(c, 0.9, 1.0) for c in noise.counts]
        thresholds = thresholds_of(means_of(noise), np.array(quantiles))
        answers.append(decided(block * factor, thresholds, chosen=few))
    assert np.mean(answers[0] == answers[1]) > 0.9999


def test_tests_whose_noise_is_not_measured_get_what_measuring_would_give():
    """Noise that falls off by a factor of four from 8 to 3 A; 6 A from 8 and 4 A.

    A mean of 210 values with a relative SD of a quarter is uncertain by 1.7 %. Both have the same
    noise and differ by less than that; the mean over 46 directions by a fifth of it.
    """
    u = np.meshgrid(*[np.fft.fftfreq(EDGE)] * 3, indexing="ij")
    gain = 4.0 ** (-sum(a * a for a in u) / (1 / 3**2 - 1 / 8**2))
    falling = np.fft.ifftn(np.fft.fftn(white(10).numpy()) * gain).real.astype("f4")
    block, places = torch.from_numpy(falling), (0, 2, 3)
    every = means_of(measured_noise(block))
    some = measured_noise(block, places=places)
    np.testing.assert_allclose(means_of(some), every[:, places])
    filled = fill_means(one_level(), places, means_of(some), some.powers)
    np.testing.assert_allclose(filled[:, places], every[:, places])
    ratio = filled[:, 1] / every[:, 1]
    assert ratio.std() < 0.017
    assert abs(ratio.mean() - 1) < 0.0035


def test_leaving_out_what_is_dead_changes_nothing(monkeypatch):
    """Looking after every test, and never: the same samples are read at the same places."""
    block = white(11) + 3 * torch.from_numpy(ndimage.gaussian_filter(white(12).numpy(), 1.5))
    block[:40] *= 0.1
    thresholds = np.full((8, len(RESOLUTIONS)), 0.08)
    answers = []
    for often in (1, 100):
        monkeypatch.setattr("distres.kernels.monodir.LOOK_EVERY", often)
        answers.append(decided(block, thresholds, chosen=cones(half_sphere(46)[:8]), step=2))
    assert 0.05 < np.mean(answers[0] >= 2) < 0.95
    assert np.mean(answers[0] == answers[1]) > 0.9999


@pytest.mark.parametrize(("edge", "longer"), [(64, 64), (60, 64), (100, 112), (200, 224), (5, 16)])
def test_a_block_grows_to_whole_periods_of_the_lattice(edge, longer):
    block = torch.randn(edge, 16, 16)
    grown = on_lattice(block)
    assert grown.shape == (longer, 16, 16)
    assert torch.equal(grown[:edge], block)
    mirrored = min(longer - edge, edge)
    assert torch.equal(grown[edge : edge + mirrored], block.flip(0)[:mirrored])


def test_directions_without_noise_are_never_passed():
    """A missing cone of 40 degrees around z, in the noise and in the map alike."""
    u = np.meshgrid(*[np.fft.fftfreq(EDGE)] * 3, indexing="ij")
    norm = np.sqrt(sum(a * a for a in u))
    missing = np.abs(u[0]) > np.cos(np.radians(40)) * norm
    blocks = [
        torch.from_numpy(
            np.fft.ifftn(np.where(missing, 0, np.fft.fftn(white(s).numpy()))).real.astype("f4")
        )
        for s in (7, 8)
    ]
    noise = measured_noise(blocks[0])
    thresholds = thresholds_of(means_of(noise), np.full(len(RESOLUTIONS), 0.5))
    tilt = np.degrees(np.arccos(half_sphere(46)[:, 0]))
    assert (thresholds[tilt < 20] == NEVER_PASSED).all()
    assert np.isfinite(thresholds[tilt > 45]).all()
    assert (decided(blocks[1], thresholds)[tilt < 20] == -1).all()


@pytest.mark.parametrize("frequency", [0.05, 0.2, 0.45, 0.5])
def test_no_band_reaches_beyond_the_highest_frequency_of_an_axis(frequency):
    """The lower edge may: its gain is a half at the frequency tested, whatever that is."""
    band = octave_band(frequency, 0.04, 1.0)
    assert band.stop <= max(0.5, frequency + 0.02) + 1e-9
    assert float(band.gain(torch.tensor([frequency]))[0]) == pytest.approx(0.5, abs=1e-5)


def test_the_reader_smooths_as_a_gaussian_and_reads_between_samples():
    """A periodic wave of 16 voxels on a box of half the size, under a Gaussian of 3 voxels."""
    places = np.arange(0, 32, 1.5)
    coarse = np.cos(2 * np.pi * np.arange(16) / 8)
    block = torch.from_numpy(np.broadcast_to(coarse, (16,) * 3).astype(np.float32).copy())
    found = Reader((32,) * 3, UNIT, [places] * 3)(block, 3.0).numpy()
    expected = np.exp(-2 * (np.pi * 3 / 16) ** 2) * np.cos(2 * np.pi * places / 16)
    np.testing.assert_allclose(found, np.broadcast_to(expected, found.shape), atol=1e-5)


def test_a_level_without_noise_voxels_counts_nothing():
    region = torch.zeros((EDGE,) * 3, dtype=torch.bool)
    noise = directional_noise(white(9), region, everywhere(), UNIT, one_level(), (0, 3), cones())
    assert not noise.samples.any()
    assert not noise.counts.any()


def test_sweeps_of_a_volume_use_two_levels():
    """From 20 voxels down to 2 the coarse half of the tests lives on level 1."""
    levels = plan_levels(resolution_list(20.0, 2.0, 0.5), UNIT, 3)
    assert [level.level for level in levels] == [1, 0]
