"""Sharpen a block by a B-factor, up to a frequency where a soft edge ends it.

Amplitudes are multiplied by ``exp(-B s^2 / 4)``: a negative B sharpens, a positive one blurs
(Rosenthal and Henderson 2003). Without an end the corners of the transform, which hold noise alone,
would outgrow everything else.
"""

from dataclasses import dataclass
from math import ceil, pi

import torch

from distres.errors import UsageError
from distres.kernels.fourier import irfftn, radial_frequency, rfftn

# Gains above exp(40) leave float32 nothing of the low frequencies.
LARGEST_EXPONENT = 40.0
_EDGE = 0.15


@dataclass(frozen=True, slots=True, kw_only=True)
class Edge:
    """Where a sharpened spectrum ends: half its height at `cutoff_per_angstrom`.

    Attributes
    ----------
    cutoff_per_angstrom
        Frequency in 1/angstrom.
    width
        Of the raised cosine from 1 to 0, in cutoffs.
    """

    cutoff_per_angstrom: float
    width: float = _EDGE

    @classmethod
    def ending_at(cls, resolution_angstrom: float, width: float = _EDGE) -> "Edge":
        """Return the edge that reaches 0 at a resolution, for instance at two voxels."""
        return cls(cutoff_per_angstrom=1 / (resolution_angstrom * (1 + width / 2)), width=width)

    @property
    def stop_per_angstrom(self) -> float:
        """Where nothing is left."""
        return self.cutoff_per_angstrom * (1 + self.width / 2)

    def halo(self, voxel_angstrom: float) -> int:
        """Voxels beyond which the filter takes less than 0.5 % of the rms of a white volume."""
        return ceil(1.5 / (self.width * self.cutoff_per_angstrom * voxel_angstrom))

    def require(self, b_square_angstrom: float) -> None:
        """Refuse a B-factor that would leave nothing but noise.

        Raises
        ------
        UsageError
            The gain at the edge exceeds exp(40).
        """
        most = 4 * LARGEST_EXPONENT / self.stop_per_angstrom**2
        if -b_square_angstrom > most:
            raise UsageError(
                f"a B-factor of {b_square_angstrom:g} square angstrom on a spectrum that ends at "
                f"{1 / self.stop_per_angstrom:.2f} A leaves only noise; stay above {-most:.0f}, or "
                "end the spectrum earlier with --low-pass"
            )


class Sharpener:
    """One block, transformed once and sharpened by any number of B-factors.

    Parameters
    ----------
    block
        (z, y, x) float32, halo included.
    voxel_size_angstrom
        Voxel edges (z, y, x).
    edge
        Where the spectrum ends.
    """

    def __init__(
        self, block: torch.Tensor, voxel_size_angstrom: tuple[float, ...], edge: Edge
    ) -> None:
        self._shape = tuple(block.shape)
        frequency = radial_frequency(block.shape, voxel_size_angstrom, device=block.device)
        start = edge.cutoff_per_angstrom * (1 - edge.width / 2)
        span = edge.stop_per_angstrom - start
        place = ((frequency - start) / span).clamp_(0, 1)
        self._spectrum = rfftn(block) * place.mul_(pi).cos_().add_(1).mul_(0.5)
        self._squared = frequency.clamp_(max=edge.stop_per_angstrom).square_()

    def sharpened(self, b_square_angstrom: float) -> torch.Tensor:
        """Return the block multiplied by ``exp(-B s^2 / 4)``, (z, y, x) float32."""
        gain = torch.exp(self._squared * (-b_square_angstrom / 4))
        return irfftn(self._spectrum * gain, self._shape)
