"""What the tiles of monogenic methods read: blocks ready for a transform, and where noise lies."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from distres.engine.jobs import Array, TileInputs
from distres.engine.tiles import Region
from distres.kernels.centred import Float3, Shape3
from distres.kernels.monores_noise import NOISE_HALO_VOX
from distres.kernels.subblocks import TAPER_VOX, fast_length, taper_faces
from distres.methods.localfsc_tiles import pick_device
from distres.methods.mask_tiles import OCCUPANCY_DIVISOR

# Voxels of more than half the mask are answered.
MASK_ABOVE = 0.5

Parameters = Mapping[str, Any]
Mask = npt.NDArray[np.bool_]


def block_values(inputs: TileInputs, region: Region, *, difference: bool) -> Array:
    """Read the mean of the halves, or half their difference, or the map when there is one."""
    block = np.asarray(inputs.sources["half1"].read(region), dtype=np.float32)
    if "half2" not in inputs:
        return block if block.flags.writeable else block.copy()
    other = np.asarray(inputs.sources["half2"].read(region), dtype=np.float32)
    return np.asarray((block - other if difference else block + other) * np.float32(0.5))


def ready_block(
    inputs: TileInputs,
    parameters: Parameters,
    region: Region,
    inner: Region,
    *,
    difference: bool,
    multiple: int = 1,
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
    multiple
        Of what the block's lengths have to be; where every so many voxels are decided, the part
        begins at a multiple too.

    Returns
    -------
    tuple
        The block, and where the part lies in it.
    """
    block = block_values(inputs, region, difference=difference)
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
    wanted = [fast_length(n, multiple) for n in block.shape]
    if wanted != list(block.shape):
        fill = [(0, w - n) for n, w in zip(block.shape, wanted, strict=True)]
        tensor = torch.from_numpy(np.pad(tensor.numpy(), fill, mode="symmetric"))
    return tensor.to(pick_device(parameters["device"])), (z, y, x)


def occupied_voxels(inputs: TileInputs, core: Region, level: int) -> Mask:
    """Return the voxels of a level's region that may hold mask; on level 0 those that do."""
    if level == 0 and "mask" in inputs:
        return np.asarray(inputs.sources["mask"].read(core)) > MASK_ABOVE
    if "occupancy" not in inputs:
        return np.ones([s.stop - s.start for s in core], dtype=bool)
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


def noise_region(
    inputs: TileInputs, parameters: Parameters, level: int, core: Region | None = None
) -> Mask:
    """Return where noise is measured, of the tile's core or of another region of the level."""
    core = core or inputs.tile.core
    if parameters["region"] == "file":
        return np.asarray(inputs.sources["region"].read(core)) > 0.5
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


def around(
    box: Sequence[slice], core: Region, read: Region, halo_vox: int = NOISE_HALO_VOX
) -> tuple[Region, Region]:
    """Return what to read for a box of the core with its halo, and the box's place in that."""
    wider, inner = [], []
    for part, own, limit in zip(box, core, read, strict=True):
        start, stop = own.start + part.start, own.start + part.stop
        first, last = (
            max(start - halo_vox, limit.start),
            min(stop + halo_vox, limit.stop),
        )
        wider.append(slice(first, last))
        inner.append(slice(start - first, stop - first))
    return (wider[0], wider[1], wider[2]), (inner[0], inner[1], inner[2])


def near_faces(resolution: Array, core: Region, shape: Shape3, voxel_angstrom: Float3) -> Mask:
    """Tell which voxels lie nearer to a face of the volume than their resolution."""
    near = np.zeros(resolution.shape, dtype=bool)
    for axis, (part, n, d) in enumerate(zip(core, shape, voxel_angstrom, strict=True)):
        place = np.arange(part.start, part.stop)
        distance = (np.minimum(place, n - 1 - place) * d).astype(np.float32)
        with np.errstate(invalid="ignore"):
            near |= distance.reshape([-1 if a == axis else 1 for a in range(3)]) < resolution
    return near
