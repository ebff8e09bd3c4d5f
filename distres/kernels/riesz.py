"""A block's spectrum made ready once, for all the bands of a sweep.

Spectra are kept with zero frequency in the middle: a band is then one slice, and the phase this
leaves in fields has modulus one.
"""

from dataclasses import dataclass

import torch

from distres.kernels import fourier
from distres.kernels.centred import (
    Float3,
    Shape3,
    empty,
    mirrored,
    octant_norm,
    planes,
    scale,
    shifted,
    slabs,
)
from distres.kernels.wedge import Wedge


@dataclass(frozen=True, slots=True, kw_only=True)
class DividedSpectrum:
    """The spectrum of a block divided by the length of the frequency.

    Attributes
    ----------
    spectrum
        (z, y, x) complex64 with zero frequency at index n // 2 of every axis. Zero frequency
        itself is not divided.
    voxel_angstrom
        Voxel lengths (z, y, x).
    """

    spectrum: torch.Tensor
    voxel_angstrom: Float3

    @property
    def shape(self) -> Shape3:
        """Shape of the block."""
        z, y, x = self.spectrum.shape
        return z, y, x


@dataclass(frozen=True, slots=True, kw_only=True)
class RieszBlock:
    """The spectra of a block and of its Riesz transforms q_a, two real fields to a complex one.

    Attributes
    ----------
    along
        (z, y, x) complex64 spectrum of q0 + i qx: the block's times 1 + u_x / |u|. Zero frequency
        is at index n // 2 of every axis.
    across
        The same of qy + i qz: the block's times (u_z - i u_y) / |u|.
    norm
        |u| in 1/angstrom of one octant of the frequencies.
    voxel_angstrom
        Voxel lengths (z, y, x).
    """

    along: torch.Tensor
    across: torch.Tensor
    norm: torch.Tensor
    voxel_angstrom: Float3

    @property
    def shape(self) -> Shape3:
        """Shape of the block."""
        z, y, x = self.along.shape
        return z, y, x

    def octant(self, box: Shape3) -> torch.Tensor:
        """Return |u| for the frequencies 0 .. box // 2 of a box over the same space."""
        z, y, x = box
        return self.norm[: z // 2 + 1, : y // 2 + 1, : x // 2 + 1]


def divided_spectrum(
    block: torch.Tensor, voxel_angstrom: Float3, wedge: Wedge | None = None
) -> DividedSpectrum:
    """Transform a real (z, y, x) float32 block.

    The block is taken as periodic: what must not wrap around is tapered before. Frequencies in a
    missing wedge are dropped.
    """
    shape = (block.shape[0], block.shape[1], block.shape[2])
    norm = octant_norm(shape, shape, voxel_angstrom, block.device)
    norm[0, 0, 0] = 1.0
    gain = mirrored(norm.reciprocal_(), shape)
    found = fourier.fftn(block)
    spectrum = empty(shape, found.dtype, block.device)
    for slab in slabs(shape, block.device):
        source = _rolled(found, slab)
        weight = planes(gain, shape, slab)
        for y_to, y_from in shifted(shape[1]):
            for x_to, x_from in shifted(shape[2]):
                pairs = slice(2 * x_to.start, 2 * x_to.stop)
                scale(source[:, y_from, x_from], weight[:, y_to, pairs], spectrum[slab, y_to, x_to])
    if wedge is not None:
        torch.view_as_real(spectrum).mul_(
            wedge.gain(shape, voxel_angstrom, block.device)[..., None]
        )
    return DividedSpectrum(spectrum=spectrum, voxel_angstrom=voxel_angstrom)


def riesz_block(
    block: torch.Tensor,
    voxel_angstrom: Float3,
    wedge: Wedge | None = None,
    *,
    published_nyquist: bool = False,
) -> RieszBlock:
    """Transform a real (z, y, x) float32 block and its Riesz transforms once, for all its bands.

    Parameters
    ----------
    block, voxel_angstrom, wedge
        As for `divided_spectrum`.
    published_nyquist
        At the highest frequency of an even axis the sign of u_a is not defined and its Riesz
        component is 0. True takes it as the published program does, where it follows from how a
        half spectrum is stored: + on the stored half. Needed only to compare with it.
    """
    divided = divided_spectrum(block, voxel_angstrom, wedge)
    along, shape = divided.spectrum, divided.shape
    norm = octant_norm(shape, shape, voxel_angstrom, block.device)
    # Zero frequency was not divided by its length.
    norm[0, 0, 0] = 1.0
    weights = mirrored(norm, shape)
    norm[0, 0, 0] = 0.0
    uz, uy, ux = _odd_frequencies(shape, voxel_angstrom, block.device)
    pairs = ux.repeat_interleave(2, dim=2)
    across = empty(shape, along.dtype, block.device)
    for slab in slabs(shape, block.device):
        part = along[slab]
        turn = torch.complex(uz[slab].expand(-1, shape[1], 1), -uy.expand(len(uz[slab]), -1, 1))
        torch.mul(part, turn, out=across[slab])
        if published_nyquist:
            _add_stored_half(across[slab], part, voxel_angstrom, slab, shape)
        scale(part, planes(weights, shape, slab).add_(pairs), part)
    return RieszBlock(along=along, across=across, norm=norm, voxel_angstrom=voxel_angstrom)


def _rolled(found: torch.Tensor, slab: slice) -> torch.Tensor:
    """Return planes of a plain spectrum by their places in a centred one; a view for one plane."""
    n = found.shape[0]
    if slab.stop == slab.start + 1:
        return found.narrow(0, (slab.start - n // 2) % n, 1)
    rows = torch.arange(slab.start, slab.stop, device=found.device)
    return found.index_select(0, (rows - n // 2) % n)


def _odd_frequencies(
    shape: Shape3, voxel: Float3, device: torch.device
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Return u_z, u_y, u_x along their axes, 0 where the sign of an even axis is undefined."""
    found = []
    for axis, (n, d) in enumerate(zip(shape, voxel, strict=True)):
        index = torch.arange(-(n // 2), (n + 1) // 2, device=device, dtype=torch.float64)
        u = index / (n * d)
        if n % 2 == 0:
            u[0] = 0.0
        view = [1, 1, 1]
        view[axis] = n
        found.append(u.to(torch.float32).view(view))
    return found[0], found[1], found[2]


def _add_stored_half(
    across: torch.Tensor, divided: torch.Tensor, voxel: Float3, slab: slice, shape: Shape3
) -> None:
    """Give the Riesz components at the highest frequency the sign of the stored half spectrum."""
    nz, ny, nx = shape
    sign = torch.sign(torch.arange(-(nx // 2), (nx + 1) // 2, device=across.device))
    if nx % 2 == 0:
        sign[0] = 0
    if nz % 2 == 0 and slab.start == 0:
        across[0] += divided[0] * (0.5 / voxel[0] * sign)
    if ny % 2 == 0:
        across[:, 0] += divided[:, 0] * (-0.5j / voxel[1] * sign)
