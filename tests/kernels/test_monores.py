"""The sweep on one block: what is computed once few voxels are left."""

import numpy as np
import pytest
import torch

from distres.kernels import monores
from distres.kernels.monores import decide, living_box, plan_levels, smoothed_amplitude
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
