"""Tile functions of the box FSC: crossings on a grid of boxes, then every voxel between them."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from distres.engine.jobs import TileInputs, TileResult
from distres.engine.tiles import Region, Tile
from distres.kernels.boxcross import (
    NEVER_ABOVE,
    NEVER_BELOW,
    bsoft_resolution,
    degrees_of_freedom,
    effective_threshold,
    first_sustained_crossing,
)
from distres.kernels.boxes import BoxDesign, hann, soft_sphere
from distres.kernels.boxfsc import box_fsc
from distres.kernels.interpolate import (
    apply_matrices,
    interpolate_known,
    linear_matrix,
    needed_nodes,
)
from distres.methods.localfsc_tiles import pick_device
from distres.methods.products import (
    FLAG_BORDER,
    FLAG_NEVER_ABOVE,
    FLAG_NYQUIST,
    FLAG_OUTSIDE,
)

LOCRES = "locres"
FLAGS = "flags"
NODES = "blocres/nodes"
NODE_FLAGS = "blocres/node_flags"

Parameters = Mapping[str, Any]
Bool = npt.NDArray[np.bool_]
Float32 = npt.NDArray[np.float32]
Flags = npt.NDArray[np.uint8]


def design_of(parameters: Parameters) -> BoxDesign:
    """Build the box from its JSON form."""
    bsoft, sphere = parameters["compat"] == "bsoft", parameters["window"] == "sphere"
    shape = bsoft_hann if bsoft else np.ones if sphere else hann
    bz, by, bx = parameters["box_vox"]
    pz, py, px = parameters["pad_vox"]
    dz, dy, dx = parameters["spacing_angstrom"]
    return BoxDesign(
        windows=(shape(bz), shape(by), shape(bx)),
        pads=(pz, py, px),
        voxel_size_angstrom=(dz, dy, dx),
        finest_angstrom=parameters["finest_angstrom"],
        bsoft=bsoft,
        ball=soft_sphere((bz, by, bx)) if sphere else None,
    )


def bsoft_hann(edge: int) -> npt.NDArray[np.float64]:
    """Hann window whose ends are zero, as Bsoft has it."""
    window: npt.NDArray[np.float64] = (1 - np.cos(2 * np.pi * np.arange(edge) / (edge - 1))) / 2
    return window


def reaches(box: Sequence[int]) -> list[tuple[int, int]]:
    """Voxels of a box before and after its centre, per axis."""
    return [(edge // 2, edge - 1 - edge // 2) for edge in box]


def node_tile(inputs: TileInputs, parameters: Parameters) -> TileResult:
    """Correlate the boxes of a tile and find where each curve crosses every threshold.

    Parameters
    ----------
    inputs
        ``half1``, ``half2``; perhaps ``mask``.
    parameters
        ``box_vox``, ``pad_vox``, ``spacing_angstrom``, ``shape`` (z, y, x); ``window``,
        ``step_vox``, ``thresholds``, ``finest_angstrom``, ``false_positive``, ``compat``
        (``bsoft`` or None), ``means`` (of both halves, for Bsoft), ``device``.
    """
    tile = inputs.tile
    wanted = _wanted_nodes(inputs, parameters)
    lead = len(parameters["thresholds"])
    nodes = np.full((lead, *wanted.shape), np.nan, np.float32)
    flags = np.full(nodes.shape, FLAG_OUTSIDE, np.uint8)
    done = {"boxes": np.int64(wanted.sum())}
    if not wanted.any():
        return TileResult(arrays={NODES: nodes, NODE_FLAGS: flags}, row=done)
    device = pick_device(parameters["device"])
    design = design_of(parameters)
    bsoft = parameters["compat"] == "bsoft"
    halves = []
    for name, mean in zip(("half1", "half2"), parameters["means"], strict=True):
        block = _boxes_block(inputs.block(name), tile, parameters)
        halves.append(torch.from_numpy(block - np.float32(mean)).to(device))
    curves = box_fsc(
        halves[0],
        halves[1],
        design,
        step=parameters["step_vox"],
        wanted=wanted,
        subtract_mean=not bsoft,
    )
    for place, threshold in enumerate(parameters["thresholds"]):
        frequency, bits = _cross(curves, design, threshold, parameters)
        nodes[place][wanted], flags[place][wanted] = frequency, bits
    return TileResult(arrays={NODES: nodes, NODE_FLAGS: flags}, row=done)


def _cross(
    curves: Float32, design: BoxDesign, threshold: float, parameters: Parameters
) -> tuple[Float32, Flags]:
    """Return crossing frequencies per angstrom, NaN where never above, and flag bits."""
    if parameters["compat"] == "bsoft":
        resolution = bsoft_resolution(
            curves,
            threshold,
            width_per_angstrom=design.width_per_angstrom,
            finest_angstrom=parameters["finest_angstrom"],
        )
        return np.float32(1) / resolution, np.zeros(len(resolution), np.uint8)
    limit, start = effective_threshold(
        threshold, degrees_of_freedom(design), false_positive=parameters["false_positive"]
    )
    shell, found = first_sustained_crossing(curves, limit, start=start)
    bits = np.where(found == NEVER_ABOVE, FLAG_NEVER_ABOVE, 0)
    bits |= np.where(found == NEVER_BELOW, FLAG_NYQUIST, 0)
    frequency: Float32 = shell * np.float32(design.width_per_angstrom)
    return frequency, bits.astype(np.uint8)


def _wanted_nodes(inputs: TileInputs, parameters: Parameters) -> Bool:
    """Tell which nodes of the core some voxel of the mask is interpolated from.

    A node is a voxel whose index along every axis is a multiple of the step.
    """
    tile, step = inputs.tile, parameters["step_vox"]
    counts = tuple(-(-n // step) for n in tile.core_shape)
    wanted = np.ones(counts, bool)
    if "mask" in inputs:
        mask = inputs.block("mask")
        inside = mask >= 0.5 if parameters["compat"] == "bsoft" else mask > 0
        wanted = needed_nodes(inside, step, [s.start for s in tile.crop], counts, step - 1)
    if parameters["compat"] == "bsoft":
        for axis, (part, n) in enumerate(zip(tile.core, parameters["shape"], strict=True)):
            edge = parameters["box_vox"][axis] // 2
            place = np.arange(part.start, part.stop, step)
            clear = (place >= edge) & (place <= n - edge)
            wanted = wanted & clear.reshape([-1 if a == axis else 1 for a in range(3)])
    return np.ascontiguousarray(wanted)


def _boxes_block(block: Float32, tile: Tile, parameters: Parameters) -> Float32:
    """Cut the block to what the boxes of the core cover; reflect what lies outside the volume."""
    values = np.nan_to_num(np.asarray(block, np.float32))
    if any(before or after for before, after in tile.missing):
        mode = "constant" if parameters["compat"] == "bsoft" else "reflect"
        values = np.pad(values, tile.missing, mode=mode)  # type: ignore[call-overload]
    parts = []
    for core, read, (outside, _), (before, after) in zip(
        tile.core, tile.read, tile.missing, reaches(parameters["box_vox"]), strict=True
    ):
        first = core.start - read.start + outside
        last = (core.stop - core.start - 1) // parameters["step_vox"] * parameters["step_vox"]
        parts.append(slice(first - before, first + last + after + 1))
    return np.ascontiguousarray(values[tuple(parts)])


def voxel_tile(inputs: TileInputs, parameters: Parameters) -> TileResult:
    """Interpolate the logarithm of crossing frequencies from nodes to the voxels of a tile.

    Only nodes that were computed and have a crossing take part; a voxel most of whose weight lies
    on other nodes has no resolution.

    Parameters
    ----------
    inputs
        ``nodes``, ``node_flags`` (threshold, node z, y, x); perhaps ``mask``.
    parameters
        As for `node_tile`.
    """
    tile, step = inputs.tile, parameters["step_vox"]
    region, matrices = _node_region(tile, inputs.sources["nodes"].shape[-3:], step)
    frequencies = inputs.sources["nodes"].read(region)
    node_flags = inputs.sources["node_flags"].read(region)
    inside = np.ones(tile.core_shape, bool)
    if "mask" in inputs:
        mask = inputs.core("mask")
        inside = mask >= 0.5 if parameters["compat"] == "bsoft" else mask > 0
    border = _near_border(tile, parameters)
    locres = np.full((len(frequencies), *tile.core_shape), np.nan, np.float32)
    flags = np.full(locres.shape, FLAG_OUTSIDE, np.uint8)
    for place, (frequency, bits) in enumerate(zip(frequencies, node_flags, strict=True)):
        known = np.where(frequency > 0, frequency, np.float32(np.nan))
        logarithm = interpolate_known(torch.from_numpy(known).log_()[None], matrices)[0].numpy()
        ends = torch.from_numpy(((bits & FLAG_NYQUIST) != 0).astype(np.float32))
        at_end = apply_matrices(ends, matrices).numpy()
        answered = inside & np.isfinite(logarithm)
        locres[place] = np.where(answered, np.exp(-logarithm), np.nan)
        marks = np.where(answered, 0, FLAG_NEVER_ABOVE)
        marks |= np.where(answered & (at_end > 0.5), FLAG_NYQUIST, 0)
        marks |= np.where(border, FLAG_BORDER, 0)
        flags[place] = np.where(inside, marks, FLAG_OUTSIDE)
    return TileResult(arrays={LOCRES: locres, FLAGS: flags})


def _node_region(tile: Tile, counts: Sequence[int], step: int) -> tuple[Region, list[torch.Tensor]]:
    """Return the nodes around a core, and per axis the matrix (voxels, nodes) between them."""
    region, matrices = [], []
    for core, count in zip(tile.core, counts, strict=True):
        first = core.start // step
        last = min(-(-(core.stop - 1) // step), count - 1)
        region.append(slice(first, last + 1))
        place = np.arange(core.start, core.stop) / step - first
        matrices.append(torch.from_numpy(linear_matrix(place, last + 1 - first)))
    return (region[0], region[1], region[2]), matrices


def _near_border(tile: Tile, parameters: Parameters) -> Bool:
    """Tell where the box of a voxel reaches past a face of the volume."""
    near = np.zeros(tile.core_shape, bool)
    facts = zip(tile.core, parameters["shape"], reaches(parameters["box_vox"]), strict=True)
    for axis, (core, n, (before, after)) in enumerate(facts):
        place = np.arange(core.start, core.stop)
        out = (place < before) | (place >= n - after)
        near |= out.reshape([-1 if a == axis else 1 for a in range(3)])
    return near
