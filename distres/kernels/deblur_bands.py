"""LocalDeblur's filter bank: raised-cosine bands around 1 / resolution, released and covering."""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

Float64 = npt.NDArray[np.float64]

BAND_STEP_ANGSTROM = 0.2


@dataclass(frozen=True, slots=True, kw_only=True)
class Bands:
    """Raised-cosine bands around 1 / resolution.

    Attributes
    ----------
    centre_per_angstrom
        (bands,) centres 1 / R_i.
    below_per_angstrom, above_per_angstrom
        (bands,) distance from the centre to where the band ends, on either side.
    """

    centre_per_angstrom: Float64
    below_per_angstrom: Float64
    above_per_angstrom: Float64

    @property
    def resolution_angstrom(self) -> Float64:
        """Return (bands,) R_i."""
        return 1 / self.centre_per_angstrom

    def gain(self, frequency_per_angstrom: Float64) -> Float64:
        """Return every band's gain: (bands, ...) for frequencies (...)."""
        extra = (...,) + (None,) * frequency_per_angstrom.ndim
        offset = frequency_per_angstrom - self.centre_per_angstrom[extra]
        width = np.where(offset < 0, self.below_per_angstrom[extra], self.above_per_angstrom[extra])
        a = np.minimum(np.abs(offset) / width, 1.0)
        return np.asarray(0.5 * (1 + np.cos(np.pi * a)))


def released_bands(edge_vox: int, voxel_size_angstrom: float, lowest_angstrom: float) -> Bands:
    """Return the bands of the released program: every 0.2 angstrom, one for each Fourier shell.

    The half-width is the distance to the next finer band, which is narrower than a shell beyond
    about 13 angstrom in common boxes: those bands hold next to nothing.
    """
    kept: list[tuple[float, float]] = []
    last_shell = -1
    steps = int(
        np.ceil((lowest_angstrom + 2 - 2 * voxel_size_angstrom) / BAND_STEP_ANGSTROM - 1e-6)
    )
    for step in range(steps):
        resolution = 2 * voxel_size_angstrom + step * BAND_STEP_ANGSTROM
        shell = int(np.floor(edge_vox * voxel_size_angstrom / resolution + 0.5))
        if shell != last_shell:
            width = 1 / (resolution - BAND_STEP_ANGSTROM) - 1 / resolution
            kept.append((1 / resolution, width))
        last_shell = shell
    centre, width_both = np.array(kept).T
    return Bands(
        centre_per_angstrom=centre, below_per_angstrom=width_both, above_per_angstrom=width_both
    )


def covering_bands(
    highest_angstrom: float, lowest_angstrom: float, narrowest_per_angstrom: float
) -> Bands:
    """Return bands of the paper's spacing that are never narrower than `narrowest_per_angstrom`.

    Each band ends at the centres of its neighbours, so that all gains add up to 1 between the
    ends: every frequency there has support, which the released bank does not give at low
    resolution, and kernels stay short. The spacing at a frequency f is the root of the sum of
    squares of ``0.2 angstrom * f^2`` (the paper's) and of the narrowest.

    Parameters
    ----------
    highest_angstrom, lowest_angstrom
        Ends of the bank.
    narrowest_per_angstrom
        A band this wide has a kernel of about its inverse; a Fourier shell of the box at least.
    """

    def spacing(frequency: float) -> float:
        return float(np.hypot(BAND_STEP_ANGSTROM * frequency**2, narrowest_per_angstrom))

    centre = 1 / highest_angstrom
    centres = [centre]
    while centre - spacing(centre) > 0.5 * narrowest_per_angstrom and centre > 1 / lowest_angstrom:
        centre -= spacing(centre)
        centres.append(centre)
    found = np.array(centres)
    gaps = found[:-1] - found[1:]
    return Bands(
        centre_per_angstrom=found,
        # Frequency 0 has no resolution: the last band ends there at the latest.
        below_per_angstrom=np.append(gaps, min(found[-1], spacing(float(found[-1])))),
        above_per_angstrom=np.append(max(spacing(centres[0]), 2 * narrowest_per_angstrom), gaps),
    )
