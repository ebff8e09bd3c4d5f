"""Tile functions of the local FSC: curves on one level, then crossings at every voxel."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from distres.engine.jobs import Array, TileInputs, TileResult
from distres.engine.tiles import Region
from distres.kernels.bandfilter import Faces
from distres.kernels.bands import Band
from distres.kernels.crossing import CurveModel, find_crossings
from distres.kernels.interpolate import (
    apply_matrices,
    interpolate_known,
    linear_matrix,
    needed_nodes,
)
from distres.kernels.localcorrelation import STRIDE, Windows, correlation_curves
from distres.kernels.significance import face_factor
from distres.methods.products import (
    FLAG_BORDER,
    FLAG_NEVER_ABOVE,
    FLAG_NYQUIST,
    FLAG_OUTSIDE,
    FLAG_RANGE_END,
)

LOCRES = "locres"
FLAGS = "flags"
# Curves fitted at a time: the fit holds some forty arrays of 8 bands each.
FIT_BATCH = 1 << 16

Parameters = Mapping[str, Any]
FloatArray = npt.NDArray[np.float32]


def curves_path(level: int) -> str:
    """Return where the curves of one level lie in the run's store."""
    return f"localfsc/curves/{level}"


def pick_device(name: str) -> torch.device:
    """Return the device for ``auto``, ``cpu`` or ``cuda``."""
    if name == "auto":
        name = "cuda" if torch.cuda.is_available() else "cpu"
    return torch.device(name)


def bands_of(values: Sequence[Mapping[str, Any]]) -> list[Band]:
    """Return bands from their JSON form."""
    return [Band(**value) for value in values]


def curve_tile(inputs: TileInputs, parameters: Parameters) -> TileResult:
    """Measure all bands of one level at every second voxel of a tile.

    Parameters
    ----------
    inputs
        ``half1`` and ``half2`` on this level.
    parameters
        ``bands``, ``windows``, ``spacing_angstrom`` (z, y, x) of the level, ``output``, ``device``.
    """
    tile = inputs.tile
    device = pick_device(parameters["device"])
    shape = inputs.sources["half1"].shape[-3:]
    ends = [(s.start == 0, s.stop == n) for s, n in zip(tile.read, shape, strict=True)]
    faces: Faces = (ends[0], ends[1], ends[2])
    dz, dy, dx = parameters["spacing_angstrom"]
    curves = correlation_curves(
        _tensor(inputs.block("half1"), device),
        _tensor(inputs.block("half2"), device),
        spacing=(dz, dy, dx),
        bands=bands_of(parameters["bands"]),
        windows=Windows(**parameters["windows"]),
        faces=faces,
    )
    z, y, x = (
        slice((c.start - r.start) // STRIDE, -(-(c.stop - r.start) // STRIDE))
        for c, r in zip(tile.core, tile.read, strict=True)
    )
    core = curves[:, z, y, x].to("cpu", torch.float16).numpy()
    return TileResult(arrays={parameters["output"]: core})


def _tensor(block: Array, device: torch.device) -> torch.Tensor:
    values = np.ascontiguousarray(block, dtype=np.float32)
    finite = np.isfinite(values)
    if not finite.all():
        # A few NaN voxels must not spread through the transform over the whole tile.
        values = np.where(finite, values, np.float32(0))
    return torch.from_numpy(values if values.flags.writeable else values.copy()).to(device)


def crossing_tile(inputs: TileInputs, parameters: Parameters) -> TileResult:
    """Find the resolution of every voxel of a tile for all thresholds.

    Curves are interpolated to every second voxel, the crossing is found there, and its logarithm
    is interpolated to all voxels: the windows are wider than that everywhere.

    Parameters
    ----------
    inputs
        ``curves_<level>`` for every level; perhaps ``mask``.
    parameters
        ``shape``, ``spacing_angstrom`` (z, y, x), ``bands``, ``windows``, ``thresholds``,
        ``significance`` of each band, ``range_per_angstrom`` (low, high), ``border_wavelengths``,
        ``device``.
    """
    tile = inputs.tile
    device = pick_device(parameters["device"])
    inside = inputs.core("mask") > 0 if "mask" in inputs else np.ones(tile.core_shape, bool)
    bands = bands_of(parameters["bands"])
    locres = np.full((len(parameters["thresholds"]), *tile.core_shape), np.nan, np.float32)
    flags = np.full(locres.shape, FLAG_OUTSIDE, np.uint8)
    if not inside.any():
        return TileResult(arrays={LOCRES: locres, FLAGS: flags})
    curves = _curves_at_nodes(inputs, parameters, device)
    wanted = needed_nodes(inside, STRIDE, (0, 0, 0), curves.shape[1:], STRIDE - 1)
    index = torch.from_numpy(np.flatnonzero(wanted)).to(device)
    model = CurveModel.of(bands, device)
    faces = _distance_to_faces(tile.core, parameters["shape"], parameters["spacing_angstrom"])
    factors = _face_factors(inputs, parameters, curves.shape[1:])
    for place, threshold in enumerate(parameters["thresholds"]):
        nodes = torch.full(wanted.shape, float("nan"), device=device)
        for first in range(0, len(index), FIT_BATCH):
            part = index[first : first + FIT_BATCH]
            batch = curves.view(len(bands), -1).index_select(1, part)
            levels = _levels(threshold, parameters["significance"], factors, part)
            nodes.view(-1)[part] = find_crossings(batch, model, levels)[0]
        voxels = _at_voxels(nodes, tile.core_shape).cpu().numpy()
        _answer(voxels, inside, faces, parameters, locres[place], flags[place])
    return TileResult(arrays={LOCRES: locres, FLAGS: flags})


def _face_factors(
    inputs: TileInputs, parameters: Parameters, nodes: Sequence[int]
) -> list[FloatArray]:
    """Return per axis (bands, nodes) by how much nearby faces raise the deviation of noise."""
    windows = Windows(**parameters["windows"])
    spacing = parameters["spacing_angstrom"]
    factors = []
    axes = zip(inputs.tile.core, nodes, parameters["shape"], spacing, strict=True)
    for part, count, n, step in axes:
        place = part.start + STRIDE * np.arange(count)
        rows = []
        for band in bands_of(parameters["bands"]):
            power, average, _ = windows.radii(band, max(spacing) * 2**band.level)
            radius = float(np.hypot(power, average))
            rows.append(face_factor((place + 0.5) * step, (n - place - 0.5) * step, radius))
        factors.append(np.stack(rows).astype(np.float32))
    return factors


def _levels(
    threshold: float,
    significance: Sequence[float],
    factors: Sequence[FloatArray],
    nodes: torch.Tensor,
) -> torch.Tensor:
    """Return the (bands, nodes) thresholds in force: the fixed one, or significance if higher."""
    fz, fy, fx = (torch.from_numpy(f).to(nodes.device) for f in factors)
    ny, nx = fy.shape[1], fx.shape[1]
    z, y, x = nodes // (ny * nx), nodes // nx % ny, nodes % nx
    floor = torch.tensor(significance, dtype=torch.float32, device=nodes.device)[:, None]
    levels = floor * fz[:, z] * fy[:, y] * fx[:, x]
    # Above 0.9 a threshold means nothing any more.
    return levels.clamp_(min=threshold, max=max(0.9, threshold))


def _curves_at_nodes(
    inputs: TileInputs, parameters: Parameters, device: torch.device
) -> torch.Tensor:
    """Interpolate the curves of all levels to every second voxel from the core's first to its end.

    Returns
    -------
    (bands, z, y, x) float32; one node beyond the core's last voxel where the volume goes on.
    """
    core = inputs.tile.core
    targets = [
        np.arange(s.start, min(s.stop, -(-n // STRIDE) * STRIDE - 1) + 1, STRIDE)
        for s, n in zip(core, parameters["shape"], strict=True)
    ]
    parts: list[torch.Tensor] = []
    for level in sorted({band["level"] for band in parameters["bands"]}, reverse=True):
        source = inputs.sources[f"curves_{level}"]
        step = STRIDE << level
        region, matrices = [], []
        for target, n in zip(targets, source.shape[-3:], strict=True):
            first = min(int(target[0]) // step, n - 1)
            last = min(-(-int(target[-1]) // step), n - 1)
            region.append(slice(first, last + 1))
            matrix = linear_matrix(target / step - first, last + 1 - first)
            matrices.append(torch.from_numpy(matrix).to(device))
        # Tiles far from the mask were never measured: what no wanted node needs must not be NaN,
        # or it would spread through the sums.
        values = np.nan_to_num(np.asarray(source.read(tuple(region)), np.float32))
        parts.extend(apply_matrices(band, matrices) for band in torch.from_numpy(values).to(device))
    return torch.stack(parts)


def _at_voxels(nodes: torch.Tensor, shape: Sequence[int]) -> torch.Tensor:
    """Interpolate log frequencies from nodes to voxels, among the nodes that have one."""
    matrices = [
        torch.from_numpy(linear_matrix(np.arange(n) / STRIDE, count)).to(nodes.device)
        for n, count in zip(shape, nodes.shape, strict=True)
    ]
    return interpolate_known(torch.log(nodes)[None], matrices)[0].exp_()


def _distance_to_faces(
    core: Region, shape: Sequence[int], spacing_angstrom: Sequence[float]
) -> FloatArray:
    """Return the distance in angstrom from each voxel to the nearest face of the volume."""
    nearest: FloatArray = np.full(tuple(s.stop - s.start for s in core), np.inf, np.float32)
    for axis, (part, n, step) in enumerate(zip(core, shape, spacing_angstrom, strict=True)):
        place = np.arange(part.start, part.stop)
        distance = (np.minimum(place, n - 1 - place) * step).astype(np.float32)
        along = distance.reshape([-1 if a == axis else 1 for a in range(3)])
        nearest = np.minimum(nearest, along)
    return nearest


def _answer(
    frequency: FloatArray,
    inside: npt.NDArray[np.bool_],
    faces_angstrom: FloatArray,
    parameters: Parameters,
    locres: FloatArray,
    flags: npt.NDArray[np.uint8],
) -> None:
    """Fill the resolution and the flags of one threshold from crossing frequencies."""
    low, high = parameters["range_per_angstrom"]
    nyquist = parameters["bands"][0]["nyquist"]
    found, faces = frequency[inside], faces_angstrom[inside]
    known = np.isfinite(found)
    # Comparisons with NaN are false, as they should be.
    beyond = (found > high * (1 + 1e-6)) | (found < low * (1 - 1e-6))
    ends = (found >= nyquist * (1 - 1e-5)) & (high >= nyquist * (1 - 1e-5))
    limited = np.where(ends, np.float32(high), np.clip(found, low, high))
    border = faces * limited < parameters["border_wavelengths"]
    bits = np.zeros(found.shape, np.uint8)
    for is_so, bit in (
        (~known, FLAG_NEVER_ABOVE),
        (ends, FLAG_NYQUIST),
        (border, FLAG_BORDER),
        (beyond, FLAG_RANGE_END),
    ):
        bits |= is_so * np.uint8(bit)
    locres[inside] = 1 / limited
    flags[inside] = bits
