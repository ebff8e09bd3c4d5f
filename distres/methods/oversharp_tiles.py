"""Tile functions of the oversharpening scan: resolutions under each B-factor, and the spectra."""

from collections.abc import Mapping
from math import ceil, prod
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from scipy.fft import next_fast_len

from distres.engine.jobs import TileInputs, TileResult
from distres.engine.tiles import Tile
from distres.kernels.sharpen import Edge, Sharpener
from distres.methods.deblur_tiles import core_power
from distres.methods.deepres_place import Place
from distres.methods.deepres_tiles import INSIDE, predict, to_model_grid, within_ends
from distres.methods.localfsc_tiles import pick_device
from distres.methods.products import BIN_EDGES_ANGSTROM
from distres.methods.reflected import read_reflected

SHARPENED = "sharpened"

Parameters = Mapping[str, Any]
Bool = npt.NDArray[np.bool_]


def edge_of(parameters: Parameters) -> Edge:
    """Return the end of the spectrum from its JSON form."""
    return Edge(**parameters["edge"])


def scan_tile(inputs: TileInputs, parameters: Parameters) -> TileResult:
    """Count resolutions at nodes of a core: of the halves, and of DeepRes under each B-factor.

    Parameters
    ----------
    inputs
        ``map``, ``mask``, and ``locres`` of the halves: nodes count where both say something.
    parameters
        Those of `distres.methods.deepres_tiles.deepres_tile`, and ``b_square_angstrom`` (list)
        and ``edge``.
    """
    scan, bins = parameters["b_square_angstrom"], len(BIN_EDGES_ANGSTROM) - 1
    counts = np.zeros((1 + len(scan), bins), np.int64)
    halves = np.asarray(inputs.core("locres"), np.float32).reshape(inputs.tile.core_shape)
    known = (inputs.core("mask") >= INSIDE) & np.isfinite(halves)
    place = _place(inputs.tile, parameters)
    if known.any() and all(len(nodes) for nodes in place.nodes):
        nearest = _nearest(inputs.tile, place.nodes, parameters)
        chosen = known[nearest]
        if chosen.any():
            found = [halves[nearest][chosen], *_scan(inputs, place, chosen, parameters)]
            for row, values in zip(counts, found, strict=True):
                row += np.histogram(values, BIN_EDGES_ANGSTROM)[0]
    return TileResult(row={"halves": counts[0], "counts": counts[1:]})


def _place(tile: Tile, parameters: Parameters) -> Place:
    """Return the nodes whose nearest voxel lies in the core, and what they need."""
    spacing, target = parameters["spacing_angstrom"], parameters["model"]["voxel_size_angstrom"]
    every, nodes = parameters["every"], []
    for core, step in zip(tile.core, spacing, strict=True):
        ratio = step / (target * every)
        first = max(ceil((core.start - 0.5) * ratio - 1e-9), 0)
        nodes.append(range(first, ceil((core.stop - 0.5) * ratio - 1e-9)))
    return Place.around(tuple(nodes), spacing, target, every)


def _nearest(
    tile: Tile, nodes: tuple[range, ...], parameters: Parameters
) -> tuple[npt.NDArray[np.int64], ...]:
    step = parameters["model"]["voxel_size_angstrom"] * parameters["every"]
    places = []
    for core, along, spacing in zip(tile.core, nodes, parameters["spacing_angstrom"], strict=True):
        nearest = np.floor(np.array(along) * (step / spacing) + 0.5 + 1e-9).astype(np.int64)
        places.append(np.clip(nearest - core.start, 0, core.stop - core.start - 1))
    return tuple(np.ix_(*places))


def _scan(
    inputs: TileInputs, place: Place, chosen: Bool, parameters: Parameters
) -> list[npt.NDArray[np.float32]]:
    """Return the resolutions at the chosen nodes, one array for each B-factor."""
    sharpener, inner = _sharpener(inputs, place.spans, parameters)
    found = []
    for b in parameters["b_square_angstrom"]:
        density = to_model_grid(sharpener.sharpened(b)[inner].contiguous(), place, parameters)
        values = predict(density, chosen, parameters, prod(density.shape))[0].numpy()
        found.append(within_ends(values[np.isfinite(values)], parameters))
    return found


def _sharpener(
    inputs: TileInputs, spans: tuple[tuple[int, int], ...], parameters: Parameters
) -> tuple[Sharpener, tuple[slice, ...]]:
    """Transform the voxels of some spans with the halo of the filter; say where the spans lie."""
    edge, spacing = edge_of(parameters), tuple(parameters["spacing_angstrom"])
    wide, inner = [], []
    for (first, last), step in zip(spans, spacing, strict=True):
        halo = edge.halo(step)
        length = int(next_fast_len(last - first + 2 * halo, real=True))
        wide.append((first - halo, first - halo + length))
        inner.append(slice(halo, halo + last - first))
    block = torch.from_numpy(read_reflected(inputs.sources["map"], wide))
    sharpener = Sharpener(block.to(pick_device(parameters["device"])), spacing, edge)
    return sharpener, tuple(inner)


def sharpen_tile(inputs: TileInputs, parameters: Parameters) -> TileResult:
    """Sharpen a core by one B-factor.

    Parameters
    ----------
    inputs
        ``map``.
    parameters
        ``b_square_angstrom``, ``edge``, ``spacing_angstrom`` (z, y, x), ``device``.
    """
    spans = tuple((s.start, s.stop) for s in inputs.tile.core)
    sharpener, inner = _sharpener(inputs, spans, parameters)
    part = sharpener.sharpened(parameters["b_square_angstrom"])[inner]
    return TileResult(arrays={SHARPENED: np.ascontiguousarray(part.cpu().numpy())})


def spectrum_tile(inputs: TileInputs, parameters: Parameters) -> TileResult:
    """Sum the power of the map, of the mean of the halves and of half their difference, by shell.

    Parameters
    ----------
    inputs
        ``map``, ``mean``, ``difference`` and ``mask``.
    parameters
        ``voxel_size_angstrom`` (z, y, x), ``nyquist_per_angstrom``.
    """
    row = {}
    for name in ("map", "mean", "difference"):
        row[f"power_{name}"], row["coefficients"] = core_power(inputs, parameters, name)
    return TileResult(row=row)
