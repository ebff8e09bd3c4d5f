"""Transforms of real blocks of which only low frequencies count, without touching the others.

Filters that end well below the Nyquist frequency leave most of a spectrum empty. The transform is
taken axis by axis, and after each one what lies beyond is dropped (or, backward, what is empty is
not transformed): with a share p of every axis kept it takes ``(p^2 + p + 1) / 3`` of the whole.
"""

from collections.abc import Sequence
from math import floor

import torch

from distres.kernels.fourier import fft_along, frequency_axes, rfft_along_x, rfftn
from distres.kernels.halfspectrum import crop_along, filter_half, inverse_half

_MARGIN = 1e-6  # of a frequency step: what lies on the edge is kept


class LowSpectrum:
    """The coefficients of a block's half spectrum up to a frequency along each axis.

    Parameters
    ----------
    shape
        Voxels of the block (z, y, x).
    spacing
        Voxel edges.
    top
        Highest frequency kept along each axis, in the inverse unit of `spacing`.
    other
        Voxels of another grid over the same space that has to hold what is kept.

    Attributes
    ----------
    octant
        (z, y, x) number of frequencies from 0 upward that are kept.
    kept
        (z, y, x) shape of what `forward` returns and `filter_half` takes: along z and y the
        negative ones follow.
    """

    def __init__(
        self,
        shape: Sequence[int],
        spacing: Sequence[float],
        top: float,
        other: Sequence[int] | None = None,
    ) -> None:
        self.shape = (shape[0], shape[1], shape[2])
        self._spacing = tuple(spacing)
        lows = [
            min(floor(min(top * s, 1.0) * n + _MARGIN), n // 2 if n == m else (min(n, m) - 1) // 2)
            for n, s, m in zip(shape, spacing, other or shape, strict=True)
        ]
        nz, ny, nx = (low + 1 for low in lows)
        self.octant = (nz, ny, nx)
        below = [min(low, (n - 1) // 2) for low, n in zip(lows[:2], shape[:2], strict=True)]
        self.kept = (nz + below[0], ny + below[1], nx)

    @property
    def whole(self) -> bool:
        """Whether nothing is left out."""
        z, y, x = self.shape
        return self.kept == (z, y, x // 2 + 1)

    def radius(self, device: torch.device | str = "cpu") -> torch.Tensor:
        """Return the length of the frequency vector at every coefficient of the octant."""
        parts = frequency_axes(self.shape, self._spacing, device=device)
        z, y, x = (
            part.abs().narrow(axis, 0, n)
            for axis, (part, n) in enumerate(zip(parts, self.octant, strict=True))
        )
        return torch.sqrt(z * z + y * y + x * x)

    def forward(self, block: torch.Tensor) -> torch.Tensor:
        """Return the kept coefficients of a block (z, y, x)."""
        if self.whole:
            return rfftn(block)
        lines = rfft_along_x(block)[:, :, : self.kept[2]]
        for axis in (1, 0):
            lines = crop_along(fft_along(lines, axis), axis, self.kept[axis])
        return lines

    def inverse(self, spectrum: torch.Tensor) -> torch.Tensor:
        """Return the block whose other coefficients are 0; may use the spectrum as scratch."""
        return inverse_half(spectrum, self.shape)


def gaussian_mean(block: torch.Tensor, sigma_vox: float) -> torch.Tensor:
    """Return the mean of a block (z, y, x) in a Gaussian window around every voxel, periodically.

    The window's transform is below 1e-6 beyond the frequencies that are used.
    """
    low = LowSpectrum(block.shape, (1.0, 1.0, 1.0), 0.84 / sigma_vox)
    gain = torch.exp(low.radius(block.device).square_() * (-2 * (torch.pi * sigma_vox) ** 2))
    spectrum = low.forward(block)
    return low.inverse(filter_half(spectrum, gain.to(spectrum.dtype), spectrum))
