"""Monogenic amplitude of a block in a band of frequencies: the local strength of its waves.

A real field q0 and its three Riesz transforms q_a (Fourier multipliers -i u_a / |u|) have the
amplitude A = sqrt(q0^2 + qx^2 + qy^2 + qz^2): 1 for a unit plane wave of any direction and phase
(Felsberg & Sommer 2001, doi:10.1109/78.969520).

Cost per band, on a box just large enough for its frequencies: two complex inverse transforms. The
four real fields are packed in pairs, q0 + i qx with the multiplier H (1 + u_x/|u|) and
qy + i qz with H (u_z - i u_y)/|u|, so A^2 = |c1|^2 + |c2|^2. Spectra are kept with zero frequency
in the middle: a band is then one slice, and the phase this leaves in c1 and c2 has modulus one.
"""

from collections.abc import Iterator
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
    modulus,
    planes,
    scale,
    slabs,
)
from distres.kernels.folding import fold
from distres.kernels.halfspectrum import filter_half, inverse_half
from distres.kernels.lowspectrum import LowSpectrum
from distres.kernels.riesz import RieszBlock

SMOOTHER_STOP = 1.2


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
        return cls(high=0.0, stop=SMOOTHER_STOP * frequency)

    @staticmethod
    def finest_smoother(spacing_angstrom: float) -> float:
        """Return the highest frequency whose `smoother` samples so far apart can hold."""
        return 0.5 / (SMOOTHER_STOP * spacing_angstrom)

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
    samples: Shape3 | None = None,
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
    samples
        Along each axis at most so many values, where the band alone would ask for more: the exact
        amplitude at fewer places, at a fraction of the cost. None for as many as hold the band.

    Returns
    -------
    tensor
        (z, y, x) float32 on the block's box sampled with `box_shape(..., band.stop)`, or fewer:
        sample j lies at voxel ``j * shape / box``. Finite for every band.
    """
    shape, device = riesz.shape, riesz.along.device
    holds = box_shape(shape, riesz.voxel_angstrom, band.stop)
    box = holds if samples is None else _least(holds, samples)
    gain = band.gain(riesz.octant(holds)).mul_(prod(box) / prod(shape))
    if face_ramp_freq_vox > 0:
        _fade_faces(gain, shape, face_ramp_freq_vox)
    amplitude = empty(box, torch.float32, device)
    for count, field in enumerate(_filtered(riesz, mirrored(gain, holds), holds, box)):
        pair = fourier.ifftn(field)
        for slab in slabs(box, device):
            if count == 0:
                modulus(pair[slab], amplitude[slab])
            else:
                other = modulus(pair[slab], torch.empty_like(amplitude[slab]))
                amplitude[slab].hypot_(other)
    return amplitude


def _filtered(
    riesz: RieszBlock, weights: torch.Tensor, holds: Shape3, box: Shape3
) -> Iterator[torch.Tensor]:
    """Filter both spectra, one after the other on the box that holds the band, or folded."""
    spectra = [s[middle(riesz.shape, holds)] for s in (riesz.along, riesz.across)]
    if box != holds:
        yield from fold(spectra, weights, box)
        return
    field = empty(box, torch.complex64, riesz.along.device)
    for spectrum in spectra:
        for slab in slabs(box, field.device):
            scale(spectrum[slab], planes(weights, box, slab), field[slab])
        yield field


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
    box = amplitude.shape
    voxel = [e / n for e, n in zip(extent_angstrom, box, strict=True)]
    low = LowSpectrum(box, voxel, low_pass.stop, shape)
    gain = low_pass.gain(low.radius(amplitude.device)).mul_(prod(shape) / prod(box))
    spectrum = low.forward(amplitude)
    return inverse_half(filter_half(spectrum, gain.to(spectrum.dtype), spectrum), shape, keep)


def _least(first: Shape3, second: Shape3) -> Shape3:
    z, y, x = (min(pair) for pair in zip(first, second, strict=True))
    return z, y, x


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
