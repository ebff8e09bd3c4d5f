"""Tile function of MonoDir: the noise in every cone."""

from typing import Any

import numpy as np
import torch

from distres.engine.jobs import TileInputs, TileResult
from distres.kernels.masks import bounds
from distres.kernels.monodir_noise import DirectionalNoise, directional_noise
from distres.kernels.monores import LevelTests
from distres.methods.monodir_tiles import cones_of
from distres.methods.monores_blocks import (
    Mask,
    Parameters,
    around,
    noise_region,
    ready_block,
)

# Waves of a cone spread over two wavelengths across its axis: noise needs as much around it.
CONE_HALO_VOX = 32


def directional_noise_tile(inputs: TileInputs, parameters: Parameters) -> TileResult:
    """Measure the noise in every cone in one tile of one level.

    Parameters
    ----------
    inputs
        As in `distres.methods.monores_tiles.noise_tile`.
    parameters
        As there, without ``scale`` and ``shares``; ``places`` of the tests that are measured;
        ``cones``: count, half-angle and edge; and ``middle_angstrom`` of the particle.
    """
    tests = LevelTests(**parameters["tests"])
    cones = cones_of(*parameters["cones"])
    region = noise_region(inputs, parameters, tests.level)
    places = parameters["places"]
    if not region.any():
        nothing = DirectionalNoise.none(len(cones), len(places), len(tests.frequencies))
        return TileResult(row=_noise_row(nothing, region))
    dz, dy, dx = parameters["voxel_angstrom"]
    box = bounds(region)
    read, inner = around(box, inputs.tile.core, inputs.tile.read, CONE_HALO_VOX)
    noise, core = ready_block(inputs, parameters, read, inner, difference=True)
    inside = torch.from_numpy(np.ascontiguousarray(region[box])).to(noise.device)
    first = [own.start + b.start for own, b in zip(inputs.tile.core, box, strict=True)]
    cz, cy, cx = (
        c - f * d
        for c, f, d in zip(parameters["middle_angstrom"], first, (dz, dy, dx), strict=True)
    )
    beside = (cz, cy, cx) if "half2" not in inputs else None
    voxel = (dz, dy, dx)
    found = directional_noise(noise, inside, core, voxel, tests, places, cones, beside)
    return TileResult(row=_noise_row(found, region))


def _noise_row(found: DirectionalNoise, region: Mask) -> dict[str, Any]:
    """Return what a tile tells of its noise; powers weigh as many voxels as it had."""
    voxels = np.int64(region.sum())
    return {
        "voxels": voxels,
        "sums": found.sums,
        "samples": found.samples,
        "counts": found.counts,
        "powers": found.powers * voxels,
    }
