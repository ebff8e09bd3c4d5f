"""Directions spread evenly over a half-sphere."""

from functools import cache
from math import acos, cos, radians, sin

import numpy as np
import numpy.typing as npt

from distres.errors import UsageError

Vectors = npt.NDArray[np.float64]

# Points of the whole sphere: 10 n^2 + 2, in pairs of opposites.
SUBDIVISIONS = {46: 3, 81: 4, 321: 8}


@cache
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
        (count, 3) unit vectors (z, y, x), the z axis first; z is never negative. Read only.
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
    found = found[order]
    found.setflags(write=False)
    return found


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


def turned(directions: Vectors, rotations: Vectors) -> npt.NDArray[np.intp]:
    """Tell what a turned copy shows along each direction: (rotations, directions) indices.

    What is measured along d in a copy turned by R lies along R^-1 d in the original; of the
    directions that were measured there the nearest is named, opposite ones being the same. It is
    that very direction where the rotation maps the set onto itself, as 72 degrees about z do.

    Parameters
    ----------
    directions
        (directions, 3) unit vectors (z, y, x).
    rotations
        (rotations, 3, 3) for vectors (z, y, x).
    """
    # R^-1 d . e is d . R e.
    cosines = np.einsum("di,rij,ej->rde", directions, rotations, directions)
    nearest: npt.NDArray[np.intp] = np.abs(cosines).argmax(axis=2)
    return nearest


def tilt_and_rotation(directions: Vectors) -> Vectors:
    """Return (count, 2): angle from the z axis and angle from x towards y, in degrees."""
    tilt = np.degrees(np.arccos(np.clip(directions[:, 0], -1, 1)))
    return np.stack([tilt, np.degrees(np.arctan2(directions[:, 1], directions[:, 2]))], axis=1)
