"""Tile functions of symmetry: which voxels are solved, and the answers of all others."""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from math import prod
from typing import Any

import numpy as np
import numpy.typing as npt
from scipy.ndimage import map_coordinates, maximum_filter

from distres.engine.jobs import Array, TileInputs, TileResult
from distres.engine.tiles import Region, Tile
from distres.kernels.masks import block_max
from distres.kernels.symmetry import AsymmetricUnit, operators
from distres.methods.mask_tiles import OCCUPANCY_DIVISOR
from distres.methods.products import FLAG_BORDER, FLAG_NEVER_ABOVE, FLAG_OUTSIDE

UNIT = "symmetry/unit"
UNIT_OCCUPANCY = "symmetry/unit_occupancy"
FLAGS = "symmetry/flags"

# A mate this near to a voxel is that voxel: turns by right angles need no interpolation.
ON_VOXEL = 1e-3

CELL_VOX = 8

Parameters = Mapping[str, Any]
Bool = npt.NDArray[np.bool_]
Float = npt.NDArray[np.float64]
Index = tuple[Any, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Frame:
    """A point group on a grid.

    Attributes
    ----------
    unit
        The part that is solved.
    shape
        Volume in voxels (z, y, x).
    spacing_angstrom, centre_vox
        Voxel edges, and where the axes meet, (z, y, x).
    """

    unit: AsymmetricUnit
    shape: tuple[int, ...]
    spacing_angstrom: Float
    centre_vox: Float

    @classmethod
    def of(cls, parameters: Parameters) -> "Frame":
        """Build from JSON values: ``setting``, ``shape``, ``spacing_angstrom``, ``centre_vox``."""
        return cls(
            unit=AsymmetricUnit.of(parameters["setting"]),
            shape=tuple(parameters["shape"]),
            spacing_angstrom=np.array(parameters["spacing_angstrom"], np.float64),
            centre_vox=np.array(parameters["centre_vox"], np.float64),
        )

    @property
    def reach_angstrom(self) -> float:
        """Radius of the largest ball around the centre that lies inside the volume."""
        last = np.array(self.shape) - 1
        ends = np.minimum(self.centre_vox, last - self.centre_vox) * self.spacing_angstrom
        return float(ends.min())

    def points(self, voxels: npt.NDArray[Any]) -> Float:
        """Return (n, 3) voxels as angstrom from the centre."""
        return np.asarray((voxels - self.centre_vox) * self.spacing_angstrom)

    def places(self, points: Float, operator: Float) -> Float:
        """Return where an operator takes points, in voxels (n, 3)."""
        return np.asarray(points @ operator.T / self.spacing_angstrom + self.centre_vox)

    def within(self, places: Float) -> Bool:
        """Tell which places lie inside the volume."""
        last = np.array(self.shape) - 1 + ON_VOXEL
        return np.asarray(((places >= -ON_VOXEL) & (places <= last)).all(axis=1))

    def mates(self, points: Float) -> Iterator[tuple[npt.NDArray[np.intp], Float]]:
        """Yield, operator by operator, which points it takes into the unit, and where to.

        A point whose mate lies outside the volume comes with its own place.
        """
        chosen = self.unit.mates(points)
        group = operators(self.unit.setting)
        for index in np.unique(chosen):
            mine = np.flatnonzero(chosen == index)
            places = self.places(points[mine], group[index])
            away = ~self.within(places)
            if away.any():
                places[away] = self.places(points[mine[away]], group[0])
            yield mine, places


def unit_tile(inputs: TileInputs, parameters: Parameters) -> TileResult:
    """Find the voxels of a tile that are solved.

    These are the voxels of the unit and of a margin around it that have a mate in the mask, and
    voxels of the mask whose mate in the unit lies outside the volume.

    Parameters
    ----------
    inputs
        ``mask``, and its ``occupancy``.
    parameters
        Of `Frame`; ``margin_angstrom``; ``mask_above``, beyond which mask is inside.
    """
    frame = Frame.of(parameters)
    start = [s.start for s in inputs.tile.core]
    above = parameters["mask_above"]
    inside = np.asarray(inputs.core("mask")) > above
    near = _near_unit(frame, inputs.tile, parameters["margin_angstrom"])
    solved = np.zeros(inside.shape, bool)
    solved[near] = _any_mate(inputs, frame, frame.points(np.argwhere(near) + start), above)
    far = np.argwhere(inside & ~near)
    points = frame.points(far + start)
    outer = (points**2).sum(axis=1) > frame.reach_angstrom**2
    far, points = far[outer], points[outer]
    for mine, places in frame.mates(points):
        # Those that stay where they are have no mate in the volume.
        stays = np.abs(places - (far[mine] + start)).max(axis=1) < ON_VOXEL
        solved[tuple(far[mine[stays]].T)] = True
    mask = solved.astype(np.float32)
    return TileResult(
        arrays={UNIT: mask, UNIT_OCCUPANCY: block_max(mask, OCCUPANCY_DIVISOR)},
        row={"solved": np.int64(solved.sum()), "inside": np.int64(inside.sum())},
    )


def _near_unit(frame: Frame, tile: Tile, margin_angstrom: float) -> Bool:
    """Tell which voxels of a tile's core lie in the unit or nearer than a margin to it."""
    start = [s.start for s in tile.core]
    counts = tuple(-(-n // CELL_VOX) for n in tile.core_shape)
    cells = np.argwhere(np.ones(counts, bool))
    # First whole cells, each as the ball around it: few of them are near.
    middles = frame.points(cells * CELL_VOX + (CELL_VOX - 1) / 2 + start)
    radius = float(np.linalg.norm(frame.spacing_angstrom * (CELL_VOX - 1) / 2))
    wide = frame.unit.holds(middles, margin_angstrom + radius).reshape(counts)
    for axis, n in enumerate(tile.core_shape):
        wide = np.repeat(wide, CELL_VOX, axis=axis).take(range(n), axis=axis)
    near = np.zeros(tile.core_shape, bool)
    near[wide] = frame.unit.holds(frame.points(np.argwhere(wide) + start), margin_angstrom)
    return near


def _any_mate(inputs: TileInputs, frame: Frame, points: Float, above: float) -> Bool:
    """Tell which points have a mate in the mask, or beside one of its voxels."""
    found = np.zeros(len(points), bool)
    cells = np.asarray(inputs.sources["occupancy"].read((slice(None),) * 3)) > above
    # A place lies among voxels of its own cell and of the next.
    cells = maximum_filter(cells, 3)
    whole = inputs.tile.core_shape == frame.shape
    held = (inputs.core("mask") > above).astype(np.float32) if whole else None
    for operator in operators(frame.unit.setting):
        left = np.flatnonzero(~found)
        places = frame.places(points[left], operator)
        within = frame.within(places)
        cell = np.maximum(places[within].astype(np.intp) // OCCUPANCY_DIVISOR, 0)
        within[within] = cells[tuple(cell.T)]
        left, places = left[within], places[within]
        if not len(left):
            continue
        region, at = _around(places, frame.shape)
        known = (
            held[region]
            if held is not None
            else (np.asarray(inputs.sources["mask"].read(region)) > above).astype(np.float32)
        )
        found[left] = map_coordinates(known, at, order=1, mode="nearest") > ON_VOXEL
    return found


def copied_path(name: str) -> str:
    """Return where a map of the whole particle lies in the run's store."""
    return f"symmetry/{name}"


def expand_tile(inputs: TileInputs, parameters: Parameters) -> TileResult:
    """Give every voxel of the mask in a tile what its mate in the unit was given.

    Between voxels maps are interpolated among the neighbours that have a number, where these carry
    half the weight or more: 1 / R of resolutions, other numbers themselves. Flags are those of the
    nearest voxel.

    Parameters
    ----------
    inputs
        Maps of the unit by name, (z, y, x) or with one more axis before; their ``flags``; ``mask``.
    parameters
        Of `Frame`; ``mask_above``; ``inverse``: by the name of a map whether it holds resolutions.
        The first map is the one that the flags tell of.
    """
    frame = Frame.of(parameters)
    tile = inputs.tile
    inside = np.asarray(inputs.core("mask")) > parameters["mask_above"]
    inverse: Mapping[str, bool] = parameters["inverse"]

    def blank(name: str, fill: float, dtype: npt.DTypeLike) -> Array:
        return np.full((*inputs.sources[name].shape[:-3], *tile.core_shape), fill, dtype)

    maps = {name: blank(name, np.nan, np.float32) for name in inverse}
    flags = blank("flags", FLAG_OUTSIDE, np.uint8)
    voxels = np.argwhere(inside)
    points = frame.points(voxels + [s.start for s in tile.core])
    for mine, places in _together(frame.mates(points), frame.shape, tile):
        region, at = _around(places, frame.shape)
        here: Index = (..., *voxels[mine].T)
        for name, values in maps.items():
            solved = np.asarray(inputs.sources[name].read(region))
            values[here] = _interpolated(solved, at, inverse=inverse[name])
        told = next(iter(maps.values()))[here]
        bits = np.asarray(inputs.sources["flags"].read(region))
        flags[here] = _marks(bits[_nearest(bits, at)], np.isfinite(told))
    copied = {copied_path(name): values for name, values in maps.items()}
    return TileResult(arrays={**copied, FLAGS: flags})


def _together(
    groups: Iterable[tuple[npt.NDArray[np.intp], Float]], shape: tuple[int, ...], tile: Tile
) -> Iterable[tuple[npt.NDArray[np.intp], Float]]:
    """Join groups of places where all of them lie in a region no larger than the tile."""
    found = list(groups)
    if len(found) < 2:
        return found
    every = np.concatenate([places for _, places in found])
    region, _ = _around(every, shape)
    if prod(s.stop - s.start for s in region) > prod(tile.core_shape):
        return found
    return [(np.concatenate([mine for mine, _ in found]), every)]


def _around(places: Float, shape: tuple[int, ...]) -> tuple[Region, Float]:
    """Return the smallest region with the neighbours of all places, and the places in it."""
    last = np.array(shape) - 1
    low = np.clip(np.floor(places.min(axis=0)), 0, last).astype(np.intp)
    high = np.clip(np.ceil(places.max(axis=0)), 0, last).astype(np.intp)
    z, y, x = (slice(int(a), int(b) + 1) for a, b in zip(low, high, strict=True))
    return (z, y, x), np.ascontiguousarray((places - low).T)


def _nearest(block: Array, at: Float) -> Index:
    """Return where a block (..., z, y, x) holds the voxels nearest to places (3, n)."""
    limits = np.array(block.shape[-3:])[:, None] - 1
    return (..., *np.clip(np.rint(at).astype(np.intp), 0, limits))


def _interpolated(solved: Array, at: Float, *, inverse: bool) -> npt.NDArray[np.float32]:
    """Return the values of maps (..., z, y, x) at places (3, n)."""
    found = np.asarray(solved[_nearest(solved, at)], np.float32)
    between = np.abs(at - np.rint(at)).max(axis=0) > ON_VOXEL
    if not between.any():
        return found
    for lead in np.ndindex(solved.shape[:-3]):
        known = np.isfinite(solved[lead])
        values = np.where(known, solved[lead], 1)
        part = np.where(known, 1 / values if inverse else values, 0)
        weight, total = (
            map_coordinates(each.astype(np.float32), at[:, between], order=1, mode="nearest")
            for each in (known, part)
        )
        with np.errstate(divide="ignore", invalid="ignore"):
            mean = weight / total if inverse else total / weight
        found[(*lead, between)] = np.where(weight >= 0.5, mean, np.nan)
    return found


def _marks(bits: Array, known: Bool) -> npt.NDArray[np.uint8]:
    """Return flags that agree with whether there is a number, which the neighbours decide."""
    numbered = bits & ~np.uint8(FLAG_OUTSIDE | FLAG_NEVER_ABOVE)
    without = (bits & np.uint8(FLAG_BORDER)) | np.uint8(FLAG_NEVER_ABOVE)
    return np.where(known, numbered, without).astype(np.uint8)
