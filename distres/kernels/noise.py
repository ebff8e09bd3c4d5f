"""Noise that is a function of the place: any region of a volume can be drawn alone."""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy import ndimage

Region = tuple[slice, slice, slice]
FloatArray = npt.NDArray[np.float32]

# Edge of the cubes that own one random stream each. Part of what a seed means: never change it.
BLOCK_VOX = 32


@dataclass(frozen=True, slots=True, kw_only=True)
class Noise:
    """Stationary Gaussian noise with a power spectrum that is known exactly.

    The power per voxel at frequency k is ``sigma^2 (1 + excess exp(-b k^2 / 2))``: white noise plus
    an independent part that is strong at low frequencies, as the noise of solvent is.

    Attributes
    ----------
    sigma
        Standard deviation of the white part.
    excess
        Power of the low-frequency part relative to the white part, at frequency 0.
    b_factor
        Decay of the low-frequency part in square angstrom.
    """

    sigma: float = 0.2442
    excess: float = 0.0
    b_factor: float = 400.0

    def power(self, frequency_per_angstrom: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
        """Return the power per voxel at frequencies in 1/angstrom."""
        low = np.exp(-self.b_factor * np.square(frequency_per_angstrom) / 2)
        return self.sigma**2 * (1 + self.excess * low)


def random_stream(seed: int, stream: int, z: int, y: int, x: int) -> np.random.Generator:
    """Return the generator that a cube of the volume owns.

    Philox is a counter-based generator: key and counter say where in the stream one is, so no
    cube waits for another (Salmon et al. 2011). The counter's lowest word counts the draws.
    """
    # Places before the volume's first voxel (halos) wrap round to the end of the counter.
    counter = np.array([0, z % 2**64, y % 2**64, x % 2**64], np.uint64)
    key = np.array([seed, stream], np.uint64)
    return np.random.Generator(np.random.Philox(key=key, counter=counter))


def blocks_of(region: Region) -> list[tuple[tuple[int, int, int], Region, Region]]:
    """Cut a region along the fixed cubes of `BLOCK_VOX` voxels.

    Returns
    -------
    list
        For every cube touched: its place, the part of the region it fills (relative to the
        region), and the part of the cube that is used.
    """
    axes = []
    for s in region:
        cuts = []
        for i in range(s.start // BLOCK_VOX, -(-s.stop // BLOCK_VOX)):
            lo, hi = max(s.start, i * BLOCK_VOX), min(s.stop, (i + 1) * BLOCK_VOX)
            inner = slice(lo - i * BLOCK_VOX, hi - i * BLOCK_VOX)
            cuts.append((i, slice(lo - s.start, hi - s.start), inner))
        axes.append(cuts)
    return [
        ((z[0], y[0], x[0]), (z[1], y[1], x[1]), (z[2], y[2], x[2]))
        for z in axes[0]
        for y in axes[1]
        for x in axes[2]
    ]


def region_shape(region: Region) -> tuple[int, int, int]:
    """Return the shape of a region in voxels."""
    z, y, x = (s.stop - s.start for s in region)
    return z, y, x


def grow(region: Region, halo_vox: int) -> Region:
    """Return the region with a halo on every side; it may leave the volume."""
    z, y, x = (slice(s.start - halo_vox, s.stop + halo_vox) for s in region)
    return z, y, x


def white_region(region: Region, *, seed: int, stream: int = 0) -> FloatArray:
    """Draw white noise of unit variance in a region.

    Parameters
    ----------
    region
        Slices (z, y, x) with start and stop; they may be negative.
    seed, stream
        Which noise; different streams of one seed are independent.

    Returns
    -------
    (z, y, x) float32
        The same values whatever region they are asked through.
    """
    out = np.empty(region_shape(region), np.float32)
    edge = (BLOCK_VOX,) * 3
    for place, here, inner in blocks_of(region):
        draws = random_stream(seed, stream, *place).standard_normal(edge, np.float32)
        out[here] = draws[inner]
    return out


def noise_region(
    noise: Noise, region: Region, *, seed: int, stream: int, voxel_size_angstrom: float
) -> FloatArray:
    """Draw noise with the spectrum of `noise` in a region.

    Parameters
    ----------
    noise
        Strength and colour.
    region
        Slices (z, y, x) with start and stop.
    seed, stream
        Which noise. Streams ``2 n`` and ``2 n + 1`` serve the white and the low-frequency part.
    voxel_size_angstrom
        Edge of a voxel.

    Returns
    -------
    (z, y, x) float32
    """
    out = white_region(region, seed=seed, stream=2 * stream)
    out *= np.float32(noise.sigma)
    if noise.excess > 0:
        # Power exp(-b k^2 / 2) is amplitude exp(-b k^2 / 4): a B-factor blur of white noise.
        kernel = blur_kernel(noise.b_factor, voxel_size_angstrom)
        wide = grow(region, len(kernel) // 2)
        low = blur(white_region(wide, seed=seed, stream=2 * stream + 1), kernel)
        out += np.float32(noise.sigma * noise.excess**0.5) * low
    return out


def blur_kernel(b_factor: float, voxel_size_angstrom: float) -> npt.NDArray[np.float64]:
    """Return the weights along one axis of the blur ``exp(-B k^2 / 4)``.

    The weights are the Fourier series of the spectrum up to Nyquist, not samples of a Gaussian:
    samples would fold the spectrum beyond Nyquist back (for B = 40 and 1 A voxels 20 % too much
    at 2.35 A). The series is cut after 6 standard deviations but not before 16 voxels, where its
    terms, which fall with the square of the distance, are below 2e-4 of the spectrum's peak.

    Parameters
    ----------
    b_factor
        B in square angstrom; 0 does nothing.
    voxel_size_angstrom
        Edge of a voxel.

    Returns
    -------
    (2 radius + 1,) float64
        Symmetric weights; halo needed by `blur` is the radius.
    """
    if b_factor == 0:
        return np.ones(1)
    b_vox = b_factor / voxel_size_angstrom**2
    sigma_vox = np.sqrt(b_vox / (8 * np.pi**2))
    radius = max(16, int(np.ceil(6 * sigma_vox)))
    points = 2 ** max(12, int(np.ceil(np.log2(8 * radius))))
    spectrum = np.exp(-b_vox * np.fft.rfftfreq(points) ** 2 / 4)
    series = np.fft.irfft(spectrum, points)[: radius + 1]
    return np.concatenate([series[:0:-1], series])


def blur(block: FloatArray, kernel: npt.NDArray[np.float64]) -> FloatArray:
    """Blur along all axes and cut the halo (the kernel's radius) off.

    Every voxel is a sum in a fixed order over its neighbours, so it comes out the same bits
    whatever block it is computed in.

    Parameters
    ----------
    block
        (z, y, x) float32 with a halo of the kernel's radius on every side.
    kernel
        (2 radius + 1,) symmetric weights.

    Returns
    -------
    (z - 2 radius, y - 2 radius, x - 2 radius) float32
    """
    radius = len(kernel) // 2
    if radius == 0:
        return block * np.float32(kernel[0])
    for axis in range(3):
        full = ndimage.correlate1d(block, kernel, axis=axis, mode="constant")
        cut = [slice(None)] * 3
        cut[axis] = slice(radius, block.shape[axis] - radius)
        block = full[tuple(cut)]
    return np.ascontiguousarray(block)
