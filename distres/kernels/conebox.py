"""A cone of directions, the part of a spectrum that holds one end of it, and the box for that."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from math import acos, ceil, cos, floor, pi, radians

import scipy.fft
import torch

from distres.errors import UsageError
from distres.kernels.centred import Float3, Shape3

# Samples of an amplitude lie on a lattice that repeats after so many voxels. Blocks that begin and
# end on multiples of it, parts of one volume, sample at the same places: what is coarsely sampled
# is then wrong by the same amount in each of them.
LATTICE_VOX = 16


@dataclass(frozen=True, kw_only=True)
class Cone:
    """A cone of directions with a soft edge.

    Attributes
    ----------
    axis
        Unit vector (z, y, x).
    half_angle_degrees
        Where the gain has fallen to a half.
    edge_degrees
        Width of the edge; gain 1 inside, 0 outside of it.
    """

    axis: Float3
    half_angle_degrees: float = 15.0
    edge_degrees: float = 5.0

    def __post_init__(self) -> None:
        if not 0 <= self.edge_degrees / 2 < self.half_angle_degrees <= 60:
            raise UsageError(
                f"a cone of {self.half_angle_degrees:g} degrees with an edge of "
                f"{self.edge_degrees:g} is no cone; use up to 60 degrees, and a narrower edge"
            )

    @property
    def outer(self) -> float:
        """Angle in radians beyond which nothing passes."""
        return radians(self.half_angle_degrees + self.edge_degrees / 2)

    @cached_property
    def reach(self) -> tuple[tuple[float, float], ...]:
        """Least and largest cosine between an axis (z, y, x) and a direction inside the cone."""
        found = []
        for component in self.axis:
            angle = acos(min(1.0, max(-1.0, component)))
            found.append((cos(min(angle + self.outer, pi)), cos(max(angle - self.outer, 0.0))))
        return tuple(found)

    def gain(self, along: torch.Tensor, norm: torch.Tensor) -> torch.Tensor:
        """Return the gain for frequencies with component `along` the axis and length `norm`."""
        inner = radians(self.half_angle_degrees - self.edge_degrees / 2)
        angle = (along / norm.clamp_min(1e-30)).clamp_(-1, 1).acos_()
        if self.edge_degrees == 0:
            return (angle <= inner).to(along.dtype)
        beyond = angle.sub_(inner).mul_(1 / (self.outer - inner)).clamp_(0, 1)
        return beyond.mul_(pi).cos_().add_(1).mul_(0.5)


def cone_box(
    shape: Shape3, voxel_angstrom: Float3, low: float, high: float, cone: Cone
) -> tuple[Shape3, Shape3]:
    """Return first index and size of the part of a centred spectrum that holds a cone's end.

    The highest frequency of an even axis is stored at its lower end only; a part may reach past the
    upper end and hold it there.

    Parameters
    ----------
    shape, voxel_angstrom
        Of the block.
    low, high
        Range of |u| in 1/angstrom; the corner of the grid at most.
    cone
        The directions.
    """
    first, size = [], []
    for n, (bottom, top) in zip(shape, cone_span(voxel_angstrom, low, high, cone), strict=True):
        lowest = min(max(floor(bottom * n), -(n // 2)), n // 2)
        highest = max(min(floor(top * n) + 1, n // 2), lowest)
        if highest - lowest == n:  # both ends of an even axis, which are one coefficient
            highest -= 1
        first.append(lowest + n // 2)
        size.append(highest - lowest + 1)
    return (first[0], first[1], first[2]), (size[0], size[1], size[2])


def cone_span(
    voxel_angstrom: Float3, low: float, high: float, cone: Cone
) -> tuple[tuple[float, float], ...]:
    """Return between which frequencies along each axis a cone's end lies, in cycles per voxel."""
    stop = min(high, corner_frequency(voxel_angstrom))
    return tuple(
        (min(down * stop, down * low) * d, max(up * stop, up * low) * d)
        for d, (down, up) in zip(voxel_angstrom, cone.reach, strict=True)
    )


def lattice_box(
    size: Shape3, shape: Shape3, span: Sequence[tuple[float, float]], oversampling: float
) -> Shape3:
    """Return the edges of the box on which an amplitude is sampled.

    Parameters
    ----------
    size
        The smallest box.
    shape
        The block. Along an edge of a multiple of `LATTICE_VOX` voxels, that many voxels hold a
        whole number of samples, the same number whatever the edge.
    span
        See `cone_span`.
    oversampling
        Least density of samples, in units of the width of the span.
    """
    found = []
    for s, n, (bottom, top) in zip(size, shape, span, strict=True):
        width = min(top, 0.5) - max(bottom, -0.5)
        least = max(oversampling * width, s / n) * LATTICE_VOX
        samples = min(scipy.fft.next_fast_len(ceil(least - 1e-9)), LATTICE_VOX)
        edge = ceil(samples * n / LATTICE_VOX)
        found.append(min(n, edge if n % LATTICE_VOX == 0 else scipy.fft.next_fast_len(edge)))
    return found[0], found[1], found[2]


def corner_frequency(voxel_angstrom: Float3) -> float:
    """Return the highest frequency of a grid, in 1/angstrom."""
    return float(sum((0.5 / d) ** 2 for d in voxel_angstrom) ** 0.5)
