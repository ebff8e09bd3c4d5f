"""LocalDeblur's blurring operator applied to a block, and its transpose."""

import numpy as np
import numpy.typing as npt
import torch

from distres.kernels.deblur_bank import Bank
from distres.kernels.halfspectrum import filter_half
from distres.kernels.lowspectrum import LowSpectrum

Float64 = npt.NDArray[np.float64]

_LOOKED_UP = 1 << 16


class LocalBlur:
    """H for one block: ``forward`` blurs by the local resolution, ``adjoint`` is its transpose.

    Filters are kept on one octant of the frequencies that they let through; weights are looked up
    as they are needed. So the operator holds about 1 byte a voxel for each filter, and 4 more.

    Parameters
    ----------
    bank
        The low-rank operator.
    resolution
        (z, y, x) float32 local resolution in angstrom.
    inside
        (z, y, x) bool; H gives 0 outside.
    voxel_size_angstrom
        Voxel edges (z, y, x).
    """

    def __init__(
        self,
        bank: Bank,
        resolution: torch.Tensor,
        inside: torch.Tensor,
        voxel_size_angstrom: tuple[float, float, float],
    ) -> None:
        self.shape = tuple(resolution.shape)
        self._spectrum = LowSpectrum(self.shape, voxel_size_angstrom, bank.top_per_angstrom)
        radius = self._spectrum.radius(resolution.device)
        self._gains = _interpolate(radius, bank.radii_per_angstrom, bank.filters)
        self._weights = _fine_tables(bank, resolution.device)
        self._places = _places(bank, resolution, inside)

    def forward(self, block: torch.Tensor) -> torch.Tensor:
        """Return H v for v of shape (z, y, x)."""
        spectrum = self._spectrum.forward(block)
        total: torch.Tensor | None = None
        product = torch.empty_like(spectrum)
        for gain, weights in zip(self._gains, self._weights, strict=True):
            filter_half(spectrum, gain, product)
            band, field = self._spectrum.inverse(product), self._field(weights)
            total = band.mul_(field) if total is None else total.addcmul_(band, field)
        return _one_at_least(total)

    def adjoint(self, block: torch.Tensor) -> torch.Tensor:
        """Return H' v: weight first, filter second (the filters are even, so self-adjoint)."""
        total: torch.Tensor | None = None
        for gain, weights in zip(self._gains, self._weights, strict=True):
            spectrum = self._spectrum.forward(block * self._field(weights))
            filter_half(spectrum, gain, spectrum)
            total = spectrum if total is None else total.add_(spectrum)
        return self._spectrum.inverse(_one_at_least(total))

    def _field(self, weights: torch.Tensor) -> torch.Tensor:
        """Return the weight of one filter at every voxel, 0 outside."""
        return weights.index_select(0, self._places).view(self.shape)


def _one_at_least(total: torch.Tensor | None) -> torch.Tensor:
    if total is None:
        raise RuntimeError("a bank always holds one filter")
    return total


def _fine_tables(bank: Bank, device: torch.device) -> list[torch.Tensor]:
    """Return the weights on a range of resolutions, and the 0 of voxels outside as last entry.

    The tables are so fine that no interpolation is needed: half a step of a range of 20 angstrom
    is 1.5e-4 angstrom, and weights change by less than a tenth of themselves in one.
    """
    grid = bank.resolutions_angstrom
    fine = np.linspace(grid[0], grid[-1], _LOOKED_UP)
    tables = []
    for field in bank.fields:
        values = np.append(np.interp(fine, grid, field), 0.0).astype(np.float32)
        tables.append(torch.from_numpy(values).to(device))
    return tables


def _places(bank: Bank, resolution: torch.Tensor, inside: torch.Tensor) -> torch.Tensor:
    """Return (voxels,) int32: where in the tables every voxel looks its weights up."""
    grid = bank.resolutions_angstrom
    step = (grid[-1] - grid[0]) / (_LOOKED_UP - 1)
    place = ((resolution - float(grid[0])) / float(step)).round_().clamp_(0, _LOOKED_UP - 1)
    return place.masked_fill_(~inside, _LOOKED_UP).to(torch.int32).view(-1)


def _interpolate(at: torch.Tensor, grid: Float64, tables: Float64) -> list[torch.Tensor]:
    """Interpolate tables on an even grid linearly, clamped at the ends: one complex each."""
    step = (grid[-1] - grid[0]) / (len(grid) - 1)
    place = ((at - float(grid[0])) / float(step)).clamp_(0, len(grid) - 1).view(-1)
    below = place.floor().clamp_(max=len(grid) - 2)
    weight = place - below
    index = below.to(torch.int32)
    found = []
    for table in tables:
        values = torch.from_numpy(table.astype(np.float32)).to(at.device)
        low = values.index_select(0, index)
        high = values[1:].index_select(0, index)
        found.append(torch.lerp(low, high, weight).view(at.shape).to(torch.complex64))
    return found
