"""Band-pass two half maps over a block: one tile of a larger volume, or all of it.

The block is continued by reflection where the volume ends, faded to zero at its outer edge so that
its opposite faces meet without a step, and transformed once. Each band is inverted on the coarsest
grid that holds it: the spectrum is cropped to the band before the inverse transform.

Both halves are whitened on the way: divided by the root of the radial power of their difference.
Whatever isotropic filter was applied to both (sharpening by a B-factor, say) then cancels, and
inside a band the signal-to-noise ratio is averaged with known weights, whatever the noise's colour.
Shells that a filter has emptied are left out, and a band knows what share of it they are.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import lru_cache
from math import ceil

import numpy as np
import numpy.typing as npt
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
NOISE_BINS = 128
# Shells whose noise is less than this share of the strongest shell's within an octave below them
# were emptied by a filter: no noise falls as steeply by itself. Reflection and fading carry a
# hundredth of that from shell to shell, which whitening then leaves below the noise.
QUIETEST = 1e-4
_RADIAL_BINS = 8192
# Planes at a time where temporary arrays would otherwise double the memory.
_SLAB = 16


@dataclass(frozen=True, slots=True, kw_only=True)
class HalfBlocks:
    """The spectra of both halves over a padded block, and where its voxels lie.

    Attributes
    ----------
    spectra
        Two (z, y, x // 2 + 1) complex arrays of the padded block.
    noise
        Power of the half difference on `NOISE_BINS` equal steps of frequency up to the corner;
        infinite where there is none.
    shape
        Voxels of the block (z, y, x).
    padded
        Voxels of the padded block.
    before
        Voxels put before the block along each axis.
    spacing
        Voxel edges.
    """

    spectra: tuple[torch.Tensor, torch.Tensor]
    noise: npt.NDArray[np.float64]
    shape: Int3
    padded: Int3
    before: Int3
    spacing: Float3

    @classmethod
    def of(
        cls, half1: torch.Tensor, half2: torch.Tensor, spacing: Float3, faces: Faces
    ) -> "HalfBlocks":
        """Pad and transform two blocks (z, y, x) float32.

        `faces` says for both sides of every axis whether the volume ends there. The scale of
        either half is lost.
        """
        before, padded = padding(half1.shape, faces)
        half1, half2 = _unit_power(half1), _unit_power(half2)
        noise = _noise_power(half1 - half2, padded, spacing)
        first, second = (rfftn(_continued(half, before, padded)) for half in (half1, half2))
        return cls(
            spectra=(first, second),
            noise=noise,
            shape=_int3(half1.shape),
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

    def share(self, band: Band) -> float:
        """Return the share of a band, in power of white noise, that no filter has emptied.

        It is 0 when the band's own centre is empty: what is left speaks of other frequencies.
        """
        if not np.isfinite(self._noise_at(np.array([band.centre]))).all():
            return 0.0
        k = np.linspace(band.bottom, band.top, 513)
        weight = band.response(k) ** 2 * k**2
        return float(weight[np.isfinite(self._noise_at(k))].sum() / weight.sum())

    def filtered(self, band: Band) -> tuple[torch.Tensor, torch.Tensor]:
        """Return both halves seen through a band, sampled on `grid(band)`."""
        size = self.grid(band)
        response = self._response(band, size)
        first, second = (self._inverse(spectrum, response, size) for spectrum in self.spectra)
        return first, second

    def _inverse(self, spectrum: torch.Tensor, response: torch.Tensor, size: Int3) -> torch.Tensor:
        # Complex times real as pairs of reals: several times faster than torch's own mixed product.
        pairs, factors = torch.view_as_real(spectrum), response[..., None]
        if size == self.padded:
            return irfftn(torch.view_as_complex(pairs * factors), size)
        cut = pairs.new_zeros((*response.shape, 2))
        nx = size[2] // 2
        for z_to, z_from in _kept(size[0], self.padded[0]):
            for y_to, y_from in _kept(size[1], self.padded[1]):
                torch.mul(
                    pairs[z_from, y_from, :nx],
                    factors[z_to, y_to, :nx],
                    out=cut[z_to, y_to, :nx],
                )
        cut *= float(np.prod(size) / np.prod(self.padded))
        return irfftn(torch.view_as_complex(cut), size)

    def _response(self, band: Band, size: Int3) -> torch.Tensor:
        z, y, x = (s * p / n for s, p, n in zip(self.spacing, self.padded, size, strict=True))
        bins, top = _radial_bins(size, (z, y, x), str(self.spectra[0].device))
        k = np.linspace(0, top, _RADIAL_BINS)
        white = band.response(k) / np.sqrt(self._noise_at(k))
        lookup = torch.from_numpy(white.astype(np.float32)).to(bins.device)
        return lookup.index_select(0, bins.view(-1)).view(bins.shape)

    def _noise_at(self, frequency: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
        steps = (np.arange(NOISE_BINS) + 0.5) * (_corner(self.spacing) / NOISE_BINS)
        nearest = np.clip((frequency / steps[0] / 2).astype(int), 0, NOISE_BINS - 1)
        power = np.exp(np.interp(frequency, steps, np.log(self.noise)))
        return np.where(np.isfinite(self.noise[nearest]) & ~np.isnan(power), power, np.inf)


def _unit_power(half: torch.Tensor) -> torch.Tensor:
    """Centre a half and scale it to power one, unless it is constant."""
    centred = half - half.mean()
    power = float(centred.square().mean())
    return centred / power**0.5 if power > 0 else centred


def _noise_power(
    difference: torch.Tensor, padded: Int3, spacing: Float3
) -> npt.NDArray[np.float64]:
    """Return the radial power of the half difference, in units of the halves' mean power.

    A raised cosine over the block keeps what is strong in one shell out of the others.
    """
    for axis, n in enumerate(difference.shape):
        hann = np.sin(np.pi * (np.arange(n) + 0.5) / n).astype(np.float32) ** 2
        window = torch.from_numpy(hann * np.float32(np.sqrt(8 / 3))).to(difference.device)
        difference = difference * window.view(-1, *[1] * (2 - axis))
    voxels = difference.numel()
    wide = difference.new_zeros(padded)
    wide[tuple(slice(0, n) for n in difference.shape)] = difference
    mean = _radial_mean(rfftn(wide), padded, spacing) / voxels
    # Corners beyond Nyquist belong to no band.
    used = int(0.5 / max(spacing) / _corner(spacing) * NOISE_BINS) + 1
    mean[used:] = mean[used - 1]
    if mean.max() == 0:
        return np.ones(NOISE_BINS)
    return _smoothed(_emptied_to_infinity(mean))


def _smoothed(noise: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    """Average the log power over a tenth of the frequency on either side, empty shells apart.

    What single shells scatter would differ from tile to tile, and colour is all we want.
    """
    known = np.isfinite(noise)
    summed = np.concatenate(
        [[0.0], np.cumsum(np.log(noise, where=known, out=np.zeros_like(noise)))]
    )
    counted = np.concatenate([[0], np.cumsum(known)])
    shell = np.arange(len(noise))
    reach = 1 + shell // 10
    low, high = np.maximum(shell - reach, 0), np.minimum(shell + reach + 1, len(noise))
    mean = (summed[high] - summed[low]) / np.maximum(counted[high] - counted[low], 1)
    return np.where(known, np.exp(mean), np.inf)


def _emptied_to_infinity(mean: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    noise = mean.copy()
    last = int(np.argmax(mean > 0))
    noise[:last] = mean[last]
    for shell in range(last + 1, len(mean)):
        octave = noise[last // 2 : last + 1]
        if mean[shell] > QUIETEST * octave[np.isfinite(octave)].max():
            last = shell
        else:
            noise[shell] = np.inf
    return noise


def _radial_mean(spectrum: torch.Tensor, padded: Int3, spacing: Float3) -> npt.NDArray[np.float64]:
    """Return the mean power of `NOISE_BINS` shells, empty shells taken from their neighbours."""
    bins, _ = _radial_bins(padded, spacing, str(spectrum.device))
    total = torch.zeros(NOISE_BINS, dtype=torch.float64, device=spectrum.device)
    count = torch.zeros_like(total)
    for z in range(0, padded[0], _SLAB):
        shell = torch.div(
            bins[z : z + _SLAB].reshape(-1), _RADIAL_BINS // NOISE_BINS, rounding_mode="floor"
        )
        power = spectrum[z : z + _SLAB].abs().square_().view(-1)
        total.index_add_(0, shell, power.to(torch.float64))
        count.index_add_(0, shell, torch.ones_like(power, dtype=torch.float64))
    known = torch.nonzero(count).view(-1).cpu().numpy()
    mean = (total[known] / count[known]).cpu().numpy()
    filled: npt.NDArray[np.float64] = np.interp(np.arange(NOISE_BINS), known, mean)
    return filled


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


def _corner(spacing: Float3) -> float:
    """Return a frequency just beyond the corner of the spectrum."""
    return 0.5 * float(np.sqrt(sum(1 / s**2 for s in spacing))) * 1.0001


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
    top = _corner(spacing)
    frequency = radial_frequency(shape, spacing, device=device)
    return (frequency * ((_RADIAL_BINS - 1) / top)).round_().to(torch.int32), top
