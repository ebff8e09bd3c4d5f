"""Band-pass a block that is one tile of a larger volume, or ends at the volume's faces.

The block is continued by reflection where the volume ends, faded to zero at its outer edge so that
its opposite faces meet without a step, and transformed once. Each band is inverted on the coarsest
grid that holds it: the spectrum is cropped to the band before the inverse transform.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import lru_cache
from math import ceil

import numpy as np
import scipy.fft
import torch

from distres.kernels.bands import Band
from distres.kernels.fourier import irfftn, radial_frequency, rfftn

Float3 = tuple[float, float, float]
Int3 = tuple[int, int, int]
Faces = tuple[tuple[bool, bool], tuple[bool, bool], tuple[bool, bool]]

FACE_PAD_VOX = 12
TAPER_VOX = 12
# Samples per period of a band's top frequency. Two hold the band; its square folds a little, which
# adds a few percent of variance to a windowed average and no bias.
SAMPLES_PER_PERIOD = 2.3
_RADIAL_BINS = 8192


@dataclass(frozen=True, slots=True, kw_only=True)
class PaddedBlock:
    """The spectrum of a padded block and where its voxels lie.

    Attributes
    ----------
    spectrum
        (z, y, x // 2 + 1) complex of the padded block.
    shape
        Voxels of the block (z, y, x).
    padded
        Voxels of the padded block.
    before
        Voxels put before the block along each axis.
    spacing
        Voxel edges.
    """

    spectrum: torch.Tensor
    shape: Int3
    padded: Int3
    before: Int3
    spacing: Float3

    @classmethod
    def of(cls, values: torch.Tensor, spacing: Float3, faces: Faces) -> "PaddedBlock":
        """Pad and transform a block (z, y, x) float32 of mean zero.

        `faces` says for both sides of every axis whether the volume ends there.
        """
        before, padded = padding(values.shape, faces)
        return cls(
            spectrum=rfftn(_continued(values, before, padded)),
            shape=_int3(values.shape),
            padded=padded,
            before=before,
            spacing=spacing,
        )

    def grid(self, band: Band) -> Int3:
        """Return the samples (z, y, x) over the padded extent that hold a band."""
        sizes = []
        for n, s in zip(self.padded, self.spacing, strict=True):
            density = SAMPLES_PER_PERIOD * band.top * s
            sizes.append(fast_even(ceil(density * n)) if density < 0.9 else n)
        return _int3(min(size, n) for size, n in zip(sizes, self.padded, strict=True))

    def filtered(self, band: Band) -> torch.Tensor:
        """Return the block seen through a band, sampled on `grid(band)`."""
        size = self.grid(band)
        response = self._response(band, size)
        if size == self.padded:
            return irfftn(self.spectrum * response, size)
        cut = torch.zeros_like(response, dtype=self.spectrum.dtype)
        nx = size[2] // 2
        for z_to, z_from in _kept(size[0], self.padded[0]):
            for y_to, y_from in _kept(size[1], self.padded[1]):
                torch.mul(
                    self.spectrum[z_from, y_from, :nx],
                    response[z_to, y_to, :nx],
                    out=cut[z_to, y_to, :nx],
                )
        cut *= float(np.prod(size) / np.prod(self.padded))
        return irfftn(cut, size)

    def _response(self, band: Band, size: Int3) -> torch.Tensor:
        z, y, x = (s * p / n for s, p, n in zip(self.spacing, self.padded, size, strict=True))
        bins, top = _radial_bins(size, (z, y, x), str(self.spectrum.device))
        table = band.response(np.linspace(0, top, _RADIAL_BINS)).astype(np.float32)
        lookup = torch.from_numpy(table).to(bins.device)
        return lookup.index_select(0, bins.view(-1)).view(bins.shape)


def fast_even(n: int) -> int:
    """Return the next even length with a fast transform."""
    length = scipy.fft.next_fast_len(n, real=True)
    while length % 2:
        length = scipy.fft.next_fast_len(length + 1, real=True)
    return int(length)


def padding(shape: Sequence[int], faces: Faces) -> tuple[Int3, Int3]:
    """Return voxels put before a block, and its padded length, along each axis."""
    before, padded = [], []
    for n, (low, high) in zip(shape, faces, strict=True):
        pad = min(FACE_PAD_VOX, n - 1)
        before.append(pad * int(low))
        padded.append(fast_even(n + pad * (int(low) + int(high))))
    return _int3(before), _int3(padded)


def _int3(values: Iterable[int]) -> Int3:
    z, y, x = (int(v) for v in values)
    return z, y, x


def _continued(values: torch.Tensor, before: Int3, padded: Int3) -> torch.Tensor:
    """Continue a block by reflection and fade it to zero at its outer edge, along each axis."""
    for axis, (pad, length) in enumerate(zip(before, padded, strict=True)):
        n = values.shape[axis]
        place = np.arange(-pad, length - pad)
        period = max(2 * (n - 1), 1)
        folded = np.abs((place + n - 1) % period - (n - 1)) if n > 1 else 0 * place
        edge = np.minimum(np.arange(length) + 0.5, length - np.arange(length) - 0.5)
        fade = np.sin(np.pi / 2 * np.clip(edge / min(TAPER_VOX, length / 4), 0, 1)) ** 2
        ramp = torch.from_numpy(fade.astype(np.float32)).to(values.device)
        index = torch.from_numpy(folded).to(values.device)
        values = values.index_select(axis, index) * ramp.view(-1, *[1] * (2 - axis))
    return values


def _kept(size: int, padded: int) -> tuple[tuple[slice, slice], tuple[slice, slice]]:
    """Return (to, from) slices of the positive and the negative frequencies of one axis."""
    positive, negative = size // 2, size - size // 2
    if size < padded:
        # The coefficient at the small grid's own Nyquist has no partner; bands end below it.
        negative -= 1
    head, tail = slice(0, positive), slice(size - negative, size)
    return (head, head), (tail, slice(padded - negative, padded))


@lru_cache(maxsize=32)
def _radial_bins(shape: Int3, spacing: Float3, device: str) -> tuple[torch.Tensor, float]:
    """Return each coefficient's bin on a fine radial grid, and the grid's last frequency."""
    top = 0.5 * float(np.sqrt(sum(1 / s**2 for s in spacing))) * 1.0001
    frequency = radial_frequency(shape, spacing, device=device)
    return (frequency * ((_RADIAL_BINS - 1) / top)).round_().to(torch.int32), top
