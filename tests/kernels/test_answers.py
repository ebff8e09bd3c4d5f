"""Averages of answers: what they are made of, what they leave alone, and what error remains."""

from itertools import product

import numpy as np
import pytest
import torch
from scipy import ndimage

from distres.kernels.answers import (
    ALIKE_VOX,
    SHARED_VARIANCE,
    Neighbourhood,
    average_answers,
    remaining_error,
)

RANGE_VOX = (2.0, 16.0)


def around(width=1.5):
    return Neighbourhood(width_resolutions=width, node_vox=1.0, range_vox=RANGE_VOX)


def answers(resolution, relative=0.1):
    resolution = np.asarray(resolution, np.float32)
    return torch.from_numpy(np.stack([resolution, resolution * np.float32(relative)]))


def everywhere(values):
    return tuple(slice(0, n) for n in values.shape[1:])


def average(values, width=1.5, inner=None, voxel=1.0):
    found = average_answers(values, inner or everywhere(values), around(width), voxel)
    return found.numpy()


def by_pairs(resolution, relative, width):
    """The definition, pair by pair: the narrower window of both, levels shared between two."""
    levels = np.array(around(width).levels_vox)
    place = np.log2(resolution / levels[0]) * 4
    share = np.clip(1 - np.abs(place[..., None] - np.arange(len(levels))), 0, None)
    every = list(np.ndindex(resolution.shape))
    found = np.zeros(resolution.shape)
    for here in every:
        total = weights = 0.0
        for there in every:
            offset = np.abs(np.subtract(here, there))
            reach = np.minimum(offset[:, None] / (width * levels), 1)
            windows = np.prod(np.cos(np.pi / 2 * reach) ** 2, axis=0)
            weight = 1 / relative[there]
            for i, j in product(range(len(levels)), repeat=2):
                both = share[here][i] * share[there][j]
                if both:
                    total += weight * both * windows[min(i, j)] * np.log(resolution[there])
                    weights += weight * both * windows[min(i, j)]
        found[here] = np.exp(total / weights)
    return found


def test_an_average_is_that_of_all_pairs_under_the_narrower_window():
    rng = np.random.default_rng(0)
    resolution = np.exp(rng.uniform(np.log(2.0), np.log(12.0), (5, 4, 6))).astype(np.float32)
    relative = rng.uniform(0.02, 0.2, resolution.shape).astype(np.float32)
    found = average(answers(resolution, relative))[0]
    # float32 sums of 120 terms.
    np.testing.assert_allclose(found, by_pairs(resolution, relative, 1.5), rtol=1e-5)


def test_where_all_agree_nothing_changes():
    found = average(answers(np.full((12, 12, 12), 5.0)))
    np.testing.assert_allclose(found[0], 5.0, rtol=1e-5)
    # All windows whole in the middle: what is left is what independent errors would leave.
    assert found[1, 6, 6, 6] < 0.8 * 0.5
    assert found[1, 0, 0, 0] > found[1, 6, 6, 6]


def test_fine_density_says_nothing_of_coarse_density_beyond_its_own_reach():
    resolution = np.full((8, 8, 40), 9.0)
    resolution[..., :20] = 3.0
    found = average(answers(resolution))[0]
    # 1.5 times 3 voxels, and at most the next level, a quarter of an octave wider.
    reach = int(np.ceil(1.5 * 3.0 * 2**0.25))
    np.testing.assert_allclose(found[..., 20 + reach :], 9.0, rtol=1e-5)
    np.testing.assert_allclose(found[..., : 20 - reach], 3.0, rtol=1e-5)
    assert (found[..., 20] < 9).all()
    assert (found[..., 19] > 3).all()


def test_places_without_an_answer_have_none_and_give_none():
    resolution = np.full((9, 9, 9), 4.0)
    resolution[4, 4, 4] = np.nan
    resolution[:, :, 7:] = 12.0
    values = answers(resolution)
    found = average(values)
    assert np.isnan(found[:, 4, 4, 4]).all()
    assert np.isfinite(np.delete(found.reshape(2, -1), 4 * 91, axis=1)).all()


def test_a_part_with_its_reach_is_what_the_whole_gives():
    rng = np.random.default_rng(1)
    smooth = ndimage.gaussian_filter(rng.standard_normal((10, 10, 80)), 2.0)
    values = answers(5 * np.exp(3 * smooth))
    assert values[0].max() < RANGE_VOX[1]
    reach = around(1.0).reach_nodes
    assert reach < 20
    whole = average(values, 1.0)[..., 30:50]
    part = average(
        values[..., 30 - reach : 50 + reach],
        1.0,
        inner=(slice(0, 10), slice(0, 10), slice(reach, reach + 20)),
    )
    np.testing.assert_allclose(part, whole, rtol=1e-5)


def test_the_unit_of_length_is_the_voxel():
    rng = np.random.default_rng(2)
    values = answers(rng.uniform(3, 8, (6, 6, 6)))
    half = average(values / 2, voxel=0.5)
    np.testing.assert_allclose(2 * half, average(values), rtol=1e-5)


@pytest.mark.parametrize("resolution", [4.0, 8.0])
def test_the_error_that_remains_is_that_of_errors_alike_over_a_few_voxels(resolution):
    # Errors made as the rule says: Gaussian correlation, and a part that all share.
    rng, edge = np.random.default_rng(3), 48
    own = rng.standard_normal((8, edge, edge, edge))
    own = ndimage.gaussian_filter(own, (0, *3 * (ALIKE_VOX / 2**0.5,)), mode="wrap")
    own *= (1 - SHARED_VARIANCE) ** 0.5 / own.std()
    left = []
    for errors in own:
        # So small that all answers are of one level.
        values = answers(resolution * np.exp(1e-3 * errors))
        found = average(values)
        left.append((np.log(found[0] / resolution) / 1e-3)[12:-12, 12:-12, 12:-12])
    observed = np.sqrt(np.mean(np.square(left)) + SHARED_VARIANCE)
    sd = torch.tensor(0.3615 * 1.5 * resolution)
    # The window is no Gaussian; eight volumes hold some hundred independent averages: 7 %.
    assert float(remaining_error(sd, torch.tensor(1.0))) == pytest.approx(observed, rel=0.07)
