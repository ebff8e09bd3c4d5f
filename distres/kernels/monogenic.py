"""Monogenic amplitude of a block in a band of frequencies: the local strength of its waves.

A real field q0 and its three Riesz transforms q_a (Fourier multipliers -i u_a / |u|) have the
amplitude A = sqrt(q0^2 + qx^2 + qy^2 + qz^2): 1 for a unit plane wave of any direction and phase
(Felsberg & Sommer 2001, doi:10.1109/78.969520).

Cost per band, on a box just large enough for its frequencies: two complex inverse transforms. The
four real fields are packed in pairs, q0 + i qx with the multiplier H (1 + u_x/|u|) and
qy + i qz with H (u_z - i u_y)/|u|, so A^2 = |c1|^2 + |c2|^2. Spectra are kept with zero frequency
in the middle: a band is then one slice, and the phase this leaves in c1 and c2 has modulus one.
"""

from dataclasses import dataclass
from math import floor, inf, pi, prod

import scipy.fft
import torch

from distres.errors import UsageError
from distres.kernels import fourier
from distres.kernels.centred import (
    Float3,
    Shape3,
    empty,
    middle,
    mirrored,
    octant_norm,
    planes,
    scale,
    shifted,
    slabs,
)
from distres.kernels.halfspectrum import filter_half, inverse_half, shared_half
from distres.kernels.wedge import Wedge


@dataclass(frozen=True, slots=True, kw_only=True)
class Band:
    """A radial filter with raised-cosine edges, in 1/angstrom.

    Gain 0 up to `start`, 1 from `low` to `high`, 0 from `stop` on. ``low == 0`` means no lower
    edge (zero frequency passes), ``high == inf`` no upper one (the corners of the grid pass).
    """

    start: float = 0.0
    low: float = 0.0
    high: float = inf
    stop: float = inf

    def __post_init__(self) -> None:
        edges = (self.start, self.low, self.high, self.stop)
        if not 0 <= self.start <= self.low <= self.high <= self.stop or self.low == inf:
            raise UsageError(f"the edges of a band must rise from 0 on, not {edges}")

    @classmethod
    def octave(cls, frequency: float, ramp: float) -> "Band":
        """Pass [f, 2 f]: half the gain at f, nothing beyond 2 f + ramp.

        The lower edge, which decides what a test means, is `ramp` wide and centred on f. The upper
        one begins at 1.6 f: the wider an edge, the nearer everything stays that a voxel sees.
        """
        low = frequency + ramp / 2
        return cls(
            start=max(frequency - ramp / 2, 0.0),
            low=low,
            high=max(1.6 * frequency, low),
            stop=max(2 * frequency, low) + ramp,
        )

    @classmethod
    def high_pass(cls, frequency: float, ramp: float) -> "Band":
        """Pass all from f up to the corner of the grid, as published."""
        return cls(start=max(frequency - ramp, 0.0), low=frequency)

    @classmethod
    def smoother(cls, frequency: float) -> "Band":
        """Pass less and less up to 1.2 f: the kernel is a bump of about one wavelength."""
        return cls(high=0.0, stop=1.2 * frequency)

    @classmethod
    def low_pass(cls, frequency: float, ramp: float) -> "Band":
        """Pass all below f, nothing beyond f + ramp."""
        return cls(high=frequency, stop=frequency + ramp)

    def gain(self, norm: torch.Tensor) -> torch.Tensor:
        """Return the filter at frequencies of length `norm`; finite everywhere."""
        gain = torch.ones_like(norm)
        if self.low > 0:
            gain *= _rise((norm - self.start), self.low - self.start)
        if self.high < inf:
            gain *= _rise((self.stop - norm), self.stop - self.high)
        return gain


@dataclass(frozen=True, slots=True, kw_only=True)
class RieszBlock:
    """The spectrum of a block divided by the length of the frequency, ready for any band.

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


def riesz_block(
    block: torch.Tensor, voxel_angstrom: Float3, wedge: Wedge | None = None
) -> RieszBlock:
    """Transform a real (z, y, x) float32 block once, for all its bands.

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
    return RieszBlock(spectrum=spectrum, voxel_angstrom=voxel_angstrom)


def box_shape(shape: Shape3, voxel_angstrom: Float3, top: float) -> Shape3:
    """Return the smallest fast box over the same space that holds all frequencies below `top`.

    Parameters
    ----------
    shape
        Of the block.
    voxel_angstrom
        Voxel lengths (z, y, x).
    top
        Highest frequency in 1/angstrom; its index stays below half of the box.
    """
    box = []
    for n, d in zip(shape, voxel_angstrom, strict=True):
        wanted = n if top * d >= 0.5 else 2 * floor(top * n * d + 1e-6) + 2
        box.append(n if wanted >= n else min(n, scipy.fft.next_fast_len(wanted)))
    return box[0], box[1], box[2]


def monogenic_amplitude(
    riesz: RieszBlock,
    band: Band,
    *,
    face_ramp_freq_vox: float = 0.0,
    published_nyquist: bool = False,
) -> torch.Tensor:
    """Return the monogenic amplitude in a band on the small box that holds it.

    Parameters
    ----------
    riesz
        Transform of a block.
    band
        The frequencies.
    face_ramp_freq_vox
        Width of an edge, in cycles per voxel, that takes the filter to zero at the highest
        frequency of each axis. There the Riesz transform jumps, and without an edge a voxel feels
        the jump from far away.
    published_nyquist
        At the highest frequency of an even axis the sign of u_a is not defined and this returns
        0 for its Riesz component. True takes it as the published program does, where it follows
        from how a half spectrum is stored: + on the stored half. Needed only to compare with it.

    Returns
    -------
    tensor
        (z, y, x) float32 on the block's box sampled with `box_shape(..., band.stop)`: sample j lies
        at voxel ``j * shape / box``. Finite for every band.
    """
    shape, voxel = riesz.shape, riesz.voxel_angstrom
    device = riesz.spectrum.device
    box = box_shape(shape, voxel, band.stop)
    part = riesz.spectrum[middle(shape, box)]
    norm = octant_norm(shape, box, voxel, device)
    gain = band.gain(norm).mul_(prod(box) / prod(shape))
    if face_ramp_freq_vox > 0:
        _fade_faces(gain, shape, face_ramp_freq_vox)
    norm[0, 0, 0] = 1.0
    uz, uy, ux = _odd_frequencies(shape, box, voxel, device)
    field = empty(box, torch.complex64, device)
    weights = mirrored(gain, box)
    for slab in slabs(box, device):
        filtered = torch.empty_like(field[slab])
        scale(part[slab], planes(weights, box, slab), filtered)
        across = torch.complex(uz[slab].expand(-1, box[1], 1), -uy.expand(uz[slab].shape[0], -1, 1))
        torch.mul(filtered, across, out=field[slab])
        if published_nyquist:
            _add_stored_half(field[slab], filtered, voxel, slab, box)
    field = fourier.ifftn(field)
    power = empty(box, torch.float32, device)
    for slab in slabs(box, device):
        real, imaginary = _squares(field[slab])
        torch.add(real, imaginary, out=power[slab])
    along = mirrored(gain.mul_(norm), box)
    pairs = ux.repeat_interleave(2, dim=2)
    for slab in slabs(box, device):
        weight = torch.addcmul(planes(along, box, slab), planes(weights, box, slab), pairs)
        scale(part[slab], weight, field[slab])
    field = fourier.ifftn(field)
    for slab in slabs(box, device):
        real, imaginary = _squares(field[slab])
        power[slab].add_(real).add_(imaginary).sqrt_()
    return power


def smooth_amplitude(
    amplitude: torch.Tensor,
    extent_angstrom: Float3,
    low_pass: Band,
    shape: Shape3,
    keep: tuple[slice, ...] | None = None,
) -> torch.Tensor:
    """Low-pass an amplitude and sample it on another grid over the same space.

    Parameters
    ----------
    amplitude
        (z, y, x) float32 on any box.
    extent_angstrom
        Length of that box in angstrom (z, y, x).
    low_pass
        What of its spectrum is kept.
    shape
        Box of the answer: the block's own for a value at every voxel, a smaller one when samples
        are enough. Frequencies that it cannot hold are dropped.
    keep
        The part of that grid wanted, (z, y, x) slices; None for all.
    """
    box = (amplitude.shape[0], amplitude.shape[1], amplitude.shape[2])
    voxel = _voxel(extent_angstrom, box)
    common = tuple(min(a, b) for a, b in zip(box, shape, strict=True))
    common = (common[0], common[1], common[2])
    gain = low_pass.gain(octant_norm(box, common, voxel, amplitude.device))
    gain.mul_(prod(shape) / prod(box))
    spectrum = fourier.rfftn(amplitude)
    kept = shared_half(box, shape)
    same = kept == tuple(spectrum.shape)
    out = spectrum if same else empty(kept, spectrum.dtype, spectrum.device)
    return inverse_half(filter_half(spectrum, gain.to(spectrum.dtype), out), shape, keep)


def _squares(field: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Square real and imaginary parts in place and return both.

    Squaring pairs as plain rows of floats runs at the speed of memory; gathering one part does not.
    """
    pairs = torch.view_as_real(field)
    pairs.mul_(pairs)
    return pairs[..., 0], pairs[..., 1]


def _rolled(found: torch.Tensor, slab: slice) -> torch.Tensor:
    """Return planes of a plain spectrum by their places in a centred one; a view for one plane."""
    n = found.shape[0]
    if slab.stop == slab.start + 1:
        return found.narrow(0, (slab.start - n // 2) % n, 1)
    rows = torch.arange(slab.start, slab.stop, device=found.device)
    return found.index_select(0, (rows - n // 2) % n)


def _rise(distance: torch.Tensor, width: float) -> torch.Tensor:
    """Rise as a raised cosine from 0 at distance 0 to 1 at `width`; a step when that is 0."""
    if width <= 0:
        return (distance >= 0).to(distance.dtype)
    return 0.5 - 0.5 * torch.cos(pi * (distance / width).clamp_(0, 1))


def _fade_faces(octant: torch.Tensor, shape: Shape3, ramp_freq_vox: float) -> None:
    """Take an octant of a filter to zero at the highest frequency of each axis."""
    for axis, n in enumerate(shape):
        if n < 2:
            continue
        view = [1, 1, 1]
        view[axis] = -1
        index = torch.arange(octant.shape[axis], device=octant.device, dtype=torch.float32)
        octant *= _rise(0.5 - index / n, ramp_freq_vox).view(view)


def _voxel(extent: Float3, box: Shape3) -> Float3:
    z, y, x = (e / n for e, n in zip(extent, box, strict=True))
    return z, y, x


def _odd_frequencies(
    shape: Shape3, box: Shape3, voxel: Float3, device: torch.device
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Return u_z, u_y, u_x along their axes, 0 where an even block's sign is undefined."""
    found = []
    for axis in range(3):
        n, m = shape[axis], box[axis]
        index = torch.arange(-(m // 2), (m + 1) // 2, device=device, dtype=torch.float64)
        u = index / (n * voxel[axis])
        if m % 2 == 0:
            u[0] = 0.0
        view = [1, 1, 1]
        view[axis] = m
        found.append(u.to(torch.float32).view(view))
    return found[0], found[1], found[2]


def _add_stored_half(
    field: torch.Tensor, filtered: torch.Tensor, voxel: Float3, slab: slice, box: Shape3
) -> None:
    """Give the Riesz components at the highest frequency the sign of the stored half spectrum."""
    nz, ny, nx = box
    sign = torch.sign(torch.arange(-(nx // 2), (nx + 1) // 2, device=field.device))
    if nx % 2 == 0:
        sign[0] = 0
    if nz % 2 == 0 and slab.start == 0:
        field[0] += filtered[0] * (0.5 / voxel[0] * sign)
    if ny % 2 == 0:
        field[:, 0] += filtered[:, 0] * (-0.5j / voxel[1] * sign)
