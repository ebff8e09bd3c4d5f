"""What decides a MonoRes run: its parameters, and the resolutions it tests."""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from distres.errors import UsageError
from distres.io.grid import Grid
from distres.kernels.monores import plan_levels
from distres.kernels.sweep import resolution_list

# Without a range: from twenty voxels (or a fifth of the shortest side) to Nyquist.
COARSEST_VOX = 20.0
COARSEST_PER_EXTENT = 5.0
STEP_VOX = 0.5
MOST_TESTS = 400
# Deeper levels would hold bands of a few voxels only.
MOST_LEVELS = 6
THINNEST_VOX = 16
STRIDES = (1, 2)


@dataclass(frozen=True, slots=True, kw_only=True)
class MonoResParameters:
    """What decides the answer of MonoRes.

    Attributes
    ----------
    confidence
        1 minus the share of noise voxels that may get a resolution, over the whole sweep. In
        `compat` mode: of a single test, as published.
    finest_angstrom, coarsest_angstrom, step_angstrom
        Resolutions tested; None for Nyquist, 20 voxels, and half a voxel.
    local_noise
        Compare with the noise near each voxel (a smooth field) instead of one threshold.
    noise_region
        Mask file of the voxels that noise is measured in; None for the mask itself (half maps) or
        the solvent around it (a single map).
    compat
        ``xmipp`` for the published algorithm, on whole volumes; None for ours.
    noise_in_mask
        Compat mode with half maps: take noise inside the mask alone, as Scipion does.
    stride_vox
        Voxels from one place that is decided to the next; those in between take its answer, and
        amplitudes are smoothed over at least 2.4 strides. 1 decides every voxel.
    device
        ``auto``, ``cpu`` or ``cuda``.

    Raises
    ------
    UsageError
        A value makes no sense, or does not go with another.
    """

    confidence: float = 0.95
    finest_angstrom: float | None = None
    coarsest_angstrom: float | None = None
    step_angstrom: float | None = None
    local_noise: bool = False
    noise_region: str | None = None
    compat: str | None = None
    noise_in_mask: bool = True
    stride_vox: int = 1
    device: str = "auto"

    def __post_init__(self) -> None:
        if not 0.5 <= self.confidence < 1:
            raise UsageError(
                f"a confidence of {self.confidence:g} does not work; use 0.5 to 0.9999, 0.95 is "
                "usual"
            )
        if self.step_angstrom is not None and not self.step_angstrom > 0:
            raise UsageError(f"the step must be positive, not {self.step_angstrom:g} angstrom")
        fine, coarse = self.finest_angstrom, self.coarsest_angstrom
        if fine is not None and coarse is not None and not 0 < fine < coarse:
            raise UsageError(
                f"a resolution range goes from fine to coarse, for instance 3 20, not {fine:g} "
                f"{coarse:g}"
            )
        if self.stride_vox not in STRIDES:
            raise UsageError(
                f"a stride of {self.stride_vox} voxels does not work; use 1 (every voxel) or 2"
            )
        if self.compat not in (None, "xmipp"):
            raise UsageError(f"compat mode '{self.compat}' is unknown; the only one is xmipp")
        if self.compat and (self.local_noise or self.noise_region):
            raise UsageError(
                "the published algorithm has one threshold and its own noise region; leave out "
                "--local-noise and --noise-region, or --compat"
            )

    def range_angstrom(self, grid: Grid) -> tuple[float, float]:
        """Return the finest and the coarsest resolution tested on a grid.

        Raises
        ------
        UsageError
            The range given lies outside what the grid holds.
        """
        voxel = max(grid.voxel_size_angstrom)
        extent = min(n * step for n, step in zip(grid.shape, grid.voxel_size_angstrom, strict=True))
        fine = max(self.finest_angstrom or 0.0, 2 * voxel)
        default = max(min(COARSEST_VOX * voxel, extent / COARSEST_PER_EXTENT), 1.5 * fine)
        coarse = self.coarsest_angstrom or default
        if coarse > extent or fine >= coarse:
            raise UsageError(
                f"resolutions from {fine:g} to {coarse:g} A cannot be tested on a volume of "
                f"{extent:g} A with voxels of {voxel:g} A; the range must lie between "
                f"{2 * voxel:g} and {extent:g} A"
            )
        return fine, coarse

    def resolutions(self, grid: Grid) -> npt.NDArray[np.float64]:
        """Return the resolutions tested, coarse to fine.

        Raises
        ------
        UsageError
            There would be more than `MOST_TESTS`.
        """
        fine, coarse = self.range_angstrom(grid)
        step = self.step_angstrom or STEP_VOX * max(grid.voxel_size_angstrom)
        if (coarse - fine) / step > MOST_TESTS:
            raise UsageError(
                f"a step of {step:g} A from {coarse:g} to {fine:g} A makes "
                f"{(coarse - fine) / step:.0f} tests; use a larger --step"
            )
        return resolution_list(coarse, fine, step)


def levels_wanted(grid: Grid, parameters: MonoResParameters) -> int:
    """Return how many pyramid levels the tests of a grid use."""
    most = MOST_LEVELS
    while most > 1 and min(grid.coarser(2 ** (most - 1)).shape) < THINNEST_VOX:
        most -= 1
    plan = plan_levels(parameters.resolutions(grid), grid.voxel_size_angstrom, most)
    return plan[0].level + 1
