"""A smooth threshold in x, y and z from thresholds measured in cells, for volumes of any size.

Around each node a plane is fitted to the cells near it (local linear regression with a Gaussian
weight), and the field is linear between nodes. Constant and linear fields come back exactly, up to
the corners, whatever the number of cells and whichever of them are empty; unlike a spline with
nodes outside the volume, errors of single cells are averaged at the corners too.
"""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch

from distres.errors import InputError
from distres.kernels.centred import Shape3, empty

# Standard deviation of the weight in cells: seven cells count along an axis, four at its end.
BANDWIDTH_CELLS = 2.0
# A slope is fitted along an axis only where the cells spread by this much of the bandwidth.
LEAST_SPREAD = 1e-6
# Where they spread along every axis, so that no eigenvectors are needed: the determinant over the
# cube of the trace, 1 / 27 at most, and the trace itself.
WELL_SPREAD = 1e-3
LEAST_SHARE = 0.1

Values = npt.NDArray[np.float64]
Axes = tuple[Values, Values, Values]


@dataclass(frozen=True, slots=True, kw_only=True)
class ThresholdField:
    """Values at nodes; linear in between.

    Attributes
    ----------
    nodes
        Positions along z, y and x in voxels: both ends of the volume, and all cell centres.
    values
        (z, y, x) float64 at the nodes.
    """

    nodes: Axes
    values: Values

    def at(self, places: Axes, device: torch.device | str = "cpu") -> torch.Tensor:
        """Return the field (z, y, x) float32 on a grid given by its positions in voxels."""
        field = torch.from_numpy(self.values.astype(np.float32)).to(device)
        # The slowest axis last: its pass is the long one, and it runs over whole planes.
        for axis in (2, 1, 0):
            wanted, nodes = places[axis], self.nodes[axis]
            below = np.clip(np.searchsorted(nodes, wanted, side="right") - 1, 0, len(nodes) - 1)
            above = np.minimum(below + 1, len(nodes) - 1)
            width = np.where(above > below, nodes[above] - nodes[below], 1.0)
            share = torch.from_numpy(((wanted - nodes[below]) / width).astype(np.float32))
            if axis == 0 and field.device.type == "cpu":
                return _between(field, below, above, share)
            view = [1, 1, 1]
            view[axis] = -1
            lower = field.index_select(axis, torch.from_numpy(below).to(device))
            upper = field.index_select(axis, torch.from_numpy(above).to(device))
            field = torch.lerp(lower, upper, share.to(device).view(view))
        return field


def _between(
    field: torch.Tensor,
    below: npt.NDArray[np.intp],
    above: npt.NDArray[np.intp],
    share: torch.Tensor,
) -> torch.Tensor:
    """Interpolate planes without copying them first."""
    found = empty((len(below), field.shape[1], field.shape[2]), field.dtype, field.device)
    for plane, first, last, weight in zip(found, below, above, share.tolist(), strict=True):
        torch.lerp(field[int(first)], field[int(last)], weight, out=plane)
    return found


def nodes_around(nodes: Values, start: int, stop: int) -> slice:
    """Return the nodes of an axis that decide the field at the voxels `start` to `stop`."""
    first = int(np.searchsorted(nodes, start, side="right")) - 1
    last = int(np.searchsorted(nodes, stop - 1, side="left"))
    return slice(max(first, 0), min(last, len(nodes) - 1) + 1)


def cell_centres(voxels: int, cell: int) -> Values:
    """Return the centres of the cells of an axis in voxels; the last cell may be shorter."""
    starts = np.arange(0, voxels, cell)
    return np.asarray((starts + np.minimum(starts + cell, voxels) - 1) / 2, dtype=np.float64)


def fit_threshold_field(
    values: Values,
    weights: Values,
    shape: Shape3,
    cell: Shape3,
    bandwidth_cells: float = BANDWIDTH_CELLS,
) -> ThresholdField:
    """Fit a smooth field to one value a cell.

    Parameters
    ----------
    values
        (z, y, x) thresholds of the cells; anything where the weight is 0.
    weights
        (z, y, x), how much each is worth (independent values in it); 0 for an empty cell.
    shape
        Volume in voxels.
    cell
        Cell edges in voxels.
    bandwidth_cells
        Standard deviation of the Gaussian weight, in cells. Where few cells are filled it is
        doubled until every node sees some.

    Raises
    ------
    InputError
        When every cell is empty.
    """
    if not (weights > 0).any():
        raise InputError(
            "no voxel is left to measure noise on; give half maps, or a mask that leaves solvent"
        )
    centres = [cell_centres(n, c) for n, c in zip(shape, cell, strict=True)]
    places = [
        np.unique(np.concatenate([[0.0], c, [n - 1.0]]))
        for c, n in zip(centres, shape, strict=True)
    ]
    nodes: Axes = (places[0], places[1], places[2])
    known = np.where(weights > 0, values, 0.0)
    fitted = np.full([len(a) for a in nodes], np.nan)
    bandwidth = bandwidth_cells
    while np.isnan(fitted).any():
        found = _local_planes(known, weights, centres, nodes, [bandwidth * c for c in cell])
        fitted = np.where(np.isnan(fitted), found, fitted)
        bandwidth *= 2
    # A plane may fall below zero past the last cell; no amplitude does.
    lowest = LEAST_SHARE * float(known[weights > 0].min())
    return ThresholdField(nodes=nodes, values=np.maximum(fitted, lowest))


def _local_planes(
    values: Values, weights: Values, centres: list[Values], nodes: Axes, widths: list[float]
) -> Values:
    """Fit value = a + b . (x - mean x) around every node and evaluate it there."""
    kernels, firsts, seconds = [], [], []
    for centre, node, width in zip(centres, nodes, widths, strict=True):
        offset = (centre[None, :] - node[:, None]) / width
        kernel = np.exp(-0.5 * offset**2)
        kernels.append(kernel)
        firsts.append(kernel * offset)
        seconds.append(kernel * offset**2)

    def moment(field: Values, *orders: int) -> Values:
        """Sum field x kernel x offset^order over the cells, for every node."""
        for axis, order in enumerate(orders):
            matrix = (kernels, firsts, seconds)[order][axis]
            field = np.moveaxis(np.tensordot(matrix, field, axes=(1, axis)), 0, axis)
        return field

    unit = np.eye(3, dtype=int)
    total = moment(weights, 0, 0, 0)
    empty = total < 1e-6 * weights.max()
    safe = np.where(empty, 1.0, total)
    mean = np.stack([moment(weights, *u) for u in unit], axis=-1) / safe[..., None]
    level = moment(weights * values, 0, 0, 0) / safe
    joint = np.stack([moment(weights * values, *u) for u in unit], axis=-1) / safe[..., None]
    spread = np.empty((*total.shape, 3, 3))
    for i in range(3):
        for j in range(3):
            spread[..., i, j] = moment(weights, *(unit[i] + unit[j])) / safe
    spread -= mean[..., :, None] * mean[..., None, :]
    slope = _solve(spread, joint - mean * level[..., None])
    return np.where(empty, np.nan, level - (slope * mean).sum(axis=-1))


def _solve(matrix: Values, vector: Values) -> Values:
    """Solve symmetric 3 x 3 systems; directions without spread get no slope."""
    (a, b, c), (_, d, e), (_, _, f) = np.moveaxis(matrix, (-2, -1), (0, 1))
    # The columns of the adjugate; the inverse is the adjugate over the determinant.
    first = (d * f - e * e, c * e - b * f, b * e - c * d)
    second = (first[1], a * f - c * c, b * c - a * e)
    third = (first[2], second[2], a * d - b * b)
    determinant = a * first[0] + b * first[1] + c * first[2]
    trace = a + d + f
    regular = (determinant > WELL_SPREAD * trace**3) & (trace > WELL_SPREAD)
    safe = np.where(regular, determinant, 1.0)
    x, y, z = np.moveaxis(vector, -1, 0)
    rows = [(p * x + q * y + r * z) / safe for p, q, r in (first, second, third)]
    found = np.stack(rows, axis=-1)
    found[~regular] = _solve_spread(matrix[~regular], vector[~regular])
    return found


def _solve_spread(matrix: Values, vector: Values) -> Values:
    """Solve systems along the directions that have spread, in twice the time."""
    size, axes = np.linalg.eigh(matrix)
    along = np.einsum("...ji,...j->...i", axes, vector)
    known = size > LEAST_SPREAD
    along = np.where(known, along / np.where(known, size, 1.0), 0.0)
    return np.asarray(np.einsum("...ij,...j->...i", axes, along))
