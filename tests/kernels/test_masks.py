"""Masks on arrays: each step against what it must give by definition."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from distres.kernels.masks import (
    block_max,
    fill_holes,
    flat_region,
    gaussian_low_pass,
    halo_vox,
    large_components,
    one_sided_sigma,
    robust_sigma,
    shortest_quarter,
    significance_factor,
    soft_mask,
    upsample,
)


def test_low_pass_halves_a_wave_of_its_resolution():
    z = np.arange(240, dtype=np.float32)
    wave = np.broadcast_to(np.cos(2 * np.pi * z / 12)[:, None, None], (240, 5, 5))
    low = gaussian_low_pass(np.ascontiguousarray(wave), (1.0, 100.0, 100.0), 12.0)
    # The kernel sums to 1, and cutting it at 4 sigma takes 6e-5 away; the middle sees no edge.
    assert low[120, 2, 2] == pytest.approx(0.5, abs=1e-3)


def test_low_pass_works_in_angstrom_on_every_axis():
    rng = np.random.default_rng(1)
    cube = rng.standard_normal((24, 24, 24)).astype(np.float32)
    same = gaussian_low_pass(cube, (1.0, 1.0, 1.0), 8.0)
    doubled = gaussian_low_pass(cube, (2.0, 2.0, 2.0), 16.0)
    np.testing.assert_array_equal(same, doubled)
    narrow = gaussian_low_pass(cube, (4.0, 1.0, 1.0), 8.0)
    # Larger voxels along z mean fewer of them are mixed there, so z varies faster.
    assert np.diff(narrow, axis=0).std() > 2 * np.diff(same, axis=0).std()


def test_noise_is_never_louder_at_the_box_faces():
    rng = np.random.default_rng(2)
    low = gaussian_low_pass(rng.standard_normal((48, 48, 48)).astype(np.float32), (1, 1, 1), 12.0)
    inner = low[12:-12, 12:-12, 12:-12].std()
    # Zero beyond the box removes noise power at a face; a repeated edge would add to it.
    assert low[0].std() < inner


def test_densest_quarter_finds_solvent_under_a_bright_particle():
    rng = np.random.default_rng(3)
    values = rng.normal(2.0, 0.5, 100_000).astype(np.float32)
    values[:40_000] += 30
    centre, sigma = shortest_quarter(values)
    # Of 60 000 solvent voxels the interval holds 25 000, or 42 %: longer than a quarter's, by
    # z(0.708) / z(0.625) = 1.72. The centre of the flat top scatters by a fraction of sigma.
    assert centre == pytest.approx(2.0, abs=0.25)
    assert sigma == pytest.approx(0.5 * 1.72, rel=0.05)


def test_spreads_of_a_gaussian_are_its_sigma():
    values = np.random.default_rng(4).normal(-1, 3, 200_000).astype(np.float32)
    # The MAD of n samples scatters by about 1.17 / sqrt(n): 0.26 %; four of those.
    assert robust_sigma(values) == pytest.approx(3, rel=0.0105)
    assert one_sided_sigma(values, -1.0) == pytest.approx(3, rel=0.02)


def test_one_sided_spread_ignores_density_on_the_other_side():
    values = np.random.default_rng(5).normal(0, 1, 200_000).astype(np.float32)
    with_density = np.concatenate([values, np.full(50_000, 7, dtype=np.float32)])
    below = -values[values < 0]
    assert one_sided_sigma(with_density, 0.0) == pytest.approx(1.4826 * np.median(below), rel=1e-6)


def test_flat_region_is_what_an_earlier_mask_blanked():
    rng = np.random.default_rng(6)
    volume = rng.standard_normal((20, 20, 20)).astype(np.float32)
    volume[:15] = 0.25
    flat = flat_region(volume, 0.25)
    assert flat[:15].all()
    # Of 2000 normal values, those within 1e-5 of the largest deviation (4) are 2000 * 3e-5.
    assert flat[15:].sum() <= 2


def test_significance_is_bonferronis_bound():
    # P(z > 4.7534) = 1e-6 for a standard normal.
    assert significance_factor(10_000, 0.01) == pytest.approx(4.7534, abs=1e-4)


def test_dust_is_removed_and_both_blobs_stay():
    volume = np.zeros((30, 30, 60), dtype=bool)
    volume[5:15, 5:15, 5:15] = True
    volume[10:16, 10:16, 40:46] = True
    volume[25, 25, 25] = True
    found = large_components(volume, fraction=0.1)
    assert (found.kept_count, found.removed_count, found.largest_vox) == (2, 1, 1000)
    assert not found.kept[25, 25, 25]
    assert found.kept.sum() == 1000 + 216


def test_no_region_of_the_smallest_size_leaves_nothing():
    volume = np.zeros((8, 8, 8), dtype=bool)
    volume[2, 2, 2] = True
    assert not large_components(volume, fraction=0.1, smallest_vox=2).kept.any()
    assert not large_components(np.zeros_like(volume), fraction=0.1).kept.any()


def test_holes_are_filled_only_when_closed():
    shell = np.ones((9, 9, 9), dtype=bool)
    shell[3:6, 3:6, 3:6] = False
    assert fill_holes(shell).all()
    shell[4, 4, :4] = False
    assert not fill_holes(shell)[4, 4, 4]


def test_soft_edge_is_the_raised_cosine_in_angstrom():
    binary = np.zeros((5, 5, 40), dtype=bool)
    binary[:, :, 0] = True
    voxel = 1.5
    mask = soft_mask(binary, (1.0, 1.0, voxel), dilation_angstrom=6.0, edge_angstrom=9.0)
    distance = voxel * np.arange(40)
    expected = (1 + np.cos(np.pi * np.clip((distance - 6.0) / 9.0, 0, 1))) / 2
    np.testing.assert_allclose(mask[2, 2], expected, atol=1e-6)  # float32 cosine
    assert (np.diff(mask[2, 2]) <= 0).all()
    assert mask.min() == 0
    assert mask.max() == 1


def test_dilation_is_a_ball_in_anisotropic_voxels():
    binary = np.zeros((21, 21, 21), dtype=bool)
    binary[10, 10, 10] = True
    mask = soft_mask(binary, (2.0, 1.0, 0.5), dilation_angstrom=4.0, edge_angstrom=0.0)
    grown = [int(mask.any(axis=tuple({0, 1, 2} - {axis})).sum()) for axis in range(3)]
    assert grown == [2 * 2 + 1, 2 * 4 + 1, 2 * 8 + 1]


def test_nothing_and_everything_need_no_distances():
    binary = np.zeros((4, 5, 6), dtype=bool)
    for value in (False, True):
        mask = soft_mask(binary | value, (1, 1, 1), dilation_angstrom=3, edge_angstrom=3)
        assert (mask == float(value)).all()


@settings(max_examples=30, deadline=None)
@given(
    seed=st.integers(0, 10_000),
    start=st.tuples(*[st.integers(0, 15)] * 3),
    size=st.tuples(*[st.integers(1, 12)] * 3),
    voxel=st.tuples(*[st.sampled_from([0.7, 1.0, 1.3, 2.0])] * 3),
)
def test_soft_mask_of_a_haloed_block_is_that_of_the_whole(seed, start, size, voxel):
    rng = np.random.default_rng(seed)
    binary = rng.random((24, 22, 26)) > 0.995
    whole = soft_mask(binary, voxel, dilation_angstrom=2.5, edge_angstrom=3.0)
    halo = halo_vox(5.5, voxel)
    core = [slice(a, min(a + n, m)) for a, n, m in zip(start, size, binary.shape, strict=True)]
    read = [
        slice(max(c.start - h, 0), min(c.stop + h, m))
        for c, h, m in zip(core, halo, binary.shape, strict=True)
    ]
    block = soft_mask(binary[tuple(read)], voxel, dilation_angstrom=2.5, edge_angstrom=3.0)
    crop = tuple(
        slice(c.start - r.start, c.stop - r.start) for c, r in zip(core, read, strict=True)
    )
    np.testing.assert_array_equal(block[crop], whole[tuple(core)])


@settings(max_examples=30, deadline=None)
@given(factor=st.sampled_from([1, 2, 4, 8]), start=st.tuples(*[st.integers(0, 20)] * 3))
def test_upsampled_blocks_are_parts_of_the_whole(factor, start):
    rng = np.random.default_rng(factor)
    coarse = rng.standard_normal((7, 6, 8)).astype(np.float32)
    shape = tuple(n * factor for n in coarse.shape)
    whole = upsample(coarse, first=(0, 0, 0), start=(0, 0, 0), shape=shape, factor=factor)
    begin = tuple(min(s, n - 1) for s, n in zip(start, shape, strict=True))
    size = tuple(min(9, n - b) for b, n in zip(begin, shape, strict=True))
    first = tuple(b // factor for b in begin)
    last = tuple((b + n - 1) // factor + 2 for b, n in zip(begin, size, strict=True))
    piece = coarse[tuple(slice(a, b) for a, b in zip(first, last, strict=True))]
    block = upsample(piece, first=first, start=begin, shape=size, factor=factor)
    where = tuple(slice(b, b + n) for b, n in zip(begin, size, strict=True))
    np.testing.assert_array_equal(block, whole[where])


def test_upsampling_keeps_samples_and_is_linear_between():
    coarse = np.arange(6, dtype=np.float32)[None, None, :] * 3
    fine = upsample(coarse, first=(0, 0, 0), start=(0, 0, 0), shape=(1, 1, 21), factor=4)
    np.testing.assert_allclose(fine[0, 0], np.arange(21) * 0.75, rtol=1e-6)


def test_block_max_covers_cut_cells():
    block = np.zeros((9, 8, 3), dtype=np.float32)
    block[8, 7, 2] = 5
    cells = block_max(block, 8)
    assert cells.shape == (2, 1, 1)
    assert cells[:, 0, 0].tolist() == [0, 5]
