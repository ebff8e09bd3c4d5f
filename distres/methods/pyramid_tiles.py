"""The two passes that make a pyramid: copy a volume while counting it, and halve a level."""

from collections.abc import Mapping, Sequence
from math import fsum
from typing import Any

import numpy as np
import numpy.typing as npt
import zarr

from distres.engine.cluster import Executor
from distres.engine.jobs import OutputSpec, Source, TileInputs, TileJob, TileResult
from distres.engine.planner import memory_needed
from distres.engine.tiles import Region, Shape3, Tile, TilePlan
from distres.errors import ClusterError
from distres.io.stores import as_store
from distres.io.volume import Volume
from distres.kernels.resample import HALVING_HALO, halve

# Copies go in tiles that are long where the file is: a read is then one run a section, not a row.
COPY_CORE = 128
COPY_LENGTHS = (2048, 512, 128)
HALVING_CORES: tuple[Shape3, ...] = ((128, 256, 256), (64, 128, 128))
# Measured: 519 MB in all on 1280^3 and 529 MB on 2000^3, 12 bytes a voxel of the largest block.
COPY_BYTES_PER_VOXEL = 13.0
HALVING_BYTES_PER_VOXEL = 13.0


def halving_job(
    fine: Source,
    path: str,
    *,
    outputs: bool,
    executor: Executor,
    cores: Sequence[Shape3] = HALVING_CORES,
    target: Mapping[str, str] | None = None,
) -> TileJob:
    """Return the job that makes one level from the level before it.

    Parameters
    ----------
    fine
        Level to halve.
    path
        Array of the run's store that receives it, and name of the job.
    outputs
        Whether the run's store receives it; if not, `target` names the array that does.
    executor
        Its memory decides between `cores`: the first that fits.
    """
    z, y, x = fine.shape
    plans = halving_plans((z, y, x), cores)
    return TileJob(
        name=f"halve {path}",
        plan=_fitting(plans, HALVING_BYTES_PER_VOXEL, executor),
        function=halve_tile,
        inputs={"fine": fine},
        outputs={path: OutputSpec(divisor=2)} if outputs else {},
        parameters={"output": path, "target": dict(target) if target else None},
        bytes_per_voxel=HALVING_BYTES_PER_VOXEL,
    )


def copy_job(
    volume: Volume,
    path: str,
    *,
    outputs: bool,
    executor: Executor,
    replace_nonfinite: float | None = None,
    target: Mapping[str, str] | None = None,
) -> TileJob:
    """Return the job that copies a volume and counts what it holds."""
    plans = copy_plans(volume)
    return TileJob(
        name=f"copy {path}",
        plan=_fitting(plans, COPY_BYTES_PER_VOXEL, executor),
        function=copy_tile,
        inputs={"volume": volume},
        outputs={path: OutputSpec()} if outputs else {},
        parameters={
            "output": path,
            "target": dict(target) if target else None,
            "replace_nonfinite": replace_nonfinite,
        },
        bytes_per_voxel=COPY_BYTES_PER_VOXEL,
    )


def halving_plans(shape: Shape3, cores: Sequence[Shape3]) -> list[TilePlan]:
    """Return the plans of a halving that come into question, the largest tiles first."""
    halo = (HALVING_HALO,) * 3
    return [TilePlan(shape=shape, core=_clipped(core, shape), halo=halo) for core in cores]


def copy_plans(volume: Volume) -> list[TilePlan]:
    """Return the plans of a copy that come into question, the largest tiles first."""
    plans = []
    for length in COPY_LENGTHS:
        core = [COPY_CORE] * 3
        core[volume.contiguous_axis] = length
        clipped = _clipped((core[0], core[1], core[2]), volume.shape)
        plans.append(TilePlan(shape=volume.shape, core=clipped, halo=(0, 0, 0)))
    return plans


def require_memory(
    volume: Volume,
    executor: Executor,
    *,
    levels: int,
    cores: Sequence[Shape3] = HALVING_CORES,
) -> None:
    """Make sure before any work that all passes of a pyramid fit the workers.

    Raises
    ------
    ClusterError
        Naming the smallest memory that works.
    """
    passes = [(copy_plans(volume), COPY_BYTES_PER_VOXEL)] if volume.random_access else []
    if levels > 1:
        passes.append((halving_plans(volume.shape, cores), HALVING_BYTES_PER_VOXEL))
    needed = (
        max(
            min(memory_needed(plan, bytes_per_voxel=size) for plan in plans)
            for plans, size in passes
        )
        if passes
        else 0
    )
    if executor.memory_bytes is not None and executor.memory_bytes < needed:
        raise ClusterError(
            f"{volume.path}: a worker with {executor.memory_bytes / 1e6:.0f} MB of memory is too "
            f"small to make a pyramid; raise --memory to at least {needed / 1e6:.0f} MB"
        )


def copy_tile(inputs: TileInputs, parameters: Mapping[str, Any]) -> TileResult:
    """Copy one core as float32 and count what it holds."""
    values = inputs.core("volume")
    row = count_voxels(values, inputs.tile.core, inputs.sources["volume"].shape)
    values = replaced(values, parameters["replace_nonfinite"])
    return _deliver(values, inputs.tile.core, parameters, row)


def halve_tile(inputs: TileInputs, parameters: Mapping[str, Any]) -> TileResult:
    """Halve one core."""
    tile: Tile = inputs.tile
    coarse = halve(inputs.block("fine"), missing=tile.missing)
    place = OutputSpec(divisor=2).region(tile)
    return _deliver(coarse, place, parameters, {})


def count_voxels(
    values: npt.NDArray[np.float32], region: Region, shape: tuple[int, ...]
) -> dict[str, Any]:
    """Return the row of one block: extremes and moments of finite voxels, and the others' count."""
    finite = np.isfinite(values)
    bad = values.size - int(finite.sum())
    first = -1
    if bad:
        place = np.unravel_index(int(np.argmin(finite)), values.shape)
        where = [int(i) + s.start for i, s in zip(place, region, strict=True)]
        first = int(np.ravel_multi_index(where, shape))
        values = values[finite]
    planes = values if values.ndim == 3 else (values,)
    return {
        "minimum": np.float64(values.min(initial=np.inf)),
        "maximum": np.float64(values.max(initial=-np.inf)),
        "sum": np.float64(values.sum(dtype=np.float64)),
        # Plane by plane: a float64 copy of the block would be twice its size.
        "squares": np.float64(fsum(_squares(plane) for plane in planes)),
        "nonfinite": np.int64(bad),
        "first_nonfinite": np.int64(first),
    }


def _squares(plane: npt.NDArray[np.float32]) -> float:
    wide = plane.astype(np.float64).ravel()
    return float(np.dot(wide, wide))


def replaced(values: npt.NDArray[np.float32], replacement: float | None) -> npt.NDArray[np.float32]:
    """Put `replacement` where values are not finite; None leaves them."""
    if replacement is None:
        return values
    return np.where(np.isfinite(values), values, np.float32(replacement))


def _deliver(
    values: npt.NDArray[np.float32],
    place: Region,
    parameters: Mapping[str, Any],
    row: Mapping[str, Any],
) -> TileResult:
    """Give values to the engine, or write them to the array of another store that is named."""
    target = parameters["target"]
    if target is None:
        return TileResult(arrays={parameters["output"]: values}, row=row)
    zarr.open_array(as_store(target["store"]), path=target["path"], mode="r+")[place] = values
    return TileResult(row=row)


def _fitting(plans: Sequence[TilePlan], bytes_per_voxel: float, executor: Executor) -> TilePlan:
    """Return the first plan that fits the memory of a worker; `require_memory` saw that one does.

    The choice depends on nothing else, so that a run can be resumed on other workers.
    """
    for plan in plans:
        needed = memory_needed(plan, bytes_per_voxel=bytes_per_voxel)
        if executor.memory_bytes is None or needed <= executor.memory_bytes:
            return plan
    return plans[-1]


def _clipped(core: Shape3, shape: Shape3) -> Shape3:
    """Keep cores no larger than the volume needs, in whole chunks."""
    z, y, x = (min(c, -(-n // 64) * 64) for c, n in zip(core, shape, strict=True))
    return z, y, x
