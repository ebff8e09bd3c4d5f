"""Transforms of real blocks of which only low frequencies count, without touching the others.

Filters that end well below the Nyquist frequency leave most of a spectrum empty. The transform is
taken axis by axis, and after each one what lies beyond is dropped (or, backward, what is empty is
not transformed): with a share p of every axis kept it takes ``(p^2 + p + 1) / 3`` of the whole.
"""

from collections.abc import Sequence
from math import floor
from typing import Any

import scipy.fft
import torch

from distres.kernels.fourier import frequency_axes, irfftn, rfftn

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

    Attributes
    ----------
    octant
        (z, y, x) number of frequencies from 0 upward that are kept.
    kept
        (z, y, x) shape of what `forward` returns: along z and y the negative ones follow.
    """

    def __init__(self, shape: Sequence[int], spacing: Sequence[float], top: float) -> None:
        self.shape = (shape[0], shape[1], shape[2])
        self._spacing = tuple(spacing)
        lows = [floor(top * n * s + _MARGIN) for n, s in zip(shape, spacing, strict=True)]
        nz, ny, nx = (min(low, n // 2) + 1 for low, n in zip(lows, shape, strict=True))
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
        lines = _along(2, block, None)[:, :, : self.kept[2]]
        for axis in (1, 0):
            lines = self._cropped(_along(axis, lines, None), axis)
        return lines

    def inverse(self, spectrum: torch.Tensor) -> torch.Tensor:
        """Return the block whose other coefficients are 0; may use the spectrum as scratch."""
        if self.whole:
            return irfftn(spectrum, self.shape)
        for axis in (0, 1):
            spectrum = _along(axis, self._padded(spectrum, axis), self.shape[axis])
        return _along(2, spectrum, self.shape[2])

    def filtered(
        self, spectrum: torch.Tensor, gain: torch.Tensor, out: torch.Tensor
    ) -> torch.Tensor:
        """Multiply coefficients by an even gain that is given on the octant.

        Parameters
        ----------
        spectrum, out
            `kept` complex64.
        gain
            `octant`; complex like the spectrum, which multiplies thrice as fast as a real one.
        """
        for z, upper in self._runs(0, gain):
            for y, part in self._runs(1, upper):
                torch.mul(spectrum[z, y], part, out=out[z, y])
        return out

    def _runs(self, axis: int, gain: torch.Tensor) -> list[tuple[slice, torch.Tensor]]:
        """Return where the octant, and its mirror image, lie along an axis."""
        first, kept = self.octant[axis], self.kept[axis]
        runs = [(slice(0, first), gain)]
        if kept > first:
            mirrored = gain.narrow(axis, 1, kept - first).flip(axis)
            runs.append((slice(first, kept), mirrored))
        return runs

    def _cropped(self, lines: torch.Tensor, axis: int) -> torch.Tensor:
        first, kept, n = self.octant[axis], self.kept[axis], self.shape[axis]
        if kept == n:
            return lines
        parts = (lines.narrow(axis, 0, first), lines.narrow(axis, n - kept + first, kept - first))
        return torch.cat(parts, dim=axis)

    def _padded(self, spectrum: torch.Tensor, axis: int) -> torch.Tensor:
        first, kept, n = self.octant[axis], self.kept[axis], self.shape[axis]
        if kept == n:
            return spectrum
        shape = list(spectrum.shape)
        shape[axis] = n
        out = spectrum.new_zeros(shape)
        out.narrow(axis, 0, first).copy_(spectrum.narrow(axis, 0, first))
        behind = spectrum.narrow(axis, first, kept - first)
        out.narrow(axis, n - kept + first, kept - first).copy_(behind)
        return out


def gaussian_mean(block: torch.Tensor, sigma_vox: float) -> torch.Tensor:
    """Return the mean of a block (z, y, x) in a Gaussian window around every voxel, periodically.

    The window's transform is below 1e-6 beyond the frequencies that are used.
    """
    low = LowSpectrum(block.shape, (1.0, 1.0, 1.0), 0.84 / sigma_vox)
    gain = torch.exp(low.radius(block.device).square_() * (-2 * (torch.pi * sigma_vox) ** 2))
    spectrum = low.forward(block)
    return low.inverse(low.filtered(spectrum, gain.to(spectrum.dtype), spectrum))


def _along(axis: int, values: torch.Tensor, back_to: int | None) -> torch.Tensor:
    """Transform one axis: forward, or back to so many samples; axis 2 is the real one."""
    real, back = axis == 2, back_to is not None
    if values.device.type != "cpu":
        on_device = {
            (False, False): torch.fft.fft,
            (False, True): torch.fft.ifft,
            (True, False): torch.fft.rfft,
            (True, True): torch.fft.irfft,
        }[real, back]
        moved: torch.Tensor = on_device(values, n=back_to, dim=axis)
        return moved
    on_host: Any = {
        (False, False): scipy.fft.fft,
        (False, True): scipy.fft.ifft,
        (True, False): scipy.fft.rfft,
        (True, True): scipy.fft.irfft,
    }[real, back]
    # What is transformed is a scratch of our own, but for the block itself.
    scratch = back or not real
    array = on_host(values.numpy(), n=back_to, axis=axis, overwrite_x=scratch)
    return torch.from_numpy(array)
