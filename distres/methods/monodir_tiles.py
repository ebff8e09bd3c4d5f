"""Tile function of MonoDir: decisions on a lattice, maps from them.

Decisions are made at every second voxel of a level, where amplitudes smoothed over 0.4 of a
wavelength of two voxels or more lose little; maps are interpolated to voxels at the end. The
resolutions in all directions exist for one tile at a time only.
"""

from collections.abc import Sequence
from functools import lru_cache
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from distres.engine.jobs import Array, TileInputs, TileResult
from distres.engine.tiles import Region
from distres.kernels.centred import Shape3
from distres.kernels.directional_maps import reduce_directions, to_voxels
from distres.kernels.directions import half_sphere
from distres.kernels.interpolate import needed_nodes
from distres.kernels.masks import bounds
from distres.kernels.monodir import NEVER_PASSED, Cones, decide_directions, on_lattice
from distres.kernels.monores import LevelTests
from distres.kernels.sweep import FAILURES_TO_DIE, NEVER, SweepState
from distres.methods.localfsc_tiles import pick_device
from distres.methods.monores_blocks import (
    Mask,
    Parameters,
    near_faces,
    occupied_voxels,
    ready_block,
)
from distres.methods.monores_tiles import NEVER_CODE
from distres.methods.products import (
    FLAG_BORDER,
    FLAG_NEVER_ABOVE,
    FLAG_NYQUIST,
    FLAG_OUTSIDE,
    FLAG_RANGE_END,
)
from distres.methods.symmetry_tiles import Frame

FLAGS = "monodir/flags"
DIRECTIONAL = "monodir/directional"
# Voxels of a level between decisions.
STRIDE = 2
# On coarse levels a point answers for finer ones up to so many of its level's voxels away.
REACH_VOX = 4


def map_path(name: str) -> str:
    """Return where a map lies in the run's store."""
    return f"monodir/{name}"


def directions_path(level: int) -> str:
    """Return where a level's sweep states lie in the run's store."""
    return f"monodir/state/{level}"


@lru_cache(maxsize=4)
def cones_of(count: int, half_angle_degrees: float, edge_degrees: float) -> Cones:
    """Return the directions of a run."""
    return Cones(
        directions=half_sphere(count),
        half_angle_degrees=half_angle_degrees,
        edge_degrees=edge_degrees,
    )


def directions_tile(inputs: TileInputs, parameters: Parameters) -> TileResult:
    """Run one level's tests in every direction in one tile; on level 0 make the maps.

    Parameters
    ----------
    inputs
        ``half1``, perhaps ``half2``; ``state`` of the coarser level if there was one;
        ``occupancy``, and on level 0 ``mask``.
    parameters
        ``tests``, ``voxel_angstrom``, ``coarser`` (level of ``state``), ``thresholds`` (directions,
        tests; None for never), ``cones``, ``mirror_vox``, ``device``; on level 0 ``resolutions``,
        ``shape``, ``centre_angstrom``, ``tolerance_angstrom``, ``keep``, ``point_group`` (of
        `distres.methods.symmetry_tiles.Frame`, or None).
    """
    tests = LevelTests(**parameters["tests"])
    cones = cones_of(*parameters["cones"])
    device = pick_device(parameters["device"])
    lattice = _lattice(inputs, tests.level)
    points = _needed(inputs, lattice, tests.level)
    places = np.flatnonzero(points.ravel())
    state = _start(inputs, parameters, lattice, places, tests.level, len(cones), device)
    if places.size and tests.frequencies and bool(state.alive.any()):
        tile = inputs.tile
        signal, core = ready_block(inputs, parameters, tile.read, tile.crop, difference=False)
        signal = on_lattice(signal)
        box = bounds(points)
        axes = [
            STRIDE * np.arange(s.start + b.start, s.start + b.stop, dtype=np.float64)
            - own.start
            + inner.start
            for s, b, own, inner in zip(lattice, box, tile.core, core, strict=True)
        ]
        thresholds = np.array(
            [[NEVER_PASSED if v is None else v for v in row] for row in parameters["thresholds"]]
        ).reshape(len(cones), len(tests.frequencies))
        dz, dy, dx = parameters["voxel_angstrom"]
        decide_directions(
            signal,
            axes,
            torch.from_numpy(np.flatnonzero(points[box])).to(device),
            (dz, dy, dx),
            tests,
            cones,
            thresholds,
            state,
        )
    row = {"alive": np.int64(int(state.alive.sum()))}
    if tests.level > 0:
        codes = np.full((len(cones), points.size), NEVER_CODE, dtype=np.int16)
        code = (state.last + 1) * 4 + state.fails.clamp(max=FAILURES_TO_DIE)
        codes[:, places] = code.cpu().numpy()
        found = codes.reshape(len(cones), *points.shape)
        return TileResult(arrays={directions_path(tests.level): found}, row=row)
    return _maps(inputs, parameters, state.last.cpu().numpy(), lattice, points, cones, row)


def _lattice(inputs: TileInputs, level: int) -> Region:
    """Return the lattice points of a tile; on level 0 with the next ones, to interpolate to."""
    more = 1 if level == 0 else 0
    shape = inputs.sources["half1"].shape[-3:]
    z, y, x = (
        slice(core.start // STRIDE, min(-(-core.stop // STRIDE) + more, -(-n // STRIDE)))
        for core, n in zip(inputs.tile.core, shape, strict=True)
    )
    return z, y, x


def _needed(inputs: TileInputs, lattice: Region, level: int) -> Mask:
    """Return which lattice points are decided."""
    shape = inputs.sources["half1"].shape[-3:]
    region, reach = inputs.tile.core, STRIDE - 1
    if level > 0:
        reach = REACH_VOX
        z, y, x = (
            slice(max(core.start - reach, 0), min(core.stop + reach, n))
            for core, n in zip(region, shape, strict=True)
        )
        region = (z, y, x)
    inside = occupied_voxels(inputs, region, level)
    oz, oy, ox = (STRIDE * s.start - r.start for s, r in zip(lattice, region, strict=True))
    return needed_nodes(inside, STRIDE, (oz, oy, ox), _sizes(lattice), reach)


def _sizes(region: Sequence[slice]) -> Shape3:
    z, y, x = (s.stop - s.start for s in region)
    return z, y, x


def _start(
    inputs: TileInputs,
    parameters: Parameters,
    lattice: Region,
    places: npt.NDArray[np.intp],
    level: int,
    count: int,
    device: torch.device,
) -> SweepState:
    """Return the states (directions, points) in which points reach this level."""
    if "state" not in inputs:
        alive = torch.ones((count, len(places)), dtype=torch.bool, device=device)
        return SweepState.start(alive)
    factor = 1 << (int(parameters["coarser"]) - level)
    region = tuple(slice(s.start // factor, (s.stop - 1) // factor + 1) for s in lattice)
    stored = np.asarray(inputs.sources["state"].read(region))
    index = np.unravel_index(places, _sizes(lattice))
    at = tuple(
        (own + s.start) // factor - r.start
        for own, s, r in zip(index, lattice, region, strict=True)
    )
    code = torch.from_numpy(np.ascontiguousarray(stored[:, *at])).to(device)
    return SweepState(
        last=torch.div(code, 4, rounding_mode="floor") - 1,
        fails=torch.remainder(code, 4).to(torch.uint8),
    )


def _maps(
    inputs: TileInputs,
    parameters: Parameters,
    last: npt.NDArray[np.int16],
    lattice: Region,
    points: Mask,
    cones: Cones,
    row: dict[str, Any],
) -> TileResult:
    """Reduce the directions and interpolate the maps to voxels."""
    core = inputs.tile.core
    resolutions = np.asarray(parameters["resolutions"], dtype=np.float64)
    index = np.argwhere(points) + [s.start for s in lattice]
    voxel, centre = np.array(parameters["voxel_angstrom"]), np.array(parameters["centre_angstrom"])
    inside = occupied_voxels(inputs, core, 0)
    # Each point in one tile only, and only where the mask itself is.
    local = STRIDE * index - [c.start for c in core]
    own = (local < inputs.tile.core_shape).all(axis=1)
    own[own] = inside[tuple(local[own].T)]
    if parameters["point_group"] is not None:
        # Each place once among its mates: the margin of the unit holds some again.
        frame = Frame.of(parameters["point_group"])
        own &= frame.unit.mates(frame.points(STRIDE * index)) == 0
    found = reduce_directions(
        last,
        resolutions,
        cones.directions,
        STRIDE * index * voxel - centre,
        own,
        parameters["tolerance_angstrom"],
    )
    row = {**row, "hits": found.hits, "hit_sums": found.hit_sums, "points": np.int64(own.sum())}
    maps = to_voxels(found.values, points, STRIDE, inputs.tile.core_shape)
    arrays: dict[str, Array] = {}
    for name, values in maps.items():
        values[~inside] = np.nan
        arrays[map_path(name)] = values
    arrays[FLAGS] = _flags(arrays, inside, inputs, parameters, resolutions)[None]
    arrays[map_path("adr")] = arrays[map_path("adr")][None]
    if parameters["keep"]:
        arrays[DIRECTIONAL] = _directional(last, resolutions, points, inputs)
    return TileResult(arrays=arrays, row=row)


def _flags(
    maps: dict[str, Array],
    inside: Mask,
    inputs: TileInputs,
    parameters: Parameters,
    resolutions: npt.NDArray[np.float64],
) -> npt.NDArray[np.uint8]:
    """Say why a voxel has no number, or one at an end of the range."""
    adr, highest, lowest = (maps[map_path(name)] for name in ("adr", "highest", "lowest"))
    known = np.isfinite(adr)
    flags = np.where(known, 0, FLAG_NEVER_ABOVE).astype(np.uint8)
    near = 1e-4 * float(resolutions[-1])
    nyquist = resolutions[-1] <= 2 * max(parameters["voxel_angstrom"]) * (1 + 1e-6)
    finest = known & (highest <= resolutions[-1] + near)
    flags |= np.where(finest, FLAG_NYQUIST if nyquist else FLAG_RANGE_END, 0).astype(np.uint8)
    coarsest = known & (lowest >= resolutions[0] - near)
    flags |= np.where(coarsest, FLAG_RANGE_END, 0).astype(np.uint8)
    border = near_faces(adr, inputs.tile.core, parameters["shape"], parameters["voxel_angstrom"])
    flags |= np.where(known & border, FLAG_BORDER, 0).astype(np.uint8)
    return np.where(inside, flags, FLAG_OUTSIDE).astype(np.uint8)


def _directional(
    last: npt.NDArray[np.int16],
    resolutions: npt.NDArray[np.float64],
    points: Mask,
    inputs: TileInputs,
) -> Array:
    """Return (directions, z, y, x) resolutions at the tile's own lattice points."""
    table = np.append(resolutions, resolutions[0]).astype(np.float32)
    every = np.full((len(last), *points.shape), np.nan, dtype=np.float32)
    every[:, points] = np.where((last != NEVER).any(axis=0), table[last], np.float32(np.nan))
    z, y, x = (-(-n // STRIDE) for n in inputs.tile.core_shape)
    return every[:, :z, :y, :x]
