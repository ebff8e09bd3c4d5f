"""Amplitude of a map's waves along one direction: one end of a cone on the box that holds it.

Only waves within a cone around the direction count. A real map has each wave twice in its
spectrum, at +u and -u; the cone on one side alone gives the analytic signal, whose modulus is the
amplitude. It agrees with the monogenic amplitude of the double cone because within a narrow cone
the Riesz transform is the Hilbert transform along the axis, and it costs one complex inverse
transform of a box that holds one end of the cone, instead of four of the whole grid.
"""

from dataclasses import dataclass
from math import prod

import numpy as np
import torch

from distres.kernels import fourier
from distres.kernels.centred import Float3, Shape3
from distres.kernels.conebox import Cone, cone_box, cone_span, corner_frequency, lattice_box
from distres.kernels.monogenic import Band
from distres.kernels.riesz import DividedSpectrum

# A band is read from a table of |u|: this many entries up to the corner of the grid, so that a
# ramp of 0.04 cycles per voxel has 750 of them and the gain is off by 0.1 % at most.
SHELLS = 1 << 14


@dataclass(frozen=True, slots=True, kw_only=True)
class ConeSpectrum:
    """One end of a cone, cut out of the spectrum of a block, for all bands of a range.

    Attributes
    ----------
    shape, voxel_angstrom
        Of the block.
    cone
        The directions.
    first
        Where the cut begins in the centred spectrum.
    spectrum
        (z, y, x) complex64, times the cone's gain; divided by |u| as in `DividedSpectrum`.
    shells
        int32 |u| of every coefficient, in steps of the tables of `band_table`.
    """

    shape: Shape3
    voxel_angstrom: Float3
    cone: Cone
    first: Shape3
    spectrum: torch.Tensor
    shells: torch.Tensor

    @classmethod
    def of(cls, riesz: DividedSpectrum, cone: Cone, low: float, high: float) -> "ConeSpectrum":
        """Cut a cone's end out of a block's transform.

        Parameters
        ----------
        riesz
            Transform of a block.
        cone
            The directions, taken together with their opposites.
        low, high
            Lowest and highest frequency that any band passes, in 1/angstrom.
        """
        first, size = cone_box(riesz.shape, riesz.voxel_angstrom, low, high, cone)
        part = _cut(riesz.spectrum, first, size)
        axes = [
            (torch.arange(f, f + s, dtype=torch.float64, device=part.device) - n // 2) / (n * d)
            for f, s, n, d in zip(first, size, riesz.shape, riesz.voxel_angstrom, strict=True)
        ]
        z, y, x = (a.to(torch.float32) for a in axes)
        z, y = z[:, None, None], y[:, None]
        norm = (z * z + y * y + x * x).sqrt_()
        nz, ny, nx = cone.axis
        gain = cone.gain(z * nz + y * ny + x * nx, norm)
        _halve_ends(gain, first, riesz.shape)
        step = corner_frequency(riesz.voxel_angstrom) / SHELLS
        return cls(
            shape=riesz.shape,
            voxel_angstrom=riesz.voxel_angstrom,
            cone=cone,
            first=first,
            spectrum=part * gain,
            shells=norm.div_(step).add_(0.5).to(torch.int32),
        )

    def powers(self, squares: torch.Tensor) -> torch.Tensor:
        """Return the mean square, over the block, of the amplitude in every band.

        By Parseval's theorem: no transform is needed.

        Parameters
        ----------
        squares
            (bands, `SHELLS` + 2) float64 squares of their `band_table`.

        Returns
        -------
        tensor
            (bands,) float64.
        """
        parts = _modulus(self.spectrum).double().square_().view(-1)
        power = torch.bincount(self.shells.view(-1), parts, minlength=squares.shape[1])
        found: torch.Tensor = squares @ power
        return found / prod(self.shape) ** 2

    def amplitude(
        self, band: Band, table: torch.Tensor, *, oversampling: float = 1.0
    ) -> torch.Tensor:
        """Return the amplitude of the cone's waves in a band, on the small box that holds them.

        Parameters
        ----------
        band
            The frequencies, within the range of this cut.
        table
            Its `band_table`.
        oversampling
            Density of samples, see `lattice_box`. They are exact for 1, but the amplitude has twice
            the bandwidth of the signal: 2 lets it be interpolated with hardly any error.

        Returns
        -------
        tensor
            (z, y, x) float32; sample j lies at voxel ``j * shape / box``.
        """
        where = self.voxel_angstrom, band.start, band.stop, self.cone
        first, size = cone_box(self.shape, *where)
        part = tuple(
            slice(max(f - own, 0), min(f - own + s, have))
            for f, own, s, have in zip(first, self.first, size, self.spectrum.shape, strict=True)
        )
        spectrum = self.spectrum[part]
        box = lattice_box(size, self.shape, cone_span(*where), oversampling)
        gain = _taken(table * (prod(box) / prod(self.shape)), self.shells[part])
        field = spectrum.new_zeros(box)
        z, y, x = spectrum.shape
        torch.mul(spectrum, gain, out=field[:z, :y, :x])
        return _modulus(fourier.ifftn(field))


def band_table(band: Band, voxel_angstrom: Float3, device: torch.device) -> torch.Tensor:
    """Tabulate what a band makes of the coefficients of a `ConeSpectrum`.

    Twice the gain, since each wave is on both sides of the spectrum, times |u|, by which the
    spectrum of a `DividedSpectrum` is divided.

    Returns
    -------
    tensor
        (`SHELLS` + 2,) float32.
    """
    step = corner_frequency(voxel_angstrom) / SHELLS
    norm = torch.arange(SHELLS + 2, dtype=torch.float32, device=device) * step
    return band.gain(norm) * norm * 2


def _taken(table: torch.Tensor, index: torch.Tensor) -> torch.Tensor:
    """Look a table up; on a CPU numpy takes half the time of torch."""
    if index.device.type != "cpu":
        return table[index.long()]
    return torch.from_numpy(table.numpy().take(index.numpy(), mode="clip"))


def _modulus(field: torch.Tensor) -> torch.Tensor:
    """Return |field|; on a CPU numpy takes a tenth of the time of torch."""
    if field.device.type != "cpu":
        return field.abs()
    return torch.from_numpy(np.abs(field.numpy()))


def _cut(spectrum: torch.Tensor, first: Shape3, size: Shape3) -> torch.Tensor:
    """Return a part of a centred spectrum, which repeats beyond its ends."""
    for axis, (f, s, n) in enumerate(zip(first, size, spectrum.shape, strict=True)):
        if f + s <= n:
            spectrum = spectrum.narrow(axis, f, s)
        else:
            index = torch.arange(f, f + s, device=spectrum.device) % n
            spectrum = spectrum.index_select(axis, index)
    return spectrum


def _halve_ends(gain: torch.Tensor, first: Shape3, shape: Shape3) -> None:
    """Give each end of an even axis half of the highest frequency: they are one coefficient."""
    for axis, (f, n) in enumerate(zip(first, shape, strict=True)):
        s = gain.shape[axis]
        if n % 2 == 0 and s < n:
            if f == 0:
                gain.narrow(axis, 0, 1).mul_(0.5)
            if f + s == n + 1:
                gain.narrow(axis, s - 1, 1).mul_(0.5)
