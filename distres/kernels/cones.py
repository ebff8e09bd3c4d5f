"""Amplitude of a map's waves along one direction: one end of a cone on the box that holds it.

Only waves within a cone around the direction count. A real map has each wave twice in its
spectrum, at +u and -u; the cone on one side alone gives the analytic signal, whose modulus is the
amplitude. It agrees with the monogenic amplitude of the double cone because within a narrow cone
the Riesz transform is the Hilbert transform along the axis, and it costs one complex inverse
transform of a box that holds one end of the cone, instead of four of the whole grid.
"""

from dataclasses import dataclass
from functools import cached_property
from math import acos, cos, floor, pi, prod, radians

import numpy as np
import scipy.fft
import torch

from distres.errors import UsageError
from distres.kernels import fourier
from distres.kernels.centred import Float3, Shape3
from distres.kernels.monogenic import Band
from distres.kernels.riesz import DividedSpectrum

# A band is read from a table of |u|: this many entries up to the corner of the grid, so that a
# ramp of 0.04 cycles per voxel has 750 of them and the gain is off by 0.1 % at most.
SHELLS = 1 << 14


@dataclass(frozen=True, kw_only=True)
class Cone:
    """A cone of directions with a soft edge.

    Attributes
    ----------
    axis
        Unit vector (z, y, x).
    half_angle_degrees
        Where the gain has fallen to a half.
    edge_degrees
        Width of the edge; gain 1 inside, 0 outside of it.
    """

    axis: Float3
    half_angle_degrees: float = 15.0
    edge_degrees: float = 5.0

    def __post_init__(self) -> None:
        if not 0 <= self.edge_degrees / 2 < self.half_angle_degrees <= 60:
            raise UsageError(
                f"a cone of {self.half_angle_degrees:g} degrees with an edge of "
                f"{self.edge_degrees:g} is no cone; use up to 60 degrees, and a narrower edge"
            )

    @property
    def outer(self) -> float:
        """Angle in radians beyond which nothing passes."""
        return radians(self.half_angle_degrees + self.edge_degrees / 2)

    @cached_property
    def reach(self) -> tuple[tuple[float, float], ...]:
        """Least and largest cosine between an axis (z, y, x) and a direction inside the cone."""
        found = []
        for component in self.axis:
            angle = acos(min(1.0, max(-1.0, component)))
            found.append((cos(min(angle + self.outer, pi)), cos(max(angle - self.outer, 0.0))))
        return tuple(found)

    def gain(self, along: torch.Tensor, norm: torch.Tensor) -> torch.Tensor:
        """Return the gain for frequencies with component `along` the axis and length `norm`."""
        inner = radians(self.half_angle_degrees - self.edge_degrees / 2)
        angle = torch.acos((along / norm.clamp_min(1e-30)).clamp_(-1, 1))
        if self.edge_degrees == 0:
            return (angle <= inner).to(along.dtype)
        share = ((self.outer - angle) / (self.outer - inner)).clamp_(0, 1)
        return 0.5 - 0.5 * torch.cos(pi * share)


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
        part = riesz.spectrum[tuple(slice(f, f + s) for f, s in zip(first, size, strict=True))]
        axes = [
            (torch.arange(f, f + s, dtype=torch.float64, device=part.device) - n // 2) / (n * d)
            for f, s, n, d in zip(first, size, riesz.shape, riesz.voxel_angstrom, strict=True)
        ]
        z, y, x = (a.to(torch.float32) for a in axes)
        z, y = z[:, None, None], y[:, None]
        norm = (z * z + y * y + x * x).sqrt_()
        nz, ny, nx = cone.axis
        gain = cone.gain(z * nz + y * ny + x * nx, norm)
        step = _corner(riesz.voxel_angstrom) / SHELLS
        return cls(
            shape=riesz.shape,
            voxel_angstrom=riesz.voxel_angstrom,
            cone=cone,
            first=first,
            spectrum=part * gain,
            shells=norm.div_(step).add_(0.5).to(torch.int32),
        )

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
            Box edges in units of the smallest. Samples are exact for 1, but the amplitude has
            twice the bandwidth of the signal: 2 lets it be interpolated without any error.

        Returns
        -------
        tensor
            (z, y, x) float32; sample j lies at voxel ``j * shape / box``.
        """
        first, size = cone_box(self.shape, self.voxel_angstrom, band.start, band.stop, self.cone)
        part = tuple(
            slice(max(f - own, 0), min(f - own + s, have))
            for f, own, s, have in zip(first, self.first, size, self.spectrum.shape, strict=True)
        )
        spectrum = self.spectrum[part]
        box = _grown(size, self.shape, oversampling)
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
    step = _corner(voxel_angstrom) / SHELLS
    norm = torch.arange(SHELLS + 2, dtype=torch.float32, device=device) * step
    return band.gain(norm) * norm * 2


def cone_box(
    shape: Shape3, voxel_angstrom: Float3, low: float, high: float, cone: Cone
) -> tuple[Shape3, Shape3]:
    """Return first index and size of the part of a centred spectrum that holds a cone's end.

    Parameters
    ----------
    shape, voxel_angstrom
        Of the block.
    low, high
        Range of |u| in 1/angstrom; the corner of the grid at most.
    cone
        The directions.
    """
    stop = min(high, _corner(voxel_angstrom))
    first, size = [], []
    for n, d, (down, up) in zip(shape, voxel_angstrom, cone.reach, strict=True):
        bottom = floor(min(down * stop, down * low) * n * d)
        top = floor(max(up * stop, up * low) * n * d) + 1
        lowest = min(max(bottom, -(n // 2)), (n - 1) // 2)
        highest = max(min(top, (n - 1) // 2), lowest)
        first.append(lowest + n // 2)
        size.append(highest - lowest + 1)
    return (first[0], first[1], first[2]), (size[0], size[1], size[2])


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


def _corner(voxel_angstrom: Float3) -> float:
    return float(sum((0.5 / d) ** 2 for d in voxel_angstrom) ** 0.5)


def _grown(size: Shape3, shape: Shape3, oversampling: float) -> Shape3:
    z, y, x = (
        max(s, min(n, scipy.fft.next_fast_len(round(s * oversampling))))
        for s, n in zip(size, shape, strict=True)
    )
    return z, y, x
