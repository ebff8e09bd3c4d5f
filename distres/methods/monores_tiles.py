"""Tile functions of MonoRes: noise on a level, decisions on a level, the published form at once."""

from collections.abc import Iterable
from typing import Any

import numpy as np
import torch

from distres.engine.jobs import Array, TileInputs, TileResult
from distres.engine.tiles import Region
from distres.kernels.masks import bounds
from distres.kernels.monores import LevelTests, decide, refine_state
from distres.kernels.monores_noise import CELL_MARGIN_VOX, noise_cells, noise_counts
from distres.kernels.monores_published import published_monores
from distres.kernels.noise_threshold import BINS
from distres.kernels.sweep import FAILURES_TO_DIE, SweepState
from distres.kernels.threshold_field import ThresholdField, nodes_around
from distres.kernels.wedge import Wedge
from distres.methods.localfsc_tiles import pick_device
from distres.methods.monores_blocks import (
    Mask,
    Parameters,
    around,
    block_values,
    near_faces,
    noise_region,
    occupied_voxels,
    ready_block,
)
from distres.methods.monores_plan import MOST_TESTS
from distres.methods.products import (
    FLAG_BORDER,
    FLAG_NEVER_ABOVE,
    FLAG_NYQUIST,
    FLAG_OUTSIDE,
    FLAG_RANGE_END,
)

LOCRES = "locres"
FLAGS = "flags"
# A state is stored as 4 (last + 1) + fails; this is: out of the sweep, nothing passed.
NEVER_CODE = FAILURES_TO_DIE


def state_path(level: int) -> str:
    """Return where a level's sweep states lie in the run's store."""
    return f"monores/state/{level}"


def noise_path(level: int, part: str = "") -> str:
    """Return where a level's noise by cell lies in the run's store, or a later part of it."""
    return f"monores/noise/{level}{part}"


def noise_tile(inputs: TileInputs, parameters: Parameters) -> TileResult:
    """Count the amplitudes of noise in one tile of one level.

    Parameters
    ----------
    inputs
        ``half1``, perhaps ``half2`` (the noise is half the difference), and what the region needs:
        ``mask``, ``occupancy`` or ``region``.
    parameters
        ``tests`` (of `LevelTests`), ``voxel_angstrom``, ``scale``, ``region`` (``mask``,
        ``solvent`` or ``file``), ``centre_angstrom`` and ``radius_angstrom`` of the noise sphere,
        ``shares`` (of the region that each test looks at),
        ``mirror_vox`` (how far to mirror at the volume's faces), ``wedge``, ``device``.
    """
    tests = LevelTests(**parameters["tests"])
    region = noise_region(inputs, parameters, tests.level)
    if not region.any():
        return TileResult(row=_no_noise(tests))
    box = bounds(region)
    read, inner = around(box, inputs.tile.core, inputs.tile.read)
    noise, core = ready_block(inputs, parameters, read, inner, difference=True)
    inside = torch.from_numpy(np.ascontiguousarray(region[box])).to(noise.device)
    dz, dy, dx = parameters["voxel_angstrom"]
    shares, scale = parameters["shares"], parameters["scale"]
    sample = noise_counts(
        noise, inside, core, (dz, dy, dx), tests, shares, scale, _wedge(parameters)
    )
    return TileResult(row={"voxels": sample.voxels, "counts": sample.counts})


def local_noise_tile(inputs: TileInputs, parameters: Parameters) -> TileResult:
    """Measure the noise of one tile of one level by cells.

    Parameters
    ----------
    inputs
        As in `noise_tile`.
    parameters
        As there, without ``scale`` and ``shares``; ``part`` of the cells' `noise_path`.
    """
    tile = inputs.tile
    tests = LevelTests(**parameters["tests"])
    z, y, x = (slice(0, n) for n in tile.core_shape)
    wide, own = around((z, y, x), tile.core, tile.read, CELL_MARGIN_VOX)
    region = noise_region(inputs, parameters, tests.level, wide)
    if not region[own].any():
        return TileResult(row=_no_noise(tests))
    place = tuple(
        slice(part.start - read.start, part.stop - read.start)
        for part, read in zip(wide, tile.read, strict=True)
    )
    inner = (place[0], place[1], place[2])
    noise, core = ready_block(
        inputs, parameters, tile.read, inner, difference=True, multiple=tests.stride
    )
    dz, dy, dx = parameters["voxel_angstrom"]
    inside = torch.from_numpy(region).to(noise.device)
    found = noise_cells(noise, inside, core, own, (dz, dy, dx), tests, _wedge(parameters))
    return TileResult(
        arrays={
            noise_path(tests.level, parameters["part"]): np.concatenate(
                [found.means, found.weights]
            )
        },
        row={
            "voxels": np.full(len(tests.frequencies), region[own].sum()),
            "counts": found.counts,
        },
    )


def _no_noise(tests: LevelTests) -> dict[str, Array]:
    """Return the row of a tile without a voxel of noise."""
    count = len(tests.frequencies)
    return {"voxels": np.zeros(count, np.int64), "counts": np.zeros((count, BINS), np.int64)}


def decide_tile(inputs: TileInputs, parameters: Parameters) -> TileResult:
    """Run one level's tests in one tile, from the state that coarser levels left.

    Parameters
    ----------
    inputs
        ``half1``, perhaps ``half2``; ``state`` of the coarser level if there was one;
        ``occupancy``, and on level 0 ``mask``; ``thresholds`` if they are a field.
    parameters
        ``tests``, ``voxel_angstrom``, ``coarser`` (level of ``state``), ``thresholds`` or
        ``nodes`` of the field, ``mirror_vox``, ``wedge``, ``device``; on level 0 ``resolutions``
        (all), ``tested`` (how many were) and ``shape``.
    """
    tile = inputs.tile
    tests = LevelTests(**parameters["tests"])
    device = pick_device(parameters["device"])
    state = _start_state(inputs, parameters, tests, device)
    if tests.frequencies and bool(state.alive.any()):
        dz, dy, dx = parameters["voxel_angstrom"]
        thresholds: Iterable[Any] = parameters["thresholds"]
        if "thresholds" in inputs:
            fields = _fields(inputs, parameters)
            z, y, x = (np.arange(s.start, s.stop, tests.stride, dtype=float) for s in tile.core)
            thresholds = (field.at((z, y, x), device) for field in fields)
        signal, core = ready_block(
            inputs, parameters, tile.read, tile.crop, difference=False, multiple=tests.stride
        )
        decide(signal, core, (dz, dy, dx), tests, thresholds, state, _wedge(parameters))
    alive = np.int64(int(state.alive.sum()))
    if tests.level > 0:
        code = ((state.last + 1) * 4 + state.fails.clamp(max=FAILURES_TO_DIE)).cpu().numpy()
        return TileResult(arrays={state_path(tests.level): code}, row={"alive": alive})
    if tests.stride > 1:
        state = refine_state(state, tests.stride, (0, 0, 0), tile.core_shape)
    inside = np.asarray(inputs.core("mask")) > 0.5 if "mask" in inputs else None
    return TileResult(arrays=_answer(state, inside, tile.core, parameters), row={"alive": alive})


def published_tile(inputs: TileInputs, parameters: Parameters) -> TileResult:
    """Compute the published MonoRes of a whole volume: one tile that is all of it.

    Parameters
    ----------
    inputs
        ``half1``, perhaps ``half2``, and ``mask``.
    parameters
        ``voxel_angstrom``, ``coarsest_angstrom``, ``step_angstrom``, ``confidence``,
        ``noise_in_mask``, ``device``.
    """
    device = pick_device(parameters["device"])
    read = inputs.tile.read
    mask = torch.from_numpy(np.asarray(inputs.core("mask")) > 0.5).to(device)
    difference = None
    if "half2" in inputs:
        difference = torch.from_numpy(block_values(inputs, read, difference=True)).to(device)
    found = published_monores(
        torch.from_numpy(block_values(inputs, read, difference=False)).to(device),
        difference,
        mask,
        voxel_angstrom=parameters["voxel_angstrom"],
        low_angstrom=parameters["coarsest_angstrom"],
        step_angstrom=parameters["step_angstrom"],
        confidence=parameters["confidence"],
        noise_in_mask=parameters["noise_in_mask"],
    )
    inside, known = mask.cpu().numpy(), found.mask.cpu().numpy()
    locres = np.where(known, found.resolution.cpu().numpy(), np.nan).astype(np.float32)
    flags = np.where(known, 0, np.where(inside, FLAG_NEVER_ABOVE, FLAG_OUTSIDE)).astype(np.uint8)
    finest = locres <= float(found.tests[-1]) * (1 + 1e-6)
    flags |= np.where(known & finest, FLAG_RANGE_END, 0).astype(np.uint8)
    tests = np.zeros(MOST_TESTS, dtype=np.float64)
    tests[: len(found.tests)] = found.tests[:MOST_TESTS]
    return TileResult(arrays={LOCRES: locres[None], FLAGS: flags[None]}, row={"tests": tests})


def _fields(inputs: TileInputs, parameters: Parameters) -> list[ThresholdField]:
    """Read the part of the threshold fields that decides the core."""
    every = [np.asarray(axis, dtype=np.float64) for axis in parameters["nodes"]]
    core = inputs.tile.core
    part = [nodes_around(axis, s.start, s.stop) for axis, s in zip(every, core, strict=True)]
    z, y, x = (axis[p] for axis, p in zip(every, part, strict=True))
    values = np.asarray(inputs.sources["thresholds"].read(tuple(part)), dtype=np.float64)
    return [ThresholdField(nodes=(z, y, x), values=value) for value in values]


def _wedge(parameters: Parameters) -> Wedge | None:
    given = parameters.get("wedge")
    return None if given is None else Wedge(**given)


def _start_state(
    inputs: TileInputs, parameters: Parameters, tests: LevelTests, device: torch.device
) -> SweepState:
    """Return the state in which the places of the core that are decided reach this level."""
    core, stride = inputs.tile.core, tests.stride
    occupied = torch.from_numpy(_occupied(inputs, tests)).to(device)
    if "state" not in inputs:
        return SweepState.start(occupied)
    # Voxels of a coarser level lie as far apart as the places, or farther.
    factor = (1 << (int(parameters["coarser"]) - tests.level)) // stride
    first = (core[0].start // stride, core[1].start // stride, core[2].start // stride)
    last = [-(-s.stop // stride) - 1 for s in core]
    region = tuple(slice(a // factor, b // factor + 1) for a, b in zip(first, last, strict=True))
    code = torch.from_numpy(np.asarray(inputs.sources["state"].read(region))).to(device)
    state = SweepState(
        last=torch.div(code, 4, rounding_mode="floor") - 1,
        fails=torch.remainder(code, 4).to(torch.uint8),
    )
    state = refine_state(state, factor, first, tests.lattice(inputs.tile.core_shape))
    state.fails.masked_fill_(~occupied, FAILURES_TO_DIE)
    return state


def _occupied(inputs: TileInputs, tests: LevelTests) -> Mask:
    """Return which places are decided: those that a voxel to be answered takes its answer from."""
    found = occupied_voxels(inputs, inputs.tile.core, tests.level)
    if tests.stride > 1:
        for axis, n in enumerate(inputs.tile.core_shape):
            found = np.logical_or.reduceat(found, np.arange(0, n, tests.stride), axis=axis)
    return found


def _answer(
    state: SweepState, inside: Mask | None, core: Region, parameters: Parameters
) -> dict[str, Array]:
    """Turn the final state into resolutions and flags."""
    resolutions = np.asarray(parameters["resolutions"], dtype=np.float64)
    values = state.resolution(resolutions, float("nan")).cpu().numpy()
    if inside is None:
        inside = np.ones(values.shape, dtype=bool)
    known = inside & np.isfinite(values)
    tested = int(parameters["tested"])
    finest = known & (state.last.cpu().numpy() == tested - 1)
    nyquist = tested == len(resolutions) and resolutions[-1] <= 2 * max(
        parameters["voxel_angstrom"]
    ) * (1 + 1e-6)
    flags = np.where(known, 0, FLAG_NEVER_ABOVE).astype(np.uint8)
    flags |= np.where(finest, FLAG_NYQUIST if nyquist else FLAG_RANGE_END, 0).astype(np.uint8)
    near = near_faces(values, core, parameters["shape"], parameters["voxel_angstrom"])
    flags |= np.where(known & near, FLAG_BORDER, 0).astype(np.uint8)
    flags = np.where(inside, flags, FLAG_OUTSIDE).astype(np.uint8)
    return {LOCRES: np.where(known, values, np.nan).astype(np.float32)[None], FLAGS: flags[None]}
