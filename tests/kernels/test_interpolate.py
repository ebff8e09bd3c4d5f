"""Matrices along axes: straight lines, unknown nodes, and which nodes a mask needs."""

import numpy as np
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from distres.kernels.interpolate import (
    apply_matrices,
    interpolate_known,
    linear_matrix,
    needed_nodes,
)
from distres.kernels.rescale import node_span


def halves(shape):
    """Matrices from every second voxel to all voxels."""
    return [torch.from_numpy(linear_matrix(np.arange(n) / 2, -(-n // 2))) for n in shape]


@settings(max_examples=60, deadline=None)
@given(
    step=st.floats(0.3, 4.0),
    node=st.sampled_from([0.5, 1.0, 3.0, 8.0]),
    start=st.integers(0, 500),
    count=st.integers(1, 30),
)
def test_weights_stay_between_two_nodes_and_keep_straight_lines(step, node, start, count):
    places = np.arange(start, start + count) * step
    nodes = node_span(range(start, start + count), step, node)
    matrix = linear_matrix(places / node - nodes.start, len(nodes)).astype(np.float64)
    assert (matrix >= 0).all()
    assert ((matrix > 0).sum(axis=1) <= 2).all()
    # float32 weights on places of up to 2000 A.
    np.testing.assert_allclose(matrix @ (np.array(nodes) * node), places, rtol=3e-7, atol=1e-4)


def test_places_beyond_the_ends_take_the_outermost_node():
    np.testing.assert_array_equal(
        linear_matrix(np.array([-1.5, 0.25, 1.75]), 2), [[1, 0], [0.75, 0.25], [0, 1]]
    )


def test_a_linear_field_is_interpolated_exactly_along_all_axes():
    """7 x 8 x 5 voxels from every second one; only the last odd ones have no node beyond."""
    shape = (7, 8, 5)
    z, y, x = np.indices([-(-n // 2) for n in shape])
    field = torch.from_numpy((1.0 + 2 * z - y + 3 * x).astype(np.float32))
    found = interpolate_known(field[None], halves(shape))[0].numpy()
    fz, fy, fx = np.indices(shape)
    expected = 1.0 + fz - 0.5 * fy + 1.5 * fx
    np.testing.assert_allclose(found[:, :-1], expected[:, :-1], rtol=1e-6)
    np.testing.assert_allclose(found[:, -1], found[:, -2])


def test_matrices_of_any_shape_are_applied_each_along_its_own_axis():
    rng = np.random.default_rng(0)
    block = rng.standard_normal((4, 5, 6))
    matrices = [rng.standard_normal((m, n)) for m, n in zip((3, 7, 2), block.shape, strict=True)]
    found = apply_matrices(torch.from_numpy(block), [torch.from_numpy(m) for m in matrices])
    # Sums of 120 products in float64.
    np.testing.assert_allclose(
        found.numpy(), np.einsum("az,by,cx,zyx->abc", *matrices, block), atol=1e-12
    )


def test_unknown_nodes_lend_nothing_to_their_neighbours():
    nodes = torch.tensor([2.0, torch.nan, torch.inf, 4.0]).view(1, 1, 1, 4)
    found = interpolate_known(nodes, halves((1, 1, 7)))[0, 0, 0].numpy()
    np.testing.assert_allclose(found, [2, 2, np.nan, np.nan, np.nan, 4, 4])


def test_needed_nodes_are_those_that_a_mask_is_interpolated_from():
    """Voxel 5 lies between nodes 2 and 3, voxel 8 on node 4."""
    inside = np.zeros((1, 1, 12), bool)
    inside[0, 0, [5, 8]] = True
    found = needed_nodes(inside, 2, (0, 0, 0), (1, 1, 6), 1)
    assert np.flatnonzero(found[0, 0]).tolist() == [2, 3, 4]
    shifted = needed_nodes(inside, 2, (0, 0, 4), (1, 1, 4), 1)
    assert np.flatnonzero(shifted[0, 0]).tolist() == [0, 1, 2]
