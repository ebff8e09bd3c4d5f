"""Tile functions of the local filter: look at a resolution map, and filter a map by it."""

from collections.abc import Mapping
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from scipy.fft import next_fast_len

from distres.engine.jobs import Source, TileInputs, TileResult
from distres.engine.tiles import Tile
from distres.kernels.foreign import Convention, resolution_angstrom
from distres.kernels.lowpass import UPSAMPLE_REACH, LowPassBank, Mixture, low_passed, upsample
from distres.methods.localfsc_tiles import pick_device
from distres.methods.reflected import read_reflected

FILTERED = "filtered"
SAMPLES = 4096

Parameters = Mapping[str, Any]
Float32 = npt.NDArray[np.float32]


def sample_tile(inputs: TileInputs, parameters: Parameters) -> TileResult:
    """Take evenly spread values of a resolution map, and its largest."""
    values = inputs.core("locres").astype(np.float64).ravel()
    taken = values[:: max(values.size // (SAMPLES - 1), 1)][: SAMPLES - 1]
    known = values[np.isfinite(values)]
    row = np.full(SAMPLES, np.nan)
    row[: taken.size] = taken
    row[-1] = known.max(initial=0.0)
    return TileResult(row={"sample": row})


def filter_tile(inputs: TileInputs, parameters: Parameters) -> TileResult:
    """Low-pass every voxel of a core to its own resolution.

    Parameters
    ----------
    inputs
        ``map_<level>`` for the levels used, and ``locres``.
    parameters
        ``cutoffs_per_angstrom``, ``edge``, ``levels`` (one for each cutoff), ``spacing_angstrom``
        (z, y, x), ``b_factor_angstrom2``, ``empty``, ``per_pixel``, ``device``.
    """
    bank = LowPassBank(
        cutoffs_per_angstrom=tuple(parameters["cutoffs_per_angstrom"]), edge=parameters["edge"]
    )
    resolution = resolution_angstrom(
        inputs.core("locres"),
        Convention(empty=tuple(parameters["empty"]), per_pixel=parameters["per_pixel"]),
        max(parameters["spacing_angstrom"]),
    )
    mixture = Mixture.of(resolution, bank)
    mixed = np.zeros(resolution.size, np.float32)
    for level in sorted(set(parameters["levels"])):
        places = [
            place
            for place, its in enumerate(parameters["levels"])
            if its == level and mixture.needs(place)
        ]
        if places:
            _filter_level(inputs, parameters, bank, level, places, mixture, mixed)
    return TileResult(arrays={FILTERED: mixed.reshape(resolution.shape)})


def _filter_level(
    inputs: TileInputs,
    parameters: Parameters,
    bank: LowPassBank,
    level: int,
    places: list[int],
    mixture: Mixture,
    mixed: Float32,
) -> None:
    """Add the filters of one level: filter on the level, interpolate on the core."""
    factor = 2**level
    spacing = [step * factor for step in parameters["spacing_angstrom"]]
    cutoffs = [bank.cutoffs_per_angstrom[place] for place in places]
    halo = [max(bank.halo(step, cutoff) for cutoff in cutoffs) for step in spacing]
    margin = UPSAMPLE_REACH if level else 0
    block = _read(inputs.sources[f"map_{level}"], inputs.tile, factor, halo, margin)
    shape = inputs.tile.core_shape
    counts = [-(-(n - 1) // factor) + 1 + 2 * margin if level else n for n in shape]
    inner = tuple(slice(h, h + n) for h, n in zip(halo, counts, strict=True))
    maps = low_passed(
        torch.from_numpy(block).to(pick_device(parameters["device"])),
        bank,
        cutoffs,
        voxel_size_angstrom=spacing,
        b_factor_angstrom2=parameters["b_factor_angstrom2"],
    )
    for place, one in zip(places, maps, strict=True):
        part = one[inner]
        fine = upsample(part, factor, shape) if level else part
        mixture.add(mixed, np.ascontiguousarray(fine.cpu().numpy()), place)


def _read(source: Source, tile: Tile, factor: int, halo: list[int], margin: int) -> Float32:
    """Read what a core needs of a level; reflect at faces, and lengthen to fast transforms."""
    spans = []
    for core, extra in zip(tile.core, halo, strict=True):
        first = core.start // factor - margin - extra
        last = -(-(core.stop - 1) // factor) + 1 + margin + extra
        spans.append((first, first + next_fast_len(last - first, real=True)))
    return read_reflected(source, spans)
