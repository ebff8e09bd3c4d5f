"""A sweep from coarse to fine resolution: which resolutions are tested, and when a voxel drops out.

The rule is that of MonoRes (Vilas et al. 2018, doi:10.1016/j.str.2017.12.018): a voxel keeps the
finest resolution it passed and leaves the sweep after two consecutive failures. A voxel of pure
noise is therefore tested twice before it is gone, and so is a voxel just beyond its true limit: the
chance of a wrong assignment, or of one that is too fine, is that of passing one of two tests
(`CHANCES`), whatever the length of the sweep.
"""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch

from distres.errors import UsageError

FAILURES_TO_DIE = 2
CHANCES = FAILURES_TO_DIE
NEVER = -1


def resolution_list(
    low_angstrom: float, high_angstrom: float, step_angstrom: float
) -> npt.NDArray[np.float64]:
    """Return the resolutions to test, coarse to fine, both ends included.

    Parameters
    ----------
    low_angstrom, high_angstrom
        Coarsest and finest resolution.
    step_angstrom
        Distance between tests; the last one is shorter when the range is no multiple of it.

    Raises
    ------
    UsageError
        When the range is empty or a length is not positive.
    """
    if not 0 < high_angstrom < low_angstrom or not step_angstrom > 0:
        raise UsageError(
            f"the resolution range {high_angstrom:g} to {low_angstrom:g} angstrom with step "
            f"{step_angstrom:g} is empty; give the finer end first, and a positive step"
        )
    count = int(np.floor((low_angstrom - high_angstrom) / step_angstrom + 1e-6)) + 1
    tests = low_angstrom - step_angstrom * np.arange(count, dtype=np.float64)
    if tests[-1] - high_angstrom > 1e-6 * high_angstrom:
        return np.append(tests, high_angstrom)
    tests[-1] = high_angstrom
    return tests


def published_resolution_list(
    size_vox: int, voxel_angstrom: float, low_angstrom: float, step_angstrom: float
) -> npt.NDArray[np.float64]:
    """Return the list of the published program: resolutions rounded to Fourier shells of one axis.

    Parameters
    ----------
    size_vox
        Box length along x.
    voxel_angstrom
        Voxel length.
    low_angstrom
        Coarsest resolution asked for; the first test is the shell nearest to it.
    step_angstrom
        Distance between requests; equal shells are tested once.

    Returns
    -------
    array
        Resolutions in angstrom, coarse to fine, at least two voxels.
    """
    shells: list[int] = []
    for i in range(int(low_angstrom / step_angstrom) + 1):
        asked = low_angstrom - i * step_angstrom
        if asked <= 0:
            break
        shell = int(np.floor(size_vox * voxel_angstrom / asked + 0.5))
        if shell > size_vox / 2:
            break
        if shell > 0 and (not shells or shell != shells[-1]):
            shells.append(shell)
    if not shells:
        raise UsageError(
            f"no resolution can be tested: {low_angstrom:g} angstrom is beyond the Nyquist limit of"
            f" {2 * voxel_angstrom:g} angstrom; give a coarser low end"
        )
    return size_vox * voxel_angstrom / np.asarray(shells, dtype=np.float64)


def exceeds(values: torch.Tensor, threshold: float | torch.Tensor) -> torch.Tensor:
    """Tell where values are above a threshold; on a CPU numpy takes a tenth of the time of torch.

    Parameters
    ----------
    values
        float32 of any shape.
    threshold
        A number, or one for every value.
    """
    if values.device.type != "cpu":
        return values > threshold
    least = threshold.numpy() if isinstance(threshold, torch.Tensor) else np.float32(threshold)
    return torch.from_numpy(np.greater(values.numpy(), least))


@dataclass(frozen=True, slots=True, kw_only=True)
class SweepState:
    """Where every voxel stands in the sweep; updated in place.

    Attributes
    ----------
    last
        int16: index of the finest test passed so far, -1 for none.
    fails
        uint8: consecutive failures; 2 is out of the sweep.
    """

    last: torch.Tensor
    fails: torch.Tensor

    @classmethod
    def start(cls, mask: torch.Tensor) -> "SweepState":
        """Start a sweep: voxels inside the boolean mask are alive, others are out."""
        last = torch.full(mask.shape, NEVER, dtype=torch.int16, device=mask.device)
        fails = torch.where(mask, 0, FAILURES_TO_DIE).to(torch.uint8)
        return cls(last=last, fails=fails)

    @property
    def alive(self) -> torch.Tensor:
        """Voxels still in the sweep (bool)."""
        if self.fails.device.type == "cpu":
            # numpy compares in a tenth of the time of torch.
            return torch.from_numpy(np.less(self.fails.numpy(), FAILURES_TO_DIE))
        return self.fails < FAILURES_TO_DIE

    def update(self, passed: torch.Tensor, index: int) -> None:
        """Enter the outcome of test `index`; voxels that are out stay out whatever they did.

        Arithmetic on small integers, because masked writes take ten times as long.
        """
        alive = self.alive
        hit = passed & alive
        torch.maximum(self.last, hit.to(torch.int16).mul_(index + 1).sub_(1), out=self.last)
        self.fails.add_(alive.view(torch.uint8))
        self.fails.mul_(hit.logical_not_().view(torch.uint8))

    def resolution(self, tests: npt.NDArray[np.float64], never: float) -> torch.Tensor:
        """Translate `last` into angstrom (float32); voxels that passed nothing get `never`."""
        table = torch.tensor([*tests.tolist(), never], dtype=torch.float32, device=self.last.device)
        return table[self.last.long()]
