"""Which resolutions are tested, and what a voxel keeps."""

import numpy as np
import pytest
import torch

from distres.errors import UsageError
from distres.kernels.sweep import SweepState, published_resolution_list, resolution_list


def run(pattern, tests=(20.0, 15.0, 10.0, 8.0, 5.0)):
    """Sweep one voxel through passes (P) and failures (F)."""
    state = SweepState.start(torch.ones(1, dtype=torch.bool))
    for index, outcome in enumerate(pattern):
        state.update(torch.tensor([outcome == "P"]), index)
    return float(state.resolution(np.asarray(tests), float("nan"))), bool(state.alive)


@pytest.mark.parametrize(
    ("pattern", "resolution", "alive"),
    [
        ("PFP", 10.0, True),
        ("PF", 20.0, True),
        ("PFF", 20.0, False),
        ("PPFF", 15.0, False),
        ("PFFP", 20.0, False),
        ("FPFPF", 8.0, True),
        ("PPPPP", 5.0, True),
    ],
)
def test_a_voxel_keeps_its_last_pass_and_dies_of_two_failures(pattern, resolution, alive):
    assert run(pattern) == (resolution, alive)


@pytest.mark.parametrize("pattern", ["FF", "FFPPP", "F"])
def test_a_voxel_that_never_passed_has_no_resolution(pattern):
    assert np.isnan(run(pattern)[0])


def test_voxels_outside_the_mask_take_no_part():
    state = SweepState.start(torch.tensor([True, False]))
    state.update(torch.tensor([True, True]), 0)
    assert state.last.tolist() == [0, -1]
    assert state.alive.tolist() == [True, False]


def test_many_failures_do_not_wrap_around():
    state = SweepState.start(torch.ones(1, dtype=torch.bool))
    for index in range(600):
        state.update(torch.tensor([False]), index)
    assert not bool(state.alive)


def test_the_list_holds_both_ends():
    np.testing.assert_allclose(resolution_list(20, 2, 0.5), np.arange(20, 1.9, -0.5))
    np.testing.assert_allclose(resolution_list(10, 3.1, 2), [10, 8, 6, 4, 3.1])
    with pytest.raises(UsageError, match="empty"):
        resolution_list(2, 20, 0.5)
    with pytest.raises(UsageError, match="positive step"):
        resolution_list(20, 2, 0)


def test_the_published_list_is_rounded_to_shells():
    tests = published_resolution_list(256, 1.0, 20.0, 0.5)
    assert len(tests) == 29
    np.testing.assert_allclose(tests[:3], [19.69, 18.29, 17.07], atol=0.005)
    np.testing.assert_allclose(tests[-2:], [2.51, 2.0], atol=0.005)
    assert len(published_resolution_list(400, 0.83, 20.0, 0.5)) == 32
    with pytest.raises(UsageError, match="Nyquist"):
        published_resolution_list(64, 5.0, 8.0, 0.5)
