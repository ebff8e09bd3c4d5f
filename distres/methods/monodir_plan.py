"""What decides a MonoDir run."""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from distres.errors import UsageError
from distres.io.grid import Grid
from distres.kernels.directions import SUBDIVISIONS
from distres.methods.monores_plan import MonoResParameters

NARROWEST_DEGREES, WIDEST_DEGREES = 5.0, 45.0
# Width of a cone's soft edge, in units of its half-angle.
EDGE_SHARE = 2 / 3
# Finer resolutions are tested every half voxel by default, coarser ones every voxel.
FINE_STEPS_VOX = 8.0


@dataclass(frozen=True, slots=True, kw_only=True)
class MonoDirParameters:
    """What decides the answer of MonoDir.

    Attributes
    ----------
    directions
        46, 81 or 321 over the half-sphere.
    cone_degrees
        Half-angle of the cones, where their gain is a half.
    confidence
        1 minus the share of noise voxels that may get a resolution in a direction, over the whole
        sweep.
    finest_angstrom, coarsest_angstrom, step_angstrom
        Resolutions tested; None for Nyquist, 20 voxels, and half a voxel up to 8 voxels, a voxel
        beyond.
    noise_region
        Mask file of the voxels that noise is measured in; None for the mask itself (half maps) or
        the solvent around it (a single map).
    keep_directions
        Also store the resolution in every direction, at every second voxel.
    device
        ``auto``, ``cpu`` or ``cuda``.

    Raises
    ------
    UsageError
        A value makes no sense, or does not go with another.
    """

    directions: int = 81
    cone_degrees: float = 15.0
    confidence: float = 0.95
    finest_angstrom: float | None = None
    coarsest_angstrom: float | None = None
    step_angstrom: float | None = None
    noise_region: str | None = None
    keep_directions: bool = False
    device: str = "auto"

    def __post_init__(self) -> None:
        if self.directions not in SUBDIVISIONS:
            raise UsageError(
                f"{self.directions} directions are not a divided icosahedron; use 46, 81 or 321"
            )
        if not NARROWEST_DEGREES <= self.cone_degrees <= WIDEST_DEGREES:
            raise UsageError(
                f"a cone of {self.cone_degrees:g} degrees does not work; use a half-angle of "
                f"{NARROWEST_DEGREES:g} to {WIDEST_DEGREES:g}, 15 is usual"
            )
        self.sweep()

    @property
    def edge_degrees(self) -> float:
        """Width of the cones' soft edge."""
        return self.cone_degrees * EDGE_SHARE

    def sweep(self) -> MonoResParameters:
        """Return the same sweep without directions."""
        return MonoResParameters(
            confidence=self.confidence,
            finest_angstrom=self.finest_angstrom,
            coarsest_angstrom=self.coarsest_angstrom,
            step_angstrom=self.step_angstrom,
            noise_region=self.noise_region,
            device=self.device,
        )

    def resolutions(self, grid: Grid) -> npt.NDArray[np.float64]:
        """Return the resolutions tested, coarse to fine.

        Raises
        ------
        UsageError
            The range does not fit the grid, or has too many steps.
        """
        tests = self.sweep().resolutions(grid)
        voxel = max(grid.voxel_size_angstrom)
        if self.step_angstrom is not None or tests[0] <= FINE_STEPS_VOX * voxel:
            return tests
        # Every second test beyond: there a voxel is an eighth of the resolution or less.
        coarse = tests > FINE_STEPS_VOX * voxel * (1 + 1e-6)
        kept = ~coarse
        kept[: coarse.sum() : 2] = True
        return tests[kept]

    def tolerance_angstrom(self, grid: Grid) -> float:
        """Return how near the highest resolution a direction must come to count as preferred.

        A fifth of the finest step: directions on the same test count, the next test does not.
        """
        return float(np.abs(np.diff(self.resolutions(grid))).min()) / 5
