"""Point groups of particles: their rotations, and one asymmetric unit of each.

Settings, axes named x, y, z: ``Cn`` has its n-fold axis along z; ``Dn`` a 2-fold axis along x
besides; ``O`` its 4-fold axes along x, y and z. ``T1`` has its 2-fold axes along x, y and z, ``T2``
a 3-fold axis along z. The 2-fold axes of both icosahedral settings lie along x, y and z; seen down
z, the nearest 5-fold axes of ``I1`` lie in the plane of y and z (Heymann et al. 2005, J. Struct.
Biol. 151, 196), those of ``I2`` in the plane of x and z (Crowther). Rotations only: no mirrors.
"""

import re
from dataclasses import dataclass
from functools import lru_cache
from itertools import product
from math import pi, sqrt

import numpy as np
import numpy.typing as npt
from scipy.spatial.transform import Rotation

from distres.errors import UsageError

Float = npt.NDArray[np.float64]
Indices = npt.NDArray[np.intp]

HIGHEST_FOLD = 99
GOLDEN = (1 + sqrt(5)) / 2
_CYCLIC = re.compile(r"([CD])([1-9][0-9]?)")
_SETTINGS = {"T": ("T1", "T2"), "I": ("I1", "I2"), "O": ("O",)}
_PROBES = 500
# Points on the border of two units count as inside the first: rounding must not decide.
_TIE = 1e-9
_BATCH = 1 << 17


def settings_of(text: str) -> tuple[str, ...]:
    """Return the settings that a symbol may mean: both for a bare ``I`` or ``T``.

    Parameters
    ----------
    text
        ``C1``, ``c7``, ``D3``, ``T``, ``T2``, ``O``, ``I``, ``I1``, ...

    Raises
    ------
    UsageError
        The symbol is no point group.
    """
    symbol = text.strip().upper()
    if symbol in _SETTINGS:
        return _SETTINGS[symbol]
    if _CYCLIC.fullmatch(symbol) or any(symbol in settings for settings in _SETTINGS.values()):
        return (symbol,)
    raise UsageError(
        f"'{text}' is no point group; use C1 to C{HIGHEST_FOLD}, D1 to D{HIGHEST_FOLD}, T, O, or I "
        "(T1, T2, I1 and I2 name a setting)"
    )


def generators(setting: str) -> Float:
    """Return rotations that make the group of a setting, (n, 3, 3), for vectors (z, y, x)."""
    cyclic = _CYCLIC.fullmatch(setting)
    if cyclic:
        turn = _rotation((0, 0, 1), int(cyclic[2]))
        made = [turn, _rotation((1, 0, 0), 2)] if cyclic[1] == "D" else [turn]
    elif setting == "T2":
        # The angle between a 3-fold and a 2-fold axis of a tetrahedron has the cosine 1 / sqrt 3.
        made = [_rotation((0, 0, 1), 3), _rotation((0, sqrt(2), 1), 2)]
    else:
        made = {
            "T1": [_rotation((0, 0, 1), 2), _rotation((1, 1, 1), 3)],
            "O": [_rotation((0, 0, 1), 4), _rotation((1, 1, 1), 3)],
            "I1": [_rotation((0, 0, 1), 2), _rotation((1, 1, 1), 3), _rotation((0, 1, GOLDEN), 5)],
            "I2": [_rotation((0, 0, 1), 2), _rotation((1, 1, 1), 3), _rotation((1, 0, GOLDEN), 5)],
        }[setting]
    # Reversing both axes of a matrix turns (x, y, z) into (z, y, x).
    return np.stack([matrix[::-1, ::-1] for matrix in made])


def _rotation(axis: tuple[float, float, float], fold: int) -> Float:
    """Return the turn by ``360 / fold`` degrees about an axis, for vectors (x, y, z)."""
    turn = Rotation.from_rotvec(np.array(axis) * (2 * pi / fold / np.linalg.norm(axis)))
    return np.asarray(turn.as_matrix(), np.float64)


@lru_cache(maxsize=8)
def operators(setting: str) -> Float:
    """Return all rotations of a setting, (order, 3, 3), the identity first; vectors (z, y, x)."""
    found = [np.eye(3)]
    made = generators(setting)
    new = list(found)
    while new:
        products = [a @ b for a, b in product(made, new)]
        new = []
        for matrix in products:
            if not any(np.abs(matrix - other).max() < 1e-6 for other in found):
                found.append(matrix)
                new.append(matrix)
    return np.stack(found)


@dataclass(frozen=True, slots=True, kw_only=True)
class AsymmetricUnit:
    """The points that lie nearer to a reference direction than any of their mates.

    Attributes
    ----------
    setting
        Point group, see `settings_of`.
    reference
        Unit vector (z, y, x).
    """

    setting: str
    reference: tuple[float, float, float]

    @classmethod
    def of(cls, setting: str) -> "AsymmetricUnit":
        """Return the unit of a setting that fits into the smallest box along the axes.

        Among the mates of one direction in general position, that is: a box is what is read.
        """
        return cls(setting=setting, reference=_smallest(setting))

    def holds(self, points: Float, margin: float = 0.0) -> npt.NDArray[np.bool_]:
        """Tell which points lie in the unit, or nearer than a margin to it.

        Parameters
        ----------
        points
            (n, 3) from the centre of the group, (z, y, x), in the unit of `margin`.
        margin
            Distance from each of the planes that bound the unit.
        """
        across = np.array(self.reference) - operators(self.setting)[1:] @ self.reference
        length = np.linalg.norm(across, axis=1, keepdims=True)
        normals = across / np.maximum(length, 1e-12)
        inside = np.ones(len(points), bool)
        for first in range(0, len(points), _BATCH):
            part = points[first : first + _BATCH]
            depth = part @ normals.T
            inside[first : first + _BATCH] = (depth >= -margin - _TIE).all(axis=1)
        return inside

    def mates(self, points: Float) -> Indices:
        """Return for each point which of the group's `operators` takes it into the unit.

        A point inside, its border included, is given the identity.

        Parameters
        ----------
        points
            (n, 3) from the centre of the group, (z, y, x).
        """
        # (R p) . r is p . (R^T r).
        towards = np.array(self.reference) @ operators(self.setting)
        chosen = np.empty(len(points), np.intp)
        for first in range(0, len(points), _BATCH):
            part = points[first : first + _BATCH]
            nearness = part @ towards.T
            nearness[:, 0] += _TIE * (1 + np.abs(part).max(axis=1, initial=0))
            chosen[first : first + _BATCH] = nearness.argmax(axis=1)
        return chosen


@lru_cache(maxsize=8)
def _smallest(setting: str) -> tuple[float, float, float]:
    """Return the reference of the unit whose part of a ball has the smallest bounding box."""
    probes = _directions(_PROBES)
    found: list[tuple[float, tuple[float, float, float]]] = []
    for z, y, x in operators(setting) @ _directions(7)[2]:
        unit = AsymmetricUnit(setting=setting, reference=(float(z), float(y), float(x)))
        ends = np.concatenate([probes[unit.holds(probes)], np.zeros((1, 3))])
        found.append((round(float(np.prod(np.ptp(ends, axis=0))), 9), unit.reference))
    return min(found, key=lambda entry: entry[0])[1]


def _directions(count: int) -> Float:
    """Return directions spread over the sphere along a spiral, (count, 3), none along an axis."""
    height = 1 - (2 * np.arange(count) + 1) / count
    angle = 2 * pi * np.arange(count) / GOLDEN + 0.1
    across = np.sqrt(1 - height**2)
    return np.stack([height, across * np.sin(angle), across * np.cos(angle)], axis=1)
