import numpy as np
import pytest
import torch

from distres.kernels.lowpass import (
    UPSAMPLE_REACH,
    LowPassBank,
    Mixture,
    low_passed,
    upsample,
)

VOXEL = (1.0, 1.0, 1.0)


def noise(shape, seed):
    return np.random.default_rng(seed).standard_normal(shape).astype(np.float32)


def filtered(block, bank, resolution):
    """Mix the bank over a block, as a method does."""
    mixed = np.zeros(block.size, np.float32)
    mixture = Mixture.of(resolution, bank)
    maps = low_passed(
        torch.from_numpy(block), bank, bank.cutoffs_per_angstrom, voxel_size_angstrom=VOXEL
    )
    for place, one in enumerate(maps):
        mixture.add(mixed, one.numpy(), place)
    return mixed.reshape(block.shape)


def test_one_resolution_is_one_filter_exactly():
    block = noise((24, 25, 26), 0)
    bank = LowPassBank.covering(5.0, 5.0)
    resolution = np.full(block.shape, 5.0, np.float32)
    k = np.meshgrid(*(np.fft.fftfreq(n) for n in block.shape), indexing="ij")
    s = np.sqrt(sum(axis**2 for axis in k))
    edge = np.clip((s - 0.2) / 0.06 + 0.5, 0, 1)
    expected = np.fft.ifftn(np.fft.fftn(block) * (1 + np.cos(np.pi * edge)) / 2).real
    # float32 transforms of values near 1.
    np.testing.assert_allclose(filtered(block, bank, resolution), expected, atol=2e-6)


def test_between_two_filters_the_mix_is_near_the_filter_itself():
    block = noise((32, 32, 32), 1)
    bank = LowPassBank.covering(3.0, 12.0)
    middle = (bank.cutoffs_per_angstrom[4] + bank.cutoffs_per_angstrom[5]) / 2
    mixed = filtered(block, bank, np.full(block.shape, 1 / middle, np.float32))
    (exact,) = low_passed(torch.from_numpy(block), bank, [middle], voxel_size_angstrom=VOXEL)
    # Filters differ by 0.04 at most, in an edge that holds less than a third of the passed power.
    assert (mixed - exact.numpy()).std() < 0.03 * exact.std().item()


def test_every_voxel_takes_its_two_neighbours_in_the_bank():
    bank = LowPassBank.covering(2.0, 20.0)
    cutoffs = np.array(bank.cutoffs_per_angstrom)
    resolution = np.float32([np.nan, 100.0, 20.0, 10.0, 3.0, 2.0, 1.1, np.inf])
    mixture = Mixture.of(resolution, bank)
    shares = np.zeros((len(cutoffs), len(resolution)), np.float32)
    for place, row in enumerate(shares):
        mixture.add(row, np.ones(len(resolution), np.float32), place)
        assert mixture.needs(place) or not row.any()
    np.testing.assert_allclose(shares.sum(axis=0), 1, atol=1e-6)
    expected = np.clip(1 / np.nan_to_num(resolution, nan=1e9), cutoffs[0], cutoffs[-1])
    np.testing.assert_allclose(cutoffs @ shares, expected, rtol=1e-5)
    assert (shares > 0).sum(axis=0).max() == 2


@pytest.mark.parametrize("cutoff", [0.4, 0.2])
def test_beyond_the_halo_a_filter_hardly_reaches(cutoff):
    bank = LowPassBank(cutoffs_per_angstrom=(cutoff,))
    halo = bank.halo(1.0, cutoff)
    impulse = torch.zeros((96, 96, 96))
    impulse[48, 48, 48] = 1
    (response,) = low_passed(impulse, bank, [cutoff], voxel_size_angstrom=VOXEL)
    total = response.pow(2).sum()
    near = slice(48 - halo, 49 + halo)
    inside = response[near, near, near].pow(2).sum()
    assert (1 - inside / total).sqrt() < 0.006


def test_a_filter_runs_on_the_coarsest_level_that_holds_its_band():
    bank = LowPassBank.covering(2.0, 40.0)
    for cutoff in bank.cutoffs_per_angstrom:
        level = bank.level(cutoff, 1.0, 6)
        assert level == 0 or cutoff * 1.15 * 2**level <= 0.25
        assert cutoff * 1.15 * 2 ** (level + 1) > 0.25
        assert bank.halo(2.0**level, cutoff) <= 47
    assert bank.level(0.01, 1.0, 2) == 1


@pytest.mark.parametrize("factor", [2, 4])
def test_upsampling_a_band_limited_block_hits_the_wave_between_its_voxels(factor):
    coarse, fine = 30, 10 * factor
    position = np.arange(coarse) - UPSAMPLE_REACH
    wave = np.cos(2 * np.pi * 0.2 * position + 0.3)[:, None, None] * np.ones((1, coarse, coarse))
    found = upsample(torch.from_numpy(wave.astype(np.float32)), factor, (fine, 5, 7))
    expected = np.cos(2 * np.pi * 0.2 * np.arange(fine) / factor + 0.3)
    np.testing.assert_allclose(found[:, 2, 3], expected, atol=3e-4)
    assert found.shape == (fine, 5, 7)


def test_a_negative_b_factor_sharpens_before_the_low_pass():
    block = noise((16, 16, 16), 2)
    bank = LowPassBank(cutoffs_per_angstrom=(0.25,))
    plain, sharp = (
        next(
            low_passed(
                torch.from_numpy(block), bank, [0.25], voxel_size_angstrom=VOXEL,
                b_factor_angstrom2=b,
            )
        )
        for b in (0.0, -100.0)
    )  # fmt: skip
    gain = np.abs(np.fft.rfftn(sharp.numpy())) / np.abs(np.fft.rfftn(plain.numpy()))
    assert gain[0, 0, 0] == pytest.approx(1, rel=1e-4)
    assert gain[0, 0, 3] == pytest.approx(np.exp(25 * (3 / 16) ** 2), rel=1e-4)
