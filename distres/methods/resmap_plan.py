"""What decides the answer of ResMap, and the wavelengths it tests."""

from dataclasses import dataclass
from math import ceil, log

import numpy as np

from distres.errors import UsageError
from distres.io.grid import Grid

# Wavelengths nearer to each other than this are no independent evidence.
RATIO = 1.15
FINEST_VOX = 2.2
COARSEST_VOX = 16.0


@dataclass(frozen=True, slots=True, kw_only=True)
class ResmapParameters:
    """What decides the answer of ResMap.

    Attributes
    ----------
    finest_angstrom, coarsest_angstrom
        Ends of the wavelengths tested; None for 2.2 and 16 voxels.
    step_angstrom
        Distance of wavelengths; None takes them 15 % apart.
    rate
        Share of false discoveries among the voxels found at a wavelength.
    kappa
        Width of the window, see `distres.kernels.steerable.Sinusoid`.
    whiten
        Strength of whitening, 0 to 1; 0 leaves the maps as they are.
    elbow_angstrom
        The noise spectrum is fitted beyond this resolution.
    local_noise
        Let the noise variance change over the volume (half maps only).
    compat
        ``resmap``: kappa 1, steps of 1 A, one noise variance, and no voxels within 9 of a face.
    device
        ``auto``, ``cpu`` or ``cuda``.

    Raises
    ------
    UsageError
        A value makes no sense; the message says which and what does.
    """

    finest_angstrom: float | None = None
    coarsest_angstrom: float | None = None
    step_angstrom: float | None = None
    rate: float = 0.05
    kappa: float = 0.5
    whiten: float = 1.0
    elbow_angstrom: float | None = None
    local_noise: bool = True
    compat: str | None = None
    device: str = "auto"

    def __post_init__(self) -> None:
        fine, coarse = self.finest_angstrom, self.coarsest_angstrom
        if fine is not None and coarse is not None and not 0 < fine <= coarse:
            raise UsageError(
                f"a range of wavelengths goes from fine to coarse, not from {fine} to {coarse}"
            )
        if not 0 < self.rate <= 0.2:
            raise UsageError(
                f"the rate of false discoveries lies between 0 and 0.2, not at {self.rate}"
            )
        if not 0.1 <= self.kappa <= 4:
            raise UsageError(f"kappa lies between 0.1 and 4, not at {self.kappa}")
        if not 0 <= self.whiten <= 1:
            raise UsageError(f"the strength of whitening lies between 0 and 1, not {self.whiten}")
        if self.step_angstrom is not None and not self.step_angstrom > 0:
            raise UsageError(f"the step must be positive, not {self.step_angstrom} angstrom")
        if self.compat not in (None, "resmap"):
            raise UsageError(f"compat '{self.compat}' is unknown; use resmap")

    def wavelengths(self, grid: Grid) -> tuple[float, ...]:
        """Return the wavelengths tested, rising, in angstrom.

        Raises
        ------
        UsageError
            The finest is below what the voxels hold.
        """
        voxel = max(grid.voxel_size_angstrom)
        least = round(FINEST_VOX * voxel, 1) if self.compat else FINEST_VOX * voxel
        fine = max(self.finest_angstrom or 0.0, least)
        coarse = self.coarsest_angstrom or max(COARSEST_VOX * voxel, fine)
        if coarse < fine:
            raise UsageError(
                f"voxels of {voxel:g} A hold wavelengths of {least:.2f} A and more, not up to "
                f"{coarse:g} A; give a coarser end"
            )
        step = self.step_angstrom or (1.0 if self.compat else None)
        if step is None:
            count = ceil(log(coarse / fine) / log(RATIO) - 1e-9) + 1
            return tuple(float(w) for w in np.geomspace(fine, coarse, max(count, 1)))
        # The published sweep goes one step past the end if that is where it falls.
        count = ceil((coarse - fine) / step - 1e-9) + 1
        return tuple(float(fine + i * step) for i in range(count))
