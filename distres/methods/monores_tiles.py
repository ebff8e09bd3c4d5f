"""Tile functions of MonoRes: noise on a level, decisions on a level, the published form at once."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import scipy.fft
import torch

from distres.engine.jobs import Array, TileInputs, TileResult
from distres.engine.tiles import Region
from distres.kernels.centred import Float3, Shape3
from distres.kernels.monores import (
    TAPER_VOX,
    LevelTests,
    decide,
    refine_state,
    taper_faces,
)
from distres.kernels.monores_noise import noise_cells, noise_counts
from distres.kernels.monores_published import published_monores
from distres.kernels.noise_threshold import BINS
from distres.kernels.sweep import FAILURES_TO_DIE, SweepState
from distres.kernels.threshold_field import ThresholdField, nodes_around
from distres.kernels.wedge import Wedge
from distres.methods.localfsc_tiles import pick_device
from distres.methods.mask_tiles import OCCUPANCY_DIVISOR
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
# Noise is alike all over a block, so it needs no more around it than the fade-out at cut faces.
NOISE_HALO_VOX = 16
# A state is stored as 4 (last + 1) + fails; this is: out of the sweep, nothing passed.
NEVER_CODE = FAILURES_TO_DIE

Parameters = Mapping[str, Any]
Mask = npt.NDArray[np.bool_]


def state_path(level: int) -> str:
    """Return where a level's sweep states lie in the run's store."""
    return f"monores/state/{level}"


def noise_path(level: int) -> str:
    """Return where a level's noise quantiles by cell lie in the run's store."""
    return f"monores/noise/{level}"


def noise_tile(inputs: TileInputs, parameters: Parameters) -> TileResult:
    """Measure the amplitudes of noise in one tile of one level.

    Parameters
    ----------
    inputs
        ``half1``, perhaps ``half2`` (the noise is half the difference), and what the region needs:
        ``mask``, ``occupancy`` or ``region``.
    parameters
        ``tests`` (of `LevelTests`), ``voxel_angstrom``, ``scale``, ``region`` (``mask``,
        ``solvent`` or ``file``), ``centre_angstrom`` and ``radius_angstrom`` of the noise sphere,
        ``local`` (whether cells are measured beside the histogram), ``mirror_vox`` (how far to
        mirror at the volume's faces), ``wedge``, ``device``.
    """
    tile = inputs.tile
    tests = LevelTests(**parameters["tests"])
    region = _noise_region(inputs, parameters, tests.level)
    local = bool(parameters["local"])
    row: dict[str, Any] = {"voxels": np.int64(region.sum())}
    if not region.any():
        counts = np.zeros((len(tests.frequencies), BINS), np.int64)
        return TileResult(row={**row, "counts": counts})
    device = pick_device(parameters["device"])
    dz, dy, dx = parameters["voxel_angstrom"]
    box = _bounds(region) if not local else tuple(slice(0, n) for n in tile.core_shape)
    read, inner = _around(box, tile.core, tile.read)
    noise, core = _block(inputs, parameters, read, inner, difference=True)
    inside = torch.from_numpy(np.ascontiguousarray(region[box])).to(device)
    wedge = _wedge(parameters)
    if not local:
        scale = parameters["scale"]
        counts = noise_counts(noise, inside, core, (dz, dy, dx), tests, scale, wedge)
        return TileResult(row={**row, "counts": counts})
    found = noise_cells(noise, inside, core, (dz, dy, dx), tests, wedge)
    cells = np.concatenate([found.means, found.weights])
    return TileResult(arrays={noise_path(tests.level): cells}, row={**row, "counts": found.counts})


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
        (all) and ``shape``.
    """
    tile = inputs.tile
    tests = LevelTests(**parameters["tests"])
    device = pick_device(parameters["device"])
    start = (tile.core[0].start, tile.core[1].start, tile.core[2].start)
    state = _start_state(inputs, parameters, tests.level, device)
    if tests.frequencies and bool(state.alive.any()):
        dz, dy, dx = parameters["voxel_angstrom"]
        thresholds: Iterable[Any] = parameters["thresholds"]
        if "thresholds" in inputs:
            fields = _fields(inputs, parameters)
            thresholds = (field.at(start, tile.core_shape, device) for field in fields)
        signal, core = _block(inputs, parameters, tile.read, tile.crop, difference=False)
        decide(signal, core, (dz, dy, dx), tests, thresholds, state, _wedge(parameters))
    alive = np.int64(int(state.alive.sum()))
    if tests.level > 0:
        code = ((state.last + 1) * 4 + state.fails.clamp(max=FAILURES_TO_DIE)).cpu().numpy()
        return TileResult(arrays={state_path(tests.level): code}, row={"alive": alive})
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
        difference = torch.from_numpy(_values(inputs, read, difference=True)).to(device)
    found = published_monores(
        torch.from_numpy(_values(inputs, read, difference=False)).to(device),
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


def _values(inputs: TileInputs, region: Region, *, difference: bool) -> Array:
    """Read the mean of the halves, or half their difference, or the map when there is one."""
    block = np.asarray(inputs.sources["half1"].read(region), dtype=np.float32)
    if "half2" not in inputs:
        return block if block.flags.writeable else block.copy()
    other = np.asarray(inputs.sources["half2"].read(region), dtype=np.float32)
    return np.asarray((block - other if difference else block + other) * np.float32(0.5))


def _block(
    inputs: TileInputs,
    parameters: Parameters,
    region: Region,
    inner: Region,
    *,
    difference: bool,
) -> tuple[torch.Tensor, Region]:
    """Read a block ready for its transform.

    At the volume's faces it is mirrored if the job says so; every face where it was cut or
    mirrored fades out; and it is padded to fast lengths.

    Parameters
    ----------
    region
        What to read.
    inner
        A part of the region, as slices of it.

    Returns
    -------
    tuple
        The block, and where the part lies in it.
    """
    block = _values(inputs, region, difference=difference)
    mirror = int(parameters["mirror_vox"])
    ends = [
        (s.start == 0, s.stop == n)
        for s, n in zip(region, inputs.sources["half1"].shape[-3:], strict=True)
    ]
    more = [
        tuple(min(mirror, n - 1) if end else 0 for end in pair)
        for pair, n in zip(ends, block.shape, strict=True)
    ]
    block = np.pad(block, more, mode="reflect") if mirror else block
    z, y, x = (
        slice(s.start + before, s.stop + before) for s, (before, _) in zip(inner, more, strict=True)
    )
    widths = [
        (mirror if first else TAPER_VOX, mirror if last else TAPER_VOX) for first, last in ends
    ]
    tensor = torch.from_numpy(np.ascontiguousarray(block))
    taper_faces(tensor, widths)
    wanted = [scipy.fft.next_fast_len(n) for n in block.shape]
    if wanted != list(block.shape):
        fill = [(0, w - n) for n, w in zip(block.shape, wanted, strict=True)]
        tensor = torch.from_numpy(np.pad(tensor.numpy(), fill, mode="symmetric"))
    return tensor.to(pick_device(parameters["device"])), (z, y, x)


def _start_state(
    inputs: TileInputs, parameters: Parameters, level: int, device: torch.device
) -> SweepState:
    """Return the state in which the core's voxels reach this level."""
    core = inputs.tile.core
    start = (core[0].start, core[1].start, core[2].start)
    occupied = torch.from_numpy(occupied_voxels(inputs, core, level)).to(device)
    if "state" not in inputs:
        return SweepState.start(occupied)
    factor = 1 << (int(parameters["coarser"]) - level)
    region = tuple(slice(s.start // factor, (s.stop - 1) // factor + 1) for s in core)
    code = torch.from_numpy(np.asarray(inputs.sources["state"].read(region))).to(device)
    state = SweepState(
        last=torch.div(code, 4, rounding_mode="floor") - 1,
        fails=torch.remainder(code, 4).to(torch.uint8),
    )
    state = refine_state(state, factor, start, inputs.tile.core_shape)
    state.fails.masked_fill_(~occupied, FAILURES_TO_DIE)
    return state


def occupied_voxels(inputs: TileInputs, core: Region, level: int) -> Mask:
    """Return the voxels of a level's core that may hold mask; on level 0 those that do."""
    if level == 0 and "mask" in inputs:
        return np.asarray(inputs.core("mask")) > 0.5
    if "occupancy" not in inputs:
        return np.ones(inputs.tile.core_shape, dtype=bool)
    source = inputs.sources["occupancy"]
    voxel = 1 << level
    region, starts = [], []
    for part, cells in zip(core, source.shape[-3:], strict=True):
        first = np.minimum(np.arange(part.start, part.stop) * voxel // OCCUPANCY_DIVISOR, cells - 1)
        last = min(-(-part.stop * voxel // OCCUPANCY_DIVISOR), cells)
        region.append(slice(int(first[0]), max(last, int(first[-1]) + 1)))
        starts.append(first - first[0])
    found = np.asarray(source.read(tuple(region))) > 0
    for axis, start in enumerate(starts):
        if voxel > OCCUPANCY_DIVISOR:
            found = np.logical_or.reduceat(found, start, axis=axis)
        else:
            found = np.take(found, start, axis=axis)
    return np.ascontiguousarray(found)


def _noise_region(inputs: TileInputs, parameters: Parameters, level: int) -> Mask:
    """Return the core's voxels where noise is measured."""
    core = inputs.tile.core
    if parameters["region"] == "file":
        return np.asarray(inputs.core("region")) > 0.5
    occupied = occupied_voxels(inputs, core, level)
    if parameters["region"] == "mask":
        return occupied
    squared: Any = 0.0
    for axis, (part, d, centre) in enumerate(
        zip(core, parameters["voxel_angstrom"], parameters["centre_angstrom"], strict=True)
    ):
        along = (np.arange(part.start, part.stop) * d - centre) ** 2
        squared = squared + along.reshape([-1 if a == axis else 1 for a in range(3)])
    return np.asarray(~occupied & (squared < parameters["radius_angstrom"] ** 2))


def _bounds(region: Mask) -> Region:
    """Return the smallest box that holds a region."""
    found = []
    for axis in range(3):
        places = np.flatnonzero(region.any(axis=tuple(a for a in range(3) if a != axis)))
        found.append(slice(int(places[0]), int(places[-1]) + 1))
    return found[0], found[1], found[2]


def _around(box: Sequence[slice], core: Region, read: Region) -> tuple[Region, Region]:
    """Return what to read for a box of the core with its halo, and the box's place in that."""
    wider, inner = [], []
    for part, own, limit in zip(box, core, read, strict=True):
        start, stop = own.start + part.start, own.start + part.stop
        first, last = (
            max(start - NOISE_HALO_VOX, limit.start),
            min(stop + NOISE_HALO_VOX, limit.stop),
        )
        wider.append(slice(first, last))
        inner.append(slice(start - first, stop - first))
    return (wider[0], wider[1], wider[2]), (inner[0], inner[1], inner[2])


def _answer(
    state: SweepState, inside: Mask | None, core: Region, parameters: Parameters
) -> dict[str, Array]:
    """Turn the final state into resolutions and flags."""
    resolutions = np.asarray(parameters["resolutions"], dtype=np.float64)
    values = state.resolution(resolutions, float("nan")).cpu().numpy()
    if inside is None:
        inside = np.ones(values.shape, dtype=bool)
    known = inside & np.isfinite(values)
    finest = known & (state.last.cpu().numpy() == len(resolutions) - 1)
    nyquist = resolutions[-1] <= 2 * max(parameters["voxel_angstrom"]) * (1 + 1e-6)
    flags = np.where(known, 0, FLAG_NEVER_ABOVE).astype(np.uint8)
    flags |= np.where(finest, FLAG_NYQUIST if nyquist else FLAG_RANGE_END, 0).astype(np.uint8)
    near = _near_faces(values, core, parameters["shape"], parameters["voxel_angstrom"])
    flags |= np.where(known & near, FLAG_BORDER, 0).astype(np.uint8)
    flags = np.where(inside, flags, FLAG_OUTSIDE).astype(np.uint8)
    return {LOCRES: np.where(known, values, np.nan).astype(np.float32)[None], FLAGS: flags[None]}


def _near_faces(resolution: Array, core: Region, shape: Shape3, voxel_angstrom: Float3) -> Mask:
    """Tell which voxels lie nearer to a face of the volume than their resolution."""
    near = np.zeros(resolution.shape, dtype=bool)
    for axis, (part, n, d) in enumerate(zip(core, shape, voxel_angstrom, strict=True)):
        place = np.arange(part.start, part.stop)
        distance = (np.minimum(place, n - 1 - place) * d).astype(np.float32)
        with np.errstate(invalid="ignore"):
            near |= distance.reshape([-1 if a == axis else 1 for a in range(3)]) < resolution
    return near
