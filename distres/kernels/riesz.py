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
    half = fourier.rfftn(block)
    spectrum = empty(shape, half.dtype, block.device)
    for slab in slabs(shape, block.device):
        _unfold(half, planes(gain, shape, slab), slab, spectrum)
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


def _unfold(half: torch.Tensor, gain: torch.Tensor, slab: slice, out: torch.Tensor) -> None:
    """Fill planes of a centred spectrum from the half of it that a real block needs, times a gain.

    A transform to half the spectrum takes half the time, and the rest is its mirror image: the
    conjugate at the opposite frequency.
    """
    _, ny, nx = out.shape
    negative = nx // 2
    z = torch.arange(slab.start, slab.stop, device=half.device) - out.shape[0] // 2
    here = _rows(half, z)
    for y_to, y_from in shifted(ny):
        part = here[:, y_from, : nx - negative]
        scale(part, gain[:, y_to, 2 * negative :], out[slab, y_to, negative:])
    y = torch.arange(ny, device=half.device) - ny // 2
    opposite = _rows(half, -z)[:, :, 1 : negative + 1].index_select(1, -y % ny).flip(2)
    conjugate = torch.tensor([1.0, -1.0], device=half.device).repeat(negative)
    scale(opposite, gain[:, :, : 2 * negative] * conjugate, out[slab, :, :negative])


def _rows(half: torch.Tensor, z: torch.Tensor) -> torch.Tensor:
    """Return planes by their frequency; a view for one plane."""
    n = half.shape[0]
    if len(z) == 1:
        return half.narrow(0, int(z[0]) % n, 1)
    return half.index_select(0, z % n)


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
