"""MonoRes as its program computes it (Vilas et al. 2018, doi:10.1016/j.str.2017.12.018).

For comparison with published numbers. It differs from `distres.kernels.monores` in the filter (all
frequencies above f, up to the corner of the grid), in the list (Fourier shells of the x axis), in
one test at 5 % a time, and in a final smoothing that may only improve a voxel's number. It works
on whole volumes, with frequencies in cycles per voxel.

Left out on purpose: the test at exactly Nyquist, where the program's low-pass divides zero by zero
and no voxel can pass. The list ends one shell earlier, which gives the same map.
"""

import logging
from dataclasses import dataclass
from math import pi

import numpy as np
import numpy.typing as npt
import scipy.special
import torch

from distres.errors import InputError
from distres.kernels import fourier
from distres.kernels.centred import Shape3
from distres.kernels.monogenic import Band, monogenic_amplitude, smooth_amplitude
from distres.kernels.riesz import RieszBlock, riesz_block
from distres.kernels.sweep import SweepState, published_resolution_list

logger = logging.getLogger(__name__)

RAMP_VOX = 0.02
REFINEMENT_SIGMA, FINAL_SIGMA = 4.0, 3.0
FEW_ALIVE, FAINT = 0.025, 0.001
CLIFF_RATIO = 0.01
UNIT = (1.0, 1.0, 1.0)


@dataclass(frozen=True, slots=True, kw_only=True)
class PublishedMonoRes:
    """Maps of the published algorithm, all (z, y, x).

    Attributes
    ----------
    resolution
        float32, angstrom; 0 outside `mask`.
    filled
        float32, angstrom; a value everywhere, smoothed, for colouring surfaces.
    mask
        bool: voxels with a resolution.
    tests
        The resolutions tested, coarse to fine, in angstrom.
    """

    resolution: torch.Tensor
    filled: torch.Tensor
    mask: torch.Tensor
    tests: npt.NDArray[np.float64]


def published_monores(
    signal: torch.Tensor,
    difference: torch.Tensor | None,
    mask: torch.Tensor,
    *,
    voxel_angstrom: float,
    low_angstrom: float,
    step_angstrom: float = 0.5,
    confidence: float = 0.95,
    noise_in_mask: bool = True,
    gaussian: bool = False,
) -> PublishedMonoRes:
    """Compute MonoRes of a map, or of half maps, in the published way.

    Parameters
    ----------
    signal
        (z, y, x) float32: the map, or the mean of the half maps.
    difference
        Half the difference of the half maps; None for a single map, whose noise is then taken from
        the solvent.
    mask
        Boolean, the particle.
    voxel_angstrom, low_angstrom, step_angstrom
        Voxel length, coarse end of the sweep, distance between tests.
    confidence
        Quantile of the noise that a single test must exceed.
    noise_in_mask
        Half maps only: take noise inside the mask alone. False: from the whole noise sphere, and
        first remove voxels from the mask that look like solvent.
    gaussian
        Take the quantile of a normal distribution with the noise's mean and variance.

    Raises
    ------
    InputError
        When mask or noise is empty.
    """
    codes = _region_codes(signal, mask)
    map_block = riesz_block(signal, UNIT, published_nyquist=True)
    noise_block = map_block
    if difference is not None:
        noise_block = riesz_block(difference, UNIT, published_nyquist=True)
    particle, solvent = codes == 1, codes == 0
    if difference is None or not noise_in_mask:
        particle, solvent = _refined(map_block, particle, solvent)
    noise_set = solvent if difference is None else (particle | solvent)
    if difference is not None and noise_in_mask:
        noise_set = particle
    if not bool(noise_set.any()):
        raise InputError(
            "no voxel outside the mask holds noise: the map was masked or denoised; give its half "
            "maps, or the map as it was reconstructed"
        )
    size = signal.shape[2]
    tests = published_resolution_list(size, voxel_angstrom, low_angstrom, step_angstrom)
    tests = tests[tests > 2 * voxel_angstrom * (1 + 1e-9)]
    state = SweepState.start(particle)
    sweep = _Sweep(map_block, noise_block, noise_set, confidence, gaussian)
    entered = sweep.run(state, tests, voxel_angstrom)
    resolution = state.resolution(tests, float(tests[0]))
    # Alive without a pass happens only when the sweep stopped after one test.
    unknown = ~particle | (state.alive & (state.last < 0))
    resolution.masked_fill_(unknown, 0.0)
    return _smoothed(resolution, float(tests[entered]), 2 * voxel_angstrom, tests)


def _region_codes(signal: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
    """Return 1 in the particle, 0 in the noise sphere around it, -1 beyond.

    The sphere ends where the variance of a shell falls below 1 % of its inner neighbour's: there a
    mask was applied.
    """
    if not bool(mask.any()):
        raise InputError("the mask is empty; no voxel can get a resolution")
    axes = [torch.arange(n, device=mask.device, dtype=torch.float64) - n // 2 for n in signal.shape]
    squared = axes[0].square()[:, None, None] + axes[1].square()[:, None] + axes[2].square()
    distance = squared.sqrt()
    shell = distance.long().reshape(-1)
    values = signal.reshape(-1).double()
    count = torch.bincount(shell)
    mean = torch.bincount(shell, values) / count
    variance = torch.bincount(shell, values.square()) / count - mean.square()
    radius, outer = int(distance[mask].max()), signal.shape[2] / 2
    for r in range(max(radius + 1, 1), signal.shape[2] // 2):
        if variance[r] < CLIFF_RATIO * variance[r - 1]:
            outer = r - 1
            break
    logger.info("particle radius %s voxels, noise sphere %s voxels", radius, outer)
    codes = mask.to(torch.int8)
    codes[distance >= outer] = -1
    return codes


def _refined(
    block: RieszBlock, particle: torch.Tensor, solvent: torch.Tensor
) -> tuple[torch.Tensor, torch.Tensor]:
    """Move voxels of the particle whose unfiltered amplitude is that of solvent to the solvent."""
    amplitude = monogenic_amplitude(block, Band())
    amplitude = _gaussian(amplitude, REFINEMENT_SIGMA)
    if not bool(solvent.any()):
        raise InputError(
            "no solvent lies between the mask and the noise sphere; give half maps with noise "
            "taken inside the mask, or a smaller mask"
        )
    weak = particle & (amplitude < _quantile(amplitude[solvent], 0.95))
    logger.info("%s voxels of the mask are solvent by their amplitude", int(weak.sum()))
    return particle & ~weak, solvent | weak


@dataclass(slots=True)
class _Sweep:
    signal: RieszBlock
    noise: RieszBlock
    noise_set: torch.Tensor
    confidence: float
    gaussian: bool

    def run(self, state: SweepState, tests: npt.NDArray[np.float64], voxel_angstrom: float) -> int:
        """Test until too few voxels are alive or signal and noise cannot be told apart.

        Returns
        -------
        int
            Index of the last test entered.
        """
        start = int(state.alive.sum())
        z_limit = float(scipy.special.ndtri(self.confidence))
        strongest = 0.0
        for index, resolution in enumerate(tests):
            amplitude = self._amplitude(self.signal, voxel_angstrom / float(resolution))
            alive = amplitude[state.alive]
            if alive.numel() < max(FEW_ALIVE * start, 1):
                return index
            noise = amplitude
            if self.noise is not self.signal:
                noise = self._amplitude(self.noise, voxel_angstrom / float(resolution))
            noise = noise[self.noise_set]
            mean = float(alive.double().mean())
            strongest = max(strongest, mean)
            if mean < FAINT * strongest:
                return index
            state.update(amplitude > self._threshold(noise), index)
            spread = _variance(alive) / alive.numel() + _variance(noise) / noise.numel()
            if (mean - float(noise.double().mean())) < z_limit * spread**0.5:
                return index
        return len(tests) - 1

    def _amplitude(self, block: RieszBlock, frequency: float) -> torch.Tensor:
        band = Band.high_pass(frequency, RAMP_VOX)
        amplitude = monogenic_amplitude(block, band)
        low_pass = Band.low_pass(frequency, min(RAMP_VOX, 0.5 - frequency))
        z, y, x = block.shape
        return smooth_amplitude(amplitude, (float(z), float(y), float(x)), low_pass, (z, y, x))

    def _threshold(self, noise: torch.Tensor) -> float:
        if not self.gaussian:
            return _quantile(noise, self.confidence)
        quantile = float(scipy.special.ndtri(self.confidence))
        return float(noise.double().mean()) + quantile * float(noise.double().std(correction=0))


def _smoothed(
    resolution: torch.Tensor, last: float, limit: float, tests: npt.NDArray[np.float64]
) -> PublishedMonoRes:
    """Fill the outside with the median, smooth, and keep the better of raw and smooth inside."""
    mask = resolution >= last - 1e-4
    median = torch.tensor(0.0)
    if bool(mask.any()):
        # The upper median, as sorted()[n // 2] gives it.
        values = resolution[mask]
        median = torch.kthvalue(values, values.numel() // 2 + 1).values
    filled = torch.where(mask, resolution, median)
    smooth = _gaussian(filled, FINAL_SIGMA)
    keep = mask & ((smooth > filled) | (smooth < limit))
    filled = torch.where(keep, filled, smooth)
    final = torch.where(mask, filled, torch.zeros_like(filled))
    return PublishedMonoRes(resolution=final, filled=filled, mask=mask, tests=tests)


def _gaussian(field: torch.Tensor, sigma: float) -> torch.Tensor:
    """Smooth as the published program does: its sigma is sqrt(2) times the usual one."""
    shape: Shape3 = (field.shape[0], field.shape[1], field.shape[2])
    squared = fourier.radial_frequency(shape, device=field.device).square_()
    spectrum = fourier.rfftn(field) * torch.exp(-((pi * sigma) ** 2) * squared)
    return fourier.irfftn(spectrum, shape)


def _quantile(values: torch.Tensor, share: float) -> float:
    """Return the value at rank floor(share n) of the sorted sample."""
    rank = min(int(share * values.numel()), values.numel() - 1)
    return float(torch.kthvalue(values, rank + 1).values)


def _variance(values: torch.Tensor) -> float:
    return float(values.double().var(unbiased=False))
