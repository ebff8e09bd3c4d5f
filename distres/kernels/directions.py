"""Directions spread evenly over a half-sphere, and the amplitude of a map's waves along each.

Only waves within a cone around the direction count. A real map has each wave twice in its
spectrum, at +u and -u; the cone on one side alone gives the analytic signal, whose modulus is the
amplitude. It agrees with the monogenic amplitude of the double cone because within a narrow cone
the Riesz transform is the Hilbert transform along the axis, and it costs one complex inverse
transform of a box that holds one end of the cone, instead of four of the whole grid.
"""

from dataclasses import dataclass
from math import acos, cos, floor, inf, pi, prod, radians, sin

import numpy as np
import numpy.typing as npt
import scipy.fft
import torch

from distres.errors import UsageError
from distres.kernels import fourier
from distres.kernels.centred import Float3, Shape3
from distres.kernels.monogenic import Band, RieszBlock

Vectors = npt.NDArray[np.float64]

# Points of the whole sphere: 10 n^2 + 2, in pairs of opposites.
SUBDIVISIONS = {46: 3, 81: 4, 321: 8}


def half_sphere(count: int) -> Vectors:
    """Return `count` directions, one of each opposite pair, from a divided icosahedron.

    The faces are divided by great circles (equal angles, not equal chords), which keeps neighbours
    at nearly equal distances: 15.9 to 17.1 degrees for 81.

    Parameters
    ----------
    count
        46, 81 or 321.

    Returns
    -------
    array
        (count, 3) unit vectors (z, y, x), the z axis first; z is never negative.
    """
    if count not in SUBDIVISIONS:
        raise UsageError(f"{count} directions are not a divided icosahedron; use 46, 81 or 321")
    points: list[Vectors] = []
    for face in _faces():
        for point in _divided(face, SUBDIVISIONS[count]):
            z, y, x = point.tolist()
            # The equator is halved too: y > 0, and x > 0 where y vanishes.
            leading = next((v for v in (z, y, x) if abs(v) > 1e-9), 1.0)
            kept = point if leading > 0 else -point
            if not any(float(kept @ other) > 1 - 1e-9 for other in points):
                points.append(kept)
    found = np.array(points)
    order = np.lexsort((np.arctan2(found[:, 1], found[:, 2]).round(9), -found[:, 0].round(9)))
    return found[order]


def _faces() -> list[Vectors]:
    """Return the 20 faces, (3, 3) each; the first corner is the apex of the division."""
    tilt = np.arctan(2.0)
    pole = np.array([1.0, 0.0, 0.0])
    turns = [radians(36 + 72 * k) for k in range(5)]
    ring = [np.array([cos(tilt), sin(tilt) * sin(t), sin(tilt) * cos(t)]) for t in turns]
    faces = []
    for k in range(5):
        a, b = ring[k], ring[(k + 1) % 5]
        # The lower ring is the upper one through the centre; its vertex between a and b.
        below = -ring[(k + 3) % 5]
        faces += [np.array([pole, a, b]), np.array([below, a, b])]
    return faces + [-face for face in faces]


def _divided(face: Vectors, parts: int) -> list[Vectors]:
    """Divide a face: both edges from its apex, then each row between them."""
    apex, left, right = face
    points = [apex]
    for row in range(1, parts + 1):
        first, last = _between(apex, left, row / parts), _between(apex, right, row / parts)
        points += [_between(first, last, k / row) for k in range(row + 1)]
    return points


def _between(a: Vectors, b: Vectors, share: float) -> Vectors:
    angle = acos(min(1.0, float(a @ b)))
    weights = sin((1 - share) * angle) / sin(angle), sin(share * angle) / sin(angle)
    return np.asarray(weights[0] * a + weights[1] * b)


@dataclass(frozen=True, slots=True, kw_only=True)
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

    def gain(self, along: torch.Tensor, norm: torch.Tensor) -> torch.Tensor:
        """Return the gain for frequencies with component `along` the axis and length `norm`."""
        inner = radians(self.half_angle_degrees - self.edge_degrees / 2)
        angle = torch.acos((along / norm.clamp_min(1e-30)).clamp_(-1, 1))
        if self.edge_degrees == 0:
            return (angle <= inner).to(along.dtype)
        share = ((self.outer - angle) / (self.outer - inner)).clamp_(0, 1)
        return 0.5 - 0.5 * torch.cos(pi * share)


def directional_amplitude(
    riesz: RieszBlock, band: Band, cone: Cone, *, oversampling: float = 1.0
) -> torch.Tensor:
    """Return the amplitude of the waves in a band and a cone, on the small box that holds them.

    Parameters
    ----------
    riesz
        Transform of a block.
    band
        The frequencies; a high-pass reaches to the corner of the grid.
    cone
        The directions, taken together with their opposites.
    oversampling
        Box edges in units of the smallest. Samples are exact for 1, but the amplitude has twice
        the bandwidth of the signal: 2 lets it be interpolated.

    Returns
    -------
    tensor
        (z, y, x) float32; sample j lies at voxel ``j * shape / box``.
    """
    first, size = cone_box(riesz.shape, riesz.voxel_angstrom, band, cone)
    part = riesz.spectrum[tuple(slice(f, f + s) for f, s in zip(first, size, strict=True))]
    axes = [
        (torch.arange(f, f + s, dtype=torch.float64, device=part.device) - n // 2) / (n * d)
        for f, s, n, d in zip(first, size, riesz.shape, riesz.voxel_angstrom, strict=True)
    ]
    z, y, x = (a.to(torch.float32) for a in axes)
    z, y = z[:, None, None], y[:, None]
    norm = (z * z + y * y + x * x).sqrt_()
    nz, ny, nx = cone.axis
    along = z * nz + y * ny + x * nx
    box = _grown(size, riesz.shape, oversampling)
    # 2: each wave is on both sides of the spectrum. |u|: the block's spectrum is divided by it.
    weight = band.gain(norm) * cone.gain(along, norm) * norm * (2 * prod(box) / prod(riesz.shape))
    field = part.new_zeros(box)
    field[: size[0], : size[1], : size[2]] = part * weight
    return fourier.ifftn(field).abs()


def cone_box(
    shape: Shape3, voxel_angstrom: Float3, band: Band, cone: Cone
) -> tuple[Shape3, Shape3]:
    """Return first index and size of the part of a centred spectrum that holds a cone's band."""
    corner = sum((0.5 / d) ** 2 for d in voxel_angstrom) ** 0.5
    stop = corner if band.stop == inf else min(band.stop, corner)
    first, size = [], []
    for n, d, component in zip(shape, voxel_angstrom, cone.axis, strict=True):
        high = _reach(component, cone.outer, band.start, stop)
        low = -_reach(-component, cone.outer, band.start, stop)
        lowest = max(floor(low * n * d), -(n // 2))
        highest = min(floor(high * n * d) + 1, (n - 1) // 2)
        wanted = max(highest - lowest + 1, 1)
        count = min(scipy.fft.next_fast_len(wanted), n)
        first.append(min(max(lowest + n // 2, 0), n - count))
        size.append(count)
    return (first[0], first[1], first[2]), (size[0], size[1], size[2])


def _reach(component: float, outer: float, start: float, stop: float) -> float:
    """Farthest that a cone between two radii goes along an axis with which it has this cosine."""
    angle = max(acos(min(1.0, max(-1.0, component))) - outer, 0.0)
    return cos(angle) * (stop if cos(angle) > 0 else start)


def _grown(size: Shape3, shape: Shape3, oversampling: float) -> Shape3:
    z, y, x = (
        s if oversampling <= 1 else max(s, min(n, scipy.fft.next_fast_len(round(s * oversampling))))
        for s, n in zip(size, shape, strict=True)
    )
    return z, y, x


def tilt_and_rotation(directions: Vectors) -> Vectors:
    """Return (count, 2): angle from the z axis and angle from x towards y, in degrees."""
    tilt = np.degrees(np.arccos(np.clip(directions[:, 0], -1, 1)))
    return np.stack([tilt, np.degrees(np.arctan2(directions[:, 1], directions[:, 2]))], axis=1)


def nearest_angles(directions: Vectors) -> Vectors:
    """Return each direction's angle to its nearest neighbour in degrees, opposites being one."""
    cosines = np.abs(directions @ directions.T)
    np.fill_diagonal(cosines, 0)
    return np.asarray(np.degrees(np.arccos(np.clip(cosines.max(axis=1), -1, 1))))


__all__ = [
    "Cone",
    "cone_box",
    "directional_amplitude",
    "half_sphere",
    "nearest_angles",
    "tilt_and_rotation",
]
