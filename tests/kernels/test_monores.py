"""The sweep on one block: what is computed once few voxels are left."""

import numpy as np
import pytest
import torch

from distres.kernels import monores
from distres.kernels.monores import decide, plan_levels, smoothed_amplitude
from distres.kernels.monores_noise import noise_counts, noise_shares
from distres.kernels.noise_threshold import histogram_quantile
from distres.kernels.subblocks import living_box, share_of
from distres.kernels.sweep import SweepState, resolution_list

SIZE = 96
UNIT = (1.0, 1.0, 1.0)
WHOLE = (slice(0, SIZE),) * 3


def sparse_state():
    """Voxels are alive in a small ball away from the middle."""
    axis = np.arange(SIZE) - 30
    squared = axis[:, None, None] ** 2 + axis[:, None] ** 2 + axis**2
    return SweepState.start(torch.from_numpy(squared < 8**2))


def swept(signal, worth, monkeypatch, blocks):
    monkeypatch.setattr(monores, "WORTH_CUTTING", worth)

    def watched(riesz, *rest):
        blocks.append(riesz.shape)
        return smoothed_amplitude(riesz, *rest)

    monkeypatch.setattr(monores, "smoothed_amplitude", watched)
    (tests,) = plan_levels(resolution_list(7.0, 2.5, 0.5), UNIT, 1)
    state = sparse_state()
    # Half the voxels of white noise pass: many decisions are close.
    decide(signal, WHOLE, UNIT, tests, [5.5 * f**1.5 for f in tests.frequencies], state)
    return state


def test_a_block_cut_to_the_living_voxels_gives_the_answer_of_the_whole(monkeypatch):
    """A cut is what a tile's edge is: 97 % on the same step, as for tiles."""
    noise = np.random.default_rng(1).standard_normal((SIZE,) * 3, dtype=np.float32)
    signal = torch.from_numpy(noise)
    whole, cut = [], []
    expected = swept(signal, 0.0, monkeypatch, whole)
    found = swept(signal, 0.9, monkeypatch, cut)
    assert set(whole) == {(SIZE,) * 3}
    assert min(cut) < (SIZE,) * 3
    ever = expected.last >= 0
    assert 0.2 < float(ever.sum()) / 2109 <= 1
    same = (found.last == expected.last)[ever]
    assert float(same.float().mean()) >= 0.95
    outside = ~sparse_state().alive
    assert bool((found.last[outside] == -1).all())


def test_the_box_of_living_voxels_holds_them_all_and_no_more():
    state = sparse_state()
    assert living_box(state) == (slice(23, 38),) * 3
    state.fails.fill_(2)
    assert living_box(state) is None


@pytest.mark.parametrize("shape", [(5, 1, 9)])
def test_one_voxel_is_a_box(shape):
    alive = torch.zeros(shape, dtype=torch.bool)
    alive[3, 0, 8] = True
    assert living_box(SweepState.start(alive)) == (slice(3, 4), slice(0, 1), slice(8, 9))


@pytest.mark.parametrize("share", [0.5, 0.25, 1 / 16])
def test_a_share_of_a_region_is_a_slab_that_holds_as_much(share):
    region = torch.zeros((20, 60, 30), dtype=torch.bool)
    region[3:17, 4:57, 2:28] = torch.rand((14, 53, 26), generator=torch.manual_seed(0)) < 0.3
    z, y, x = share_of(region, share)
    assert (z, x) == (slice(3, 17), slice(2, 28))
    held = float(region[z, y, x].sum() / region.sum())
    # Whole planes are taken, the first and the last one too: each holds 1 / 53.
    assert share <= held <= share + 2.5 / 53


def test_a_test_sees_less_of_the_noise_the_finer_it_is_and_coarse_ones_all():
    (tests,) = plan_levels(resolution_list(20.0, 2.0, 0.5), UNIT, 1)
    shares = noise_shares(tests, 100.0**3, UNIT)
    assert shares[0] == 1.0
    assert list(shares) == sorted(shares, reverse=True)
    assert 1 / 16 <= shares[-1] < 1
    # Where the size of the region is not known before.
    assert set(noise_shares(tests, 0.0, UNIT)) == {1.0}


def test_a_part_of_the_noise_gives_the_threshold_of_all_of_it():
    """A quarter of 96^3 voxels has 9000 independent values at 2.5 voxels. Smoothed amplitudes
    scatter by 0.13 of their mean; a quantile of 97.5 % at 1.25 of it is known to 2.7 / sqrt(9000)
    of that: 0.3 %. Three times that, and half a bin (0.4 %), are allowed."""
    noise = torch.from_numpy(np.random.default_rng(2).standard_normal((SIZE,) * 3, np.float32))
    (tests,) = plan_levels(resolution_list(3.0, 2.5, 0.5), UNIT, 1)
    region = torch.ones((SIZE,) * 3, dtype=torch.bool)
    found = [
        noise_counts(noise, region, WHOLE, UNIT, tests, shares, 1.0)
        for shares in ((1.0, 1.0), (1.0, 0.25))
    ]
    whole, part = (histogram_quantile(one.counts[1], 0.975, 1.0) for one in found)
    assert part == pytest.approx(whole, rel=0.013)
    assert (found[0].counts[0] == found[1].counts[0]).all()
    assert found[0].voxels.tolist() == [SIZE**3] * 2
    assert found[1].voxels[1] == pytest.approx(SIZE**3 / 4, rel=0.1)
