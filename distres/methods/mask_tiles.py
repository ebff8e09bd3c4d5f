"""What one tile of a mask does: grow and soften a found region, or check a given mask."""

from collections.abc import Mapping
from typing import Any

import numpy as np

from distres.engine.jobs import Array, TileInputs, TileResult
from distres.kernels.masks import block_max, soft_mask, upsample

# One voxel of the occupancy array says what the largest mask value in so many voxels is.
OCCUPANCY_DIVISOR = 8

MASK = "mask"
OCCUPANCY = "mask_occupancy"


def soften_tile(inputs: TileInputs, parameters: Mapping[str, Any]) -> TileResult:
    """Turn the coarse field of a found particle into the mask of one tile.

    The field is interpolated at the tile's voxels and halo; its positive part is the particle,
    which is dilated and given its soft edge by exact distances. The halo holds the whole reach
    of dilation and edge, so the values are those of the whole volume.

    Parameters
    ----------
    inputs
        ``field``: the coarse level's array (its own grid, read by the region it is needed in).
    parameters
        ``factor`` (fine voxels per coarse voxel), ``voxel_size_angstrom`` (z, y, x),
        ``dilation_angstrom``, ``edge_angstrom``, ``shape`` of the volume.
    """
    factor = int(parameters["factor"])
    read = inputs.tile.read
    source = inputs.sources["field"]
    region = tuple(
        slice(s.start // factor, min((s.stop - 1) // factor + 2, n))
        for s, n in zip(read, source.shape[-3:], strict=True)
    )
    z, y, x = read
    fine = upsample(
        np.asarray(source.read(region), dtype=np.float32),
        first=(region[0].start, region[1].start, region[2].start),
        start=(z.start, y.start, x.start),
        shape=(z.stop - z.start, y.stop - y.start, x.stop - x.start),
        factor=factor,
    )
    dz, dy, dx = parameters["voxel_size_angstrom"]
    mask = soft_mask(
        fine > 0,
        (dz, dy, dx),
        dilation_angstrom=parameters["dilation_angstrom"],
        edge_angstrom=parameters["edge_angstrom"],
    )
    return _result(inputs, mask[inputs.tile.crop], parameters["shape"], store=True)


def check_tile(inputs: TileInputs, parameters: Mapping[str, Any]) -> TileResult:
    """Copy the tile of a given mask and measure what decides whether it can be used.

    Parameters
    ----------
    inputs
        ``mask``: the mask volume.
    parameters
        ``shape`` of the volume; ``store``, whether the run still needs a copy of the mask.
    """
    mask = np.asarray(inputs.core("mask"), dtype=np.float32)
    return _result(inputs, mask, parameters["shape"], store=parameters["store"])


def _result(
    inputs: TileInputs, mask: Array, shape: tuple[int, int, int], *, store: bool
) -> TileResult:
    inside = mask > 0.5
    finite = np.isfinite(mask)
    bounded = mask[finite] if not finite.all() else mask
    low, high = (float(bounded.min()), float(bounded.max())) if bounded.size else (0.0, 0.0)
    arrays = {OCCUPANCY: block_max(mask, OCCUPANCY_DIVISOR)}
    return TileResult(
        arrays={MASK: mask, **arrays} if store else arrays,
        row={
            "inside_vox": np.int64(np.count_nonzero(inside)),
            "nonzero_vox": np.int64(np.count_nonzero(mask)),
            "between_vox": np.int64(np.count_nonzero((mask > 0) & (mask < 1))),
            "weight": np.float64(mask.sum(dtype=np.float64)),
            "not_finite_vox": np.int64(mask.size - np.count_nonzero(finite)),
            "minimum": np.float64(low),
            "maximum": np.float64(high),
            "face_vox": _faces(inputs, inside, shape),
        },
    )


def _faces(inputs: TileInputs, inside: Array, shape: tuple[int, int, int]) -> Array:
    """Count mask voxels on the box's six faces: z, y, x, first and last."""
    counts = np.zeros(6, dtype=np.int64)
    for axis, (core, n) in enumerate(zip(inputs.tile.core, shape, strict=True)):
        if core.start == 0:
            counts[2 * axis] = np.count_nonzero(np.take(inside, 0, axis=axis))
        if core.stop == n:
            counts[2 * axis + 1] = np.count_nonzero(np.take(inside, -1, axis=axis))
    return counts
