"""From the points of one grid to those of another, by one small matrix along each axis."""

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
import torch

Matrix = npt.NDArray[np.float32]
Bool = npt.NDArray[np.bool_]

# Nodes with less than half of the weight say nothing of a place; float32 sums may lack the rest.
_LEAST_SHARE = 0.5 - 1e-6


def apply_matrices(block: torch.Tensor, matrices: Sequence[torch.Tensor]) -> torch.Tensor:
    """Apply one matrix (n_out, n_in) along each axis of a (z, y, x) block."""
    wz, wy, wx = matrices
    block = torch.matmul(wy, block @ wx.T)
    flat = wz @ block.reshape(block.shape[0], -1)
    return flat.view(-1, *block.shape[1:])


def linear_matrix(places: npt.NDArray[np.float64], count: int) -> Matrix:
    """Return the weights of nodes at places between them, along one axis.

    Parameters
    ----------
    places
        (places,) in nodes from the first; those beyond an end are taken to lie on it.
    count
        Nodes.

    Returns
    -------
    (places, count) float32, two weights a row that are never negative and sum to one: between
    nodes nothing overshoots.
    """
    distance = np.abs(np.clip(places, 0, count - 1)[:, None] - np.arange(count))
    return np.asarray(np.clip(1 - distance, 0, None), np.float32)


def sinc_matrix(distance: npt.NDArray[np.float64], reach: float, beta: float) -> Matrix:
    """Return weights of samples under a sinc in a Kaiser window (Kaiser 1974).

    Parameters
    ----------
    distance
        (places, samples) in periods of the cutoff's Nyquist grid.
    reach
        Half-width of the window, in the same unit.
    beta
        Its shape.

    Returns
    -------
    (places, samples) float32; each row sums to one, so that a constant stays what it is.
    """
    inside = np.clip(1 - (distance / reach) ** 2, 0, None)
    weights = np.sinc(distance) * np.i0(beta * np.sqrt(inside)) * (np.abs(distance) < reach)
    weights /= weights.sum(axis=1, keepdims=True)
    return np.asarray(weights, np.float32)


def interpolate_known(fields: torch.Tensor, matrices: Sequence[torch.Tensor]) -> torch.Tensor:
    """Interpolate among the nodes that have a value.

    Parameters
    ----------
    fields
        (fields, z, y, x) float32; NaN, where the first one is, means unknown in all.
    matrices
        See `linear_matrix`.

    Returns
    -------
    (fields, z, y, x) float32: the mean of the known nodes by weight, NaN where they have less than
    half of it.
    """
    known = torch.isfinite(fields[0])
    share = apply_matrices(known.to(fields.dtype), matrices)
    share.masked_fill_(share < _LEAST_SHARE, torch.nan)
    return torch.stack(
        [apply_matrices(part.where(known, 0), matrices).div_(share) for part in fields]
    )


def needed_nodes(
    inside: Bool, step: int, offset: Sequence[int], counts: Sequence[int], reach: int
) -> Bool:
    """Return the nodes that have voxels of a mask near them.

    Parameters
    ----------
    inside
        (z, y, x) mask of voxels.
    step
        Voxels from node to node.
    offset
        Voxel (z, y, x) of node 0, relative to the first one of the mask.
    counts
        Nodes along each axis.
    reach
        Voxels along each axis that are near; ``step - 1`` for what linear interpolation needs.
    """
    found = inside
    for axis, (first, n) in enumerate(zip(offset, counts, strict=True)):
        flat = np.moveaxis(found, axis, 0)
        rows = np.zeros((n, *flat.shape[1:]), dtype=bool)
        for node, middle in enumerate(range(first, first + step * n, step)):
            low, high = max(middle - reach, 0), min(middle + reach + 1, len(flat))
            if low < high:
                rows[node] = flat[low:high].any(axis=0)
        found = np.moveaxis(rows, 0, axis)
    return np.ascontiguousarray(found)
