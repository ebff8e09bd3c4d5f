"""LocalDeblur's blurring operator applied to a block, and its transpose."""

import numpy as np
import numpy.typing as npt
import torch

from distres.kernels.deblur_bank import Bank
from distres.kernels.fourier import irfftn, radial_frequency, rfftn

Float64 = npt.NDArray[np.float64]

_LOOKED_UP = 1 << 16


class LocalBlur:
    """H for one block: ``forward`` blurs by the local resolution, ``adjoint`` is its transpose.

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
        device = resolution.device
        self.shape = tuple(resolution.shape)
        self._filters = _radial_filters(bank, self.shape, voxel_size_angstrom, device)
        self._fields = _fields_of(bank, resolution, inside)

    def forward(self, block: torch.Tensor) -> torch.Tensor:
        """Return H v for v of shape (z, y, x)."""
        spectrum = rfftn(block)
        total = torch.zeros_like(block)
        for gain, field in zip(self._filters, self._fields, strict=True):
            total.addcmul_(irfftn(spectrum * gain, self.shape), field)
        return total

    def adjoint(self, block: torch.Tensor) -> torch.Tensor:
        """Return H' v: weight first, filter second (the filters are even, so self-adjoint)."""
        total: torch.Tensor | None = None
        for gain, field in zip(self._filters, self._fields, strict=True):
            spectrum = rfftn(block * field) * gain
            total = spectrum if total is None else total.add_(spectrum)
        if total is None:
            raise RuntimeError("a bank always holds one filter")
        return irfftn(total, self.shape)


def _radial_filters(
    bank: Bank,
    shape: tuple[int, ...],
    voxel_size_angstrom: tuple[float, float, float],
    device: torch.device,
) -> list[torch.Tensor]:
    """Return the filters on the half spectrum: interpolated on one octant, mirrored to the rest."""
    nz, ny, _ = shape
    radius = radial_frequency(shape, voxel_size_angstrom, device=device)
    octant = radius[: nz // 2 + 1, : ny // 2 + 1].contiguous()
    z, y = (
        torch.minimum(torch.arange(n, device=device), n - torch.arange(n, device=device))
        for n in (nz, ny)
    )
    parts = _interpolate(octant, bank.radii_per_angstrom, bank.filters)
    return [part.index_select(0, z).index_select(1, y) for part in parts]


def _fields_of(bank: Bank, resolution: torch.Tensor, inside: torch.Tensor) -> list[torch.Tensor]:
    """Return the weights at every voxel, 0 outside.

    They are looked up in tables so fine that no interpolation is needed: half a step of a range of
    20 angstrom is 1.5e-4 angstrom, and weights change by less than a tenth of themselves in one.
    """
    grid = bank.resolutions_angstrom
    fine = np.linspace(grid[0], grid[-1], _LOOKED_UP)
    step = (grid[-1] - grid[0]) / (_LOOKED_UP - 1)
    place = ((resolution - float(grid[0])) / float(step)).round_().clamp_(0, _LOOKED_UP - 1)
    # The last entry is what voxels outside look up.
    index = place.masked_fill_(~inside, _LOOKED_UP).to(torch.int32).view(-1)
    fields = []
    for field in bank.fields:
        values = np.append(np.interp(fine, grid, field), 0.0).astype(np.float32)
        table = torch.from_numpy(values).to(resolution.device)
        fields.append(table.index_select(0, index).view(resolution.shape))
    return fields


def _interpolate(at: torch.Tensor, grid: Float64, tables: Float64) -> list[torch.Tensor]:
    """Interpolate tables on an even grid linearly, clamped at the ends: one tensor a table."""
    step = (grid[-1] - grid[0]) / (len(grid) - 1)
    place = ((at - float(grid[0])) / float(step)).clamp_(0, len(grid) - 1)
    below = place.floor().clamp_(max=len(grid) - 2)
    weight = place - below
    index = below.to(torch.int64)
    found = []
    for table in tables:
        values = torch.from_numpy(table.astype(np.float32)).to(at.device)
        low = values[index]
        found.append(low + weight * (values[index + 1] - low))
    return found
