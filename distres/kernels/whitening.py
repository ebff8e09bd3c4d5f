"""Make noise white: fit the spectrum of noise by a smooth curve and divide by it.

Statistics that assume white noise are right only then. The logarithm of the noise amplitude is
fitted by a parabola in frequency beyond an elbow, where signal left in the noise is rare; towards
zero frequency the gain stays what it is at the elbow.
"""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch

from distres.kernels.fourier import irfftn, radial_frequency, rfftn

Float = npt.NDArray[np.float64]

SPECTRUM_BINS = 24


def radial_power(cubes: torch.Tensor, voxel_size_angstrom: tuple[float, float, float]) -> Float:
    """Sum the power of Hann-windowed cubes over bins of frequency.

    Parameters
    ----------
    cubes
        (n, z, y, x) float32.
    voxel_size_angstrom
        Voxel edges (z, y, x).

    Returns
    -------
    (2, 24) float64: sums of power and numbers of coefficients, in bins of equal width from 0 to the
    Nyquist frequency of the coarsest axis. The power of white noise of variance 1 is 1.
    """
    shape = cubes.shape[1:]
    windows = [torch.hann_window(n, periodic=True, device=cubes.device) for n in shape]
    window = windows[0][:, None, None] * windows[1][:, None] * windows[2]
    centred = cubes - cubes.mean(dim=(1, 2, 3), keepdim=True)
    power = rfftn(centred * window).abs().square().sum(dim=0) / window.square().sum()
    frequency = radial_frequency(shape, voxel_size_angstrom, device=cubes.device)
    width = 0.5 / max(voxel_size_angstrom) / SPECTRUM_BINS
    place = (frequency / width).long().cpu().numpy().ravel()
    inside = place < SPECTRUM_BINS
    weights = power.double().cpu().numpy().ravel()[inside]
    sums = np.bincount(place[inside], weights, SPECTRUM_BINS)
    counts = np.bincount(place[inside], minlength=SPECTRUM_BINS) * float(len(cubes))
    return np.stack([sums, counts])


def band_limit(power: Float, counts: Float) -> float:
    """Find where somebody's low-pass ended the noise, in Nyquist frequencies; 1 when nobody did.

    Noise ends where it falls tenfold within two bins and nothing stronger than a twentieth of what
    was before comes after. The two bins of the fall do not count as inside.
    """
    mean = power / np.maximum(counts, 1)
    for place in range(4, SPECTRUM_BINS):
        before, after = mean[2:place].max(), mean[place:].max()
        if after < before / 20 and mean[place] < mean[place - 2] / 10:
            return float((place - 1) / SPECTRUM_BINS)
    return 1.0


@dataclass(frozen=True, slots=True, kw_only=True)
class NoiseFit:
    """Noise amplitude ``exp(c0 + c1 s + c2 s^2)``, s in Nyquist frequencies from the elbow to 1.

    Parameters
    ----------
    coefficients
        c0, c1, c2.
    elbow
        Lowest frequency fitted, in Nyquist frequencies.
    nyquist_per_angstrom
        Nyquist frequency.
    limit
        Highest frequency fitted, in Nyquist frequencies.
    """

    coefficients: tuple[float, float, float]
    elbow: float
    nyquist_per_angstrom: float
    limit: float = 1.0

    @classmethod
    def of(cls, power: Float, counts: Float, nyquist: float, elbow_angstrom: float) -> "NoiseFit":
        """Fit mean power per bin, as `radial_power` leaves it; bins below the elbow do not count.

        Bins within 5 % above the elbow count half, as in the published method.
        """
        centre = (np.arange(SPECTRUM_BINS) + 0.5) / SPECTRUM_BINS
        limit = band_limit(power, counts)
        elbow = min(1 / (elbow_angstrom * nyquist), 0.6 * limit)
        known = (counts > 0) & (power > 0) & (centre < limit)
        # A bin is known as well as it has coefficients.
        weight = np.where(centre >= elbow, 1.0, np.where(centre >= elbow / 1.05, 0.5, 0.0))
        weight = weight * np.where(known, counts, 0.0)
        amplitude = 0.5 * np.log(np.where(known, power / np.maximum(counts, 1), 1.0))
        columns = np.vander(centre, 3, increasing=True)
        root = np.sqrt(weight)
        solved, *_ = np.linalg.lstsq(columns * root[:, None], amplitude * root, rcond=None)
        c0, c1, c2 = (float(c) for c in solved)
        return cls(
            coefficients=(c0, c1, c2), elbow=elbow, nyquist_per_angstrom=nyquist, limit=limit
        )

    def amplitude(self, frequency_per_angstrom: torch.Tensor) -> torch.Tensor:
        """Return the fitted amplitude, constant below the elbow and beyond the limit."""
        s = (frequency_per_angstrom / self.nyquist_per_angstrom).clamp(self.elbow, self.limit)
        c0, c1, c2 = self.coefficients
        return torch.exp(c0 + c1 * s + c2 * s * s)


def whiten(
    block: torch.Tensor,
    fit: NoiseFit,
    voxel_size_angstrom: tuple[float, float, float],
    strength: float = 1.0,
) -> torch.Tensor:
    """Divide the spectrum of a block by the fitted noise amplitude to the power `strength`.

    The gain changes over a large part of the band, so its response is a few voxels wide: 16 voxels
    of halo are enough.
    """
    frequency = radial_frequency(block.shape, voxel_size_angstrom, device=block.device)
    gain = fit.amplitude(frequency).pow_(-strength)
    return irfftn(rfftn(block).mul_(gain), tuple(block.shape))
