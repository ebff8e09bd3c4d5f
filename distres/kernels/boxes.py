"""Windowed boxes around many voxels at once, and their spectra in a sphere of frequencies.

Every box of a regular grid of centres is windowed and Fourier transformed by three small real
matrix products, one per axis: ``T = (D D D) h``, D = window times (cosines | sines) about the box
centre.
Only frequencies that are used are computed, padding costs nothing before the transform, and boxes
in one column of the grid share the products along x and y.

A window that is no product of three, as a soft sphere, is laid on each box first: then nothing is
shared, and a box takes up to twice as long.

No complex numbers are needed for shell sums: added over the signs of kz, ky, kx, ``F1 conj(F2)``
is the sum over the eight products cosine/sine of ``T1 T2``.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from math import floor

import numpy as np
import numpy.typing as npt
import torch

Float = npt.NDArray[np.float64]
Shape3 = tuple[int, int, int]


def hann(edge: int) -> Float:
    """Hann window of an odd box, centred on its middle voxel and nowhere zero: (edge,) float64."""
    distance = np.arange(edge) - (edge - 1) / 2
    window: Float = (1 + np.cos(2 * np.pi * distance / (edge + 1))) / 2
    return window


def soft_sphere(edges: Shape3) -> Float:
    """Hann window of the distance from the middle voxel of an odd box: (z, y, x) float64.

    It is zero from the sphere (in an uneven box, the ellipsoid) on that meets the box's faces.
    """
    squared: Float = np.zeros(edges)
    for axis, edge in enumerate(edges):
        distance = (np.arange(edge) - (edge - 1) / 2) / ((edge + 1) / 2)
        squared += (distance**2).reshape([-1 if a == axis else 1 for a in range(3)])
    window: Float = (1 + np.cos(np.pi * np.minimum(np.sqrt(squared), 1))) / 2
    return window


@dataclass(frozen=True, kw_only=True)
class BoxDesign:
    """Window, frequencies and shells shared by all boxes.

    Parameters
    ----------
    windows
        One (edge,) window per axis (z, y, x); the box window is their product.
    pads
        Padded edge per axis in voxels: the spacing of frequencies is 1 / (pad * voxel size).
    voxel_size_angstrom
        Voxel edges (z, y, x); they may differ.
    finest_angstrom
        Shells reach to this resolution.
    bsoft
        Count coefficients as Bsoft 2.1 does: half space with x from 0 to below pad / 2, the plane
        x = 0 taken whole, shells two beyond the limit.
    ball
        (z, y, x) window on top of the product, for instance `soft_sphere` on windows of ones;
        symmetric about its middle voxel along every axis.

    Notes
    -----
    A coefficient at radius rho (in shells) is shared between shells floor(rho) and floor(rho) + 1
    with weights 1 - frac and frac. Shell i lies at ``i * width_per_angstrom``.
    """

    windows: tuple[Float, Float, Float]
    pads: Shape3
    voxel_size_angstrom: tuple[float, float, float]
    finest_angstrom: float
    bsoft: bool = False
    ball: Float | None = None

    @cached_property
    def window(self) -> Float:
        """The whole window: (z, y, x)."""
        z, y, x = self.windows
        product: Float = z[:, None, None] * y[:, None] * x
        return product if self.ball is None else product * self.ball

    @property
    def box(self) -> Shape3:
        """Box edges in voxels (z, y, x)."""
        z, y, x = (len(w) for w in self.windows)
        return z, y, x

    @property
    def width_per_angstrom(self) -> float:
        """Distance between shells: one over the longest padded edge."""
        edges = (p * a for p, a in zip(self.pads, self.voxel_size_angstrom, strict=True))
        return 1.0 / max(edges)

    @cached_property
    def count(self) -> int:
        """Shells, the one at 0 included; the last lies at or just below the finest resolution."""
        last = floor(1.0 / (self.finest_angstrom * self.width_per_angstrom) + 1e-6)
        return last + (2 if self.bsoft else 1)

    @property
    def frequency_per_angstrom(self) -> Float:
        """Centres of the shells, (count,)."""
        return np.arange(self.count, dtype=np.float64) * self.width_per_angstrom

    @cached_property
    def harmonics(self) -> Shape3:
        """Frequencies per axis from 0 on: all that can fall into a shell, up to Nyquist."""
        reach = self.count * self.width_per_angstrom
        z, y, x = (
            min(floor(reach * p * a - 1e-6), p // 2) + 1
            for p, a in zip(self.pads, self.voxel_size_angstrom, strict=True)
        )
        return z, y, x

    def axis_matrix(self, axis: int) -> Float:
        """(edge, 2 K): window times cosines of harmonics 0..K-1, then times sines."""
        edge, harmonics = self.box[axis], self.harmonics[axis]
        position = np.arange(edge) - (edge - 1) / 2
        angle = 2 * np.pi / self.pads[axis] * np.outer(position, np.arange(harmonics))
        waves = np.concatenate([np.cos(angle), np.sin(angle)], axis=1)
        matrix: Float = self.windows[axis][:, None] * waves
        return matrix

    def multiplicity(self, axis: int) -> Float:
        """How many coefficients of the counted space each harmonic of an axis stands for: (K,)."""
        counts = np.full(self.harmonics[axis], 2.0)
        counts[0] = 1
        half = self.pads[axis] / 2
        if counts.size - 1 == half:
            counts[-1] = 1
        if self.bsoft and axis == 2:
            counts[:] = 2
            counts[half <= np.arange(counts.size)] = 0
        return counts

    def shell_weights(self) -> Float:
        """(Kz Ky Kx, count): the share of every coefficient in every shell."""
        kz, ky, kx = (
            np.arange(n) / (p * a * self.width_per_angstrom)
            for n, p, a in zip(self.harmonics, self.pads, self.voxel_size_angstrom, strict=True)
        )
        radius = np.sqrt(kz[:, None, None] ** 2 + ky[:, None] ** 2 + kx**2).ravel()
        mz, my, mx = (self.multiplicity(axis) for axis in range(3))
        number = (mz[:, None, None] * my[:, None] * mx).ravel()
        # The small term keeps radii that are whole in their own shell.
        low = np.floor(radius + 1e-9).astype(np.intp)
        part = np.clip(radius - low, 0.0, 1.0)
        weights = np.zeros((radius.size, self.count + 1))
        rows = np.arange(radius.size)
        inside = low < self.count
        weights[rows[inside], low[inside]] = (number * (1 - part))[inside]
        weights[rows[inside], low[inside] + 1] += (number * part)[inside]
        return weights[:, : self.count]


@dataclass(frozen=True, kw_only=True)
class Column:
    """Boxes of one column (along z) of the grid.

    Attributes
    ----------
    keep
        Places of the boxes in the flattened grid of centres (z, y, x), (m,) int64.
    spectra
        One tensor per volume, (m, 2 Kz, 2 Ky, 2 Kx): cosines then sines along every axis.
    """

    keep: npt.NDArray[np.int64]
    spectra: tuple[torch.Tensor, ...]


def box_spectra(
    blocks: tuple[torch.Tensor, ...],
    design: BoxDesign,
    *,
    step: int,
    wanted: npt.NDArray[np.bool_],
    batch: int,
) -> Iterator[Column]:
    """Transform the windowed boxes around all wanted centres, column by column.

    Parameters
    ----------
    blocks
        Volumes (z, y, x) float32 on one device, larger than the grid of centres by a box less one
        voxel: the box of centre (i, j, k) begins at ``step * (i, j, k)``.
    step
        Distance of centres in voxels.
    wanted
        (nz, ny, nx) centres to compute.
    batch
        Boxes handed out at a time.

    Yields
    ------
    Column
        Boxes of one (y, x), at most `batch` of them. The tensors are reused: take what is needed
        before asking for the next.

    Notes
    -----
    Work per box and volume: 2 b (2K)^3 operations along z, less along y and x, which the boxes of a
    column share. That is more than a fast transform wants and still several times faster, since
    it runs at the speed of matrix products.
    """
    device = blocks[0].device
    matrices = [
        torch.from_numpy(design.axis_matrix(axis).astype(np.float32)).to(device)
        for axis in range(3)
    ]
    along_z, along_y = (m.T.contiguous() for m in matrices[:2])
    ball = None
    if design.ball is not None:
        ball = torch.from_numpy(design.ball.astype(np.float32)).to(device)
    bz, by, bx = design.box
    for ix in np.flatnonzero(wanted.any(axis=(0, 1))):
        x = int(ix) * step
        # Under a ball no two boxes share anything.
        rows = [block[:, :, x : x + bx] @ matrices[2] for block in blocks if ball is None]
        for iy in np.flatnonzero(wanted[:, :, ix].any(axis=0)):
            y = int(iy) * step
            places = np.flatnonzero(wanted[:, iy, ix])
            low, high = int(places[0]) * step, int(places[-1]) * step + bz
            planes = [torch.matmul(along_y, row[low:high, y : y + by]).flatten(1) for row in rows]
            flat = (places * wanted.shape[1] + iy) * wanted.shape[2] + ix
            for first in range(0, len(places), batch):
                chosen = places[first : first + batch]
                starts = chosen * step - low
                if ball is None:
                    spectra = tuple(_along_z(along_z, plane, starts, step) for plane in planes)
                else:
                    part = (slice(low, high), slice(y, y + by), slice(x, x + bx))
                    spectra = tuple(
                        _one_by_one(block[part], ball, matrices, starts) for block in blocks
                    )
                shape = (len(chosen), *(m.shape[1] for m in matrices))
                yield Column(
                    keep=flat[first : first + batch],
                    spectra=tuple(s.view(shape) for s in spectra),
                )


def _one_by_one(
    column: torch.Tensor,
    ball: torch.Tensor,
    matrices: list[torch.Tensor],
    starts: npt.NDArray[np.int64],
) -> torch.Tensor:
    """Lay a ball on every box of a column, then transform it along x, y and z."""
    index = torch.from_numpy(starts).to(column.device)
    boxes = column.unfold(0, ball.shape[0], 1)[index].permute(0, 3, 1, 2) * ball
    along_x = boxes @ matrices[2]
    along_y = torch.matmul(matrices[1].T, along_x)
    return torch.matmul(matrices[0].T, along_y.flatten(2))


def _along_z(
    matrix: torch.Tensor, plane: torch.Tensor, starts: npt.NDArray[np.int64], step: int
) -> torch.Tensor:
    """Multiply the slab of every box, `plane[start : start + edge]`, by the z axis' matrix."""
    edge, width = matrix.shape[1], plane.shape[1]
    number = len(starts)
    first = int(starts[0])
    dense = int(starts[-1]) - first == (number - 1) * step
    span = number if dense else (int(starts[-1]) - first) // step + 1
    # Overlapping slabs are views of one plane: nothing is copied unless centres are missing.
    slabs = plane[first:].as_strided(
        (span, edge, width), (step * width, width, 1), storage_offset=first * width
    )
    if not dense:
        slabs = slabs[torch.from_numpy((starts - first) // step).to(plane.device)]
    return torch.bmm(matrix.expand(number, -1, -1), slabs)
