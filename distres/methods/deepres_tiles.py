"""Tile functions of DeepRes: resample, predict at nodes, and give the answer back on the map."""

from collections.abc import Mapping
from math import prod
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from scipy import ndimage

from distres.engine.jobs import Array, Source, TileInputs, TileResult
from distres.kernels.answers import average_answers
from distres.kernels.interpolate import apply_matrices, interpolate_known, linear_matrix
from distres.kernels.masks import bounds
from distres.kernels.predict import choose_precision, predict_nodes
from distres.kernels.rescale import rescaling_matrix
from distres.methods.deepres_model import load_network
from distres.methods.deepres_place import Place, grown, neighbourhood
from distres.methods.localfsc_tiles import pick_device
from distres.methods.products import (
    FLAG_COARSE_END,
    FLAG_FINE_END,
    FLAG_NEVER_ABOVE,
    FLAG_OUTSIDE,
)
from distres.methods.reflected import read_reflected

# Of a soft mask, the inner half of its edge is answered: what lies beyond is solvent, of which the
# network knows nothing.
INSIDE = 0.5

LOCRES = "locres"
FLAGS = "flags"
UNCERTAINTY = "uncertainty"

# What activations may take for each voxel of the block that is read, within these bounds.
ACTIVATION_BYTES_PER_VOXEL = 64.0
ACTIVATION_BYTES = (3.2e7, 5e8)
# Of a GPU's free memory, for activations.
GPU_SHARE = 0.5

Parameters = Mapping[str, Any]
Float32 = npt.NDArray[np.float32]
Bool = npt.NDArray[np.bool_]


def deepres_tile(inputs: TileInputs, parameters: Parameters) -> TileResult:
    """Predict resolution and uncertainty at the voxels of a core whose mask is a half or more.

    Parameters
    ----------
    inputs
        ``map``, ``mask`` and ``particle``: the voxels to answer may be a part of it. Neighbours
        in it count in averages, and the paper's network sees nothing outside it.
    parameters
        ``model`` (see `distres.methods.deepres_model.Model`), ``spacing_angstrom`` (z, y, x),
        ``every``, ``smooth``, ``floor``, ``precision``, ``device``.
    """
    inside = inputs.core("mask") >= INSIDE
    shape = inputs.tile.core_shape
    values = np.full((2, *shape), np.nan, np.float32)
    if inside.any():
        box = bounds(inside)
        voxels = tuple(
            slice(core.start + b.start, core.start + b.stop)
            for core, b in zip(inputs.tile.core, box, strict=True)
        )
        values[(slice(None), *box)] = answers(inputs.sources, voxels, parameters)
    locres, uncertainty = (np.where(inside, part, np.float32(np.nan)) for part in values)
    flags = _flags(locres, inside, parameters)
    bits = (FLAG_FINE_END, FLAG_COARSE_END, FLAG_NEVER_ABOVE)
    known = uncertainty[np.isfinite(uncertainty)].astype(np.float64)
    row = {
        "inside": np.int64(inside.sum()),
        "flagged": np.array([np.count_nonzero(flags & bit) for bit in bits], np.int64),
        "uncertainty": np.array([known.sum(), known.size]),
    }
    locres = within_ends(locres, parameters)
    arrays: dict[str, Array] = {LOCRES: locres[None], FLAGS: flags[None]}
    if not parameters["model"]["published"]:
        arrays[UNCERTAINTY] = uncertainty
    return TileResult(arrays=arrays, row=row)


def _block(sources: Mapping[str, Source], place: Place, parameters: Parameters) -> Float32:
    """Read the map; for the paper's network, masked as it was trained."""
    block = read_reflected(sources["map"], place.spans)
    if parameters["model"]["published"]:
        mask = read_reflected(sources["particle"], place.spans) >= INSIDE
        block *= ndimage.binary_dilation(mask, np.ones((3, 3, 3), bool))
    return block


def to_model_grid(block: torch.Tensor, place: Place, parameters: Parameters) -> torch.Tensor:
    """Resample a block read by `Place.spans` to the network's grid."""
    target = parameters["model"]["voxel_size_angstrom"]
    matrices = [
        torch.from_numpy(rescaling_matrix(grid, range(*span), step, target)).to(block.device)
        for grid, span, step in zip(
            place.grid, place.spans, parameters["spacing_angstrom"], strict=True
        )
    ]
    return apply_matrices(block, matrices)


def node_weights(place: Place, parameters: Parameters) -> list[torch.Tensor]:
    """Return the weights of nodes in voxels along each axis."""
    step = parameters["model"]["voxel_size_angstrom"] * parameters["every"]
    return [
        torch.from_numpy(
            linear_matrix(np.array(voxels) * (spacing / step) - nodes.start, len(nodes))
        )
        for voxels, nodes, spacing in zip(
            place.voxels, place.nodes, parameters["spacing_angstrom"], strict=True
        )
    ]


def predict(
    density: torch.Tensor, needed: Bool, parameters: Parameters, read_voxels: int
) -> torch.Tensor:
    """Run the network at the nodes of a block on its grid: (2, nodes) on the CPU."""
    model, device = parameters["model"], density.device
    network, workload = load_network(model["name"], model["path"], model["published"], str(device))
    low, high = ACTIVATION_BYTES
    budget = min(max(ACTIVATION_BYTES_PER_VOXEL * read_voxels, low), high)
    capability = None
    if device.type == "cuda":
        budget = GPU_SHARE * torch.cuda.mem_get_info(device)[0]
        capability = torch.cuda.get_device_capability(device)
    return predict_nodes(
        network,
        density,
        needed,
        workload=workload,
        every=parameters["every"],
        floor=parameters["floor"],
        budget_bytes=budget,
        precision=choose_precision(parameters["precision"], device.type, capability),
    ).cpu()


def answers(
    sources: Mapping[str, Source], voxels: tuple[slice, ...], parameters: Parameters
) -> Float32:
    """Return value and uncertainty of a box of voxels, (2, z, y, x).

    Nodes without an answer do not count: a voxel takes the mean of the others around it, by their
    weights, and none where those are less than a half.
    """
    spacing, model = parameters["spacing_angstrom"], parameters["model"]
    target, every = model["voxel_size_angstrom"], parameters["every"]
    place = Place.of(voxels, spacing, target, every)
    if not parameters["smooth"]:
        nodes = _read_nodes(sources, "mask", voxels, place, parameters)
    else:
        around = neighbourhood(parameters["smooth"], every, target, model["range_angstrom"])
        # A node is needed for the mask of the voxels around it.
        reach = (around.reach_nodes + 1) * every * target
        wide = grown(voxels, sources["map"].shape[-3:], spacing, reach)
        larger = Place.of(wide, spacing, target, every)
        nodes = _read_nodes(sources, "particle", wide, larger, parameters)
        nodes = average_answers(nodes, larger.inner(place), around, target)
    found = interpolate_known(nodes, node_weights(place, parameters))
    if model["published"]:
        found[1] = torch.nan
    result: Float32 = found.numpy()
    return result


def _read_nodes(
    sources: Mapping[str, Source],
    mask: str,
    voxels: tuple[slice, ...],
    place: Place,
    parameters: Parameters,
) -> torch.Tensor:
    """Predict at the nodes around the voxels of a box that a mask holds: (2, nodes)."""
    inside = np.asarray(sources[mask].read(voxels), np.float32).reshape(
        [s.stop - s.start for s in voxels]
    )
    spread = [matrix.T.contiguous() for matrix in node_weights(place, parameters)]
    held = torch.from_numpy((inside >= INSIDE).astype(np.float32))
    needed = apply_matrices(held, spread).numpy() > 0
    block = _block(sources, place, parameters)
    device = pick_device(parameters["device"])
    density = to_model_grid(torch.from_numpy(block).to(device), place, parameters)
    return predict(density, needed, parameters, prod(block.shape))


def _ends(parameters: Parameters) -> tuple[float, float]:
    """Return the finest and coarsest value told: the network's, and what the voxels hold."""
    fine, coarse = parameters["model"]["range_angstrom"]
    return max(fine, 2 * max(parameters["spacing_angstrom"])), coarse


def _flags(locres: Float32, inside: Bool, parameters: Parameters) -> npt.NDArray[np.uint8]:
    fine, coarse = _ends(parameters)
    flags = np.full(locres.shape, FLAG_OUTSIDE, np.uint8)
    flags[inside] = 0
    flags[inside & np.isnan(locres)] = FLAG_NEVER_ABOVE
    # Comparisons with NaN are false.
    flags[locres <= fine] |= FLAG_FINE_END
    flags[locres >= coarse] |= FLAG_COARSE_END
    return flags


def within_ends(locres: Float32, parameters: Parameters) -> Float32:
    """Cut values off where the voxels hold nothing finer, and where the paper's program does."""
    fine, coarse = _ends(parameters)
    if parameters["model"]["published"]:
        return np.clip(locres, np.float32(fine), np.float32(coarse))
    return np.maximum(locres, np.float32(2 * max(parameters["spacing_angstrom"])))
