"""What a map is filtered with while DeepRes is trained, and the resolution it is labelled with.

A map low-passed at R by the raised cosine of the paper (gain 1 up to 1/R, 0 at 1/R + 0.02 cycles a
voxel; Ramirez-Aportela et al. 2019, section 2.1) has label R. A map whose spectrum also decays or
is sharpened has the label of the low-passed map that it resembles most: with gain T(k),

    1 / label = argmax_w  integral T(k) H_w(k) k^2 dk / sqrt(integral H_w(k)^2 k^2 dk),

the correlation, for a flat spectrum, with the map low-passed at w. A low-passed map is most like
itself, so both definitions agree there. A map that decays as exp(-B k^2 / 4), and is cut nowhere,
is visible up to about 2.4 / sqrt(B): where its amplitude is half of its mean below. Amplitudes that
rise up to the cutoff (sharpening) leave the label at the cutoff. Noise changes no label.
"""

from dataclasses import dataclass
from functools import cache

import numpy as np
import numpy.typing as npt

DoubleArray = npt.NDArray[np.float64]

TAIL_CYCLES = 0.02
_SHELLS = 1024
_CANDIDATES = 512
_COARSEST_VOX = 40.0  # candidates reach from Nyquist to this many voxels


@dataclass(frozen=True, slots=True, kw_only=True)
class Transfer:
    """A gain at every frequency.

    Attributes
    ----------
    resolution_angstrom
        Where the raised cosine begins to fall.
    b_factor
        Decay in square angstrom, ``exp(-B k^2 / 4)``; negative sharpens.
    dip
        The gain at frequency 0 is ``1 - dip`` times as large: contrast to the solvent.
    dip_per_angstrom
        Width (SD) of the dip.
    """

    resolution_angstrom: float
    b_factor: float = 0.0
    dip: float = 0.0
    dip_per_angstrom: float = 0.02

    def gain(self, frequency: DoubleArray, voxel_size_angstrom: float) -> DoubleArray:
        """Return the gain at frequencies in 1/angstrom."""
        gain = self.visible_gain(frequency, voxel_size_angstrom)
        if self.dip:
            gain = gain * (1 - self.dip * np.exp(-((frequency / self.dip_per_angstrom) ** 2) / 2))
        return gain

    def visible_gain(self, frequency: DoubleArray, voxel_size_angstrom: float) -> DoubleArray:
        """Return the gain that the label looks at: without the dip, which hides no detail."""
        gain = raised_cosine(frequency, self.resolution_angstrom, voxel_size_angstrom)
        if self.b_factor:
            gain = gain * np.exp(-self.b_factor * frequency**2 / 4)
        return gain


def raised_cosine(
    frequency: DoubleArray, resolution_angstrom: float | DoubleArray, voxel_size_angstrom: float
) -> DoubleArray:
    """Return the paper's low-pass: 1 up to 1/R, 0 from 1/R + 0.02 cycles a voxel."""
    beyond = (frequency - 1 / np.asarray(resolution_angstrom)) * voxel_size_angstrom / TAIL_CYCLES
    return np.asarray(0.5 * (1 + np.cos(np.pi * np.clip(beyond, 0, 1))))


def visible_resolution(transfer: Transfer, voxel_size_angstrom: float) -> float:
    """Return the label of a map filtered with a gain.

    Parameters
    ----------
    transfer
        The gain.
    voxel_size_angstrom
        Edge of a voxel; two voxels is the finest label.

    Returns
    -------
    float
        Resolution in angstrom.
    """
    if transfer.b_factor == 0:
        return transfer.resolution_angstrom
    frequency, resolution, templates = _templates(voxel_size_angstrom)
    likeness = templates @ transfer.visible_gain(frequency, voxel_size_angstrom)
    best = int(np.argmax(likeness))
    if 0 < best < len(resolution) - 1:
        before, here, after = likeness[best - 1 : best + 2]
        place = best + 0.5 * (before - after) / (before - 2 * here + after)
        return float(np.exp(np.interp(place, np.arange(len(resolution)), np.log(resolution))))
    return float(resolution[best])


@cache
def _templates(voxel_size_angstrom: float) -> tuple[DoubleArray, DoubleArray, DoubleArray]:
    """Return frequencies, candidate resolutions, and H_w k^2 / norm as (candidates, shells)."""
    frequency = (np.arange(_SHELLS) + 0.5) / _SHELLS * 0.5 / voxel_size_angstrom
    resolution = np.geomspace(2, _COARSEST_VOX, _CANDIDATES) * voxel_size_angstrom
    gain = raised_cosine(frequency, resolution[:, None], voxel_size_angstrom)
    norm = np.sqrt(np.sum(gain**2 * frequency**2, axis=1, keepdims=True))
    return frequency, resolution, gain * frequency**2 / norm
