"""First reading of the inputs of a global FSC: moments, constants, and the state of the mask."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from math import prod

import numpy as np
import numpy.typing as npt
import zarr

from distres.engine.cluster import Executor
from distres.engine.jobs import OutputSpec, Source, TileJob
from distres.engine.run import Run
from distres.engine.runner import Table, run_job
from distres.engine.tiles import Shape3, TilePlan
from distres.errors import InputError
from distres.kernels.shells import Float
from distres.methods import fsc_tiles
from distres.methods.fsc_memory import SURVEY_BYTES_PER_VOXEL, thickness
from distres.methods.fsc_tiles import HALVES

SURVEY = "fsc/mask_power"
# Longest edge of what lies in one file, a chunk or a shard, of the images that distres writes.
FILE_EDGE = 128


@dataclass(frozen=True, slots=True, kw_only=True)
class Survey:
    """What one reading of the inputs tells. Pairs are (half 1, half 2).

    Attributes
    ----------
    mean, deviation
        Of all voxels.
    constant_fraction
        Voxels that equal the first voxel exactly: many in a map that was masked before.
    equal_fraction
        Voxels that are the same number in both halves.
    solvent_deviation
        Outside the mask; None without a mask or without an outside.
    mask_fraction
        Mean of the mask.
    mask_soft, mask_faces
        Voxels with a value between 0 and 1, and voxels above 0 on the faces of the box.
    mask_power
        Block means of the squared mask.
    """

    mean: tuple[float, float]
    deviation: tuple[float, float]
    constant_fraction: tuple[float, float]
    equal_fraction: float
    solvent_deviation: tuple[float, float] | None = None
    mask_fraction: float | None = None
    mask_soft: int = 0
    mask_faces: int = 0
    mask_power: npt.NDArray[np.float32] | None = None


def survey(
    sources: Mapping[str, Source],
    shape: Shape3,
    *,
    run: Run,
    executor: Executor,
    tile_vox: int | None = None,
) -> Survey:
    """Read everything once, and refuse what has no correlation.

    Raises
    ------
    InputError
        A half holds values that are not finite, or only one value; the mask is empty or leaves
        [0, 1].
    """
    divisor = 1
    while max(shape) > 128 * divisor:
        divisor *= 2
    corner = [
        float(sources[name].read((slice(0, 1),) * 3).astype(np.float64)[0, 0, 0]) for name in HALVES
    ]
    thick = thickness(
        shape[0], prod(shape[1:]) * SURVEY_BYTES_PER_VOXEL, executor, tile_vox=tile_vox
    )
    outputs = {}
    if "mask" in sources:
        outputs[SURVEY] = OutputSpec(divisor=divisor, fill_value=0.0)
    job = TileJob(
        name="fsc-survey",
        plan=TilePlan(
            shape=shape,
            core=_multiples(_blocks(shape, thick), divisor),
            halo=(0, 0, 0),
        ),
        function=fsc_tiles.survey,
        inputs=sources,
        outputs=outputs,
        parameters={
            "corner": [c if np.isfinite(c) else 0.0 for c in corner],
            "output": SURVEY,
            "divisor": divisor,
        },
        bytes_per_voxel=SURVEY_BYTES_PER_VOXEL,
    )
    table = run_job(job, run=run, executor=executor)
    found = _survey_of(table)
    if "mask" not in sources:
        return found
    return _with_mask(found, table, run)


def _blocks(shape: Shape3, thick: int) -> Shape3:
    """Cut slabs that are thinner than what lies in one file of an image along y instead.

    Thin slabs would read every file many times: a tomogram of 512 x 2048 x 2048 voxels in files of
    128^3 was read eight times over in slabs of 16.
    """
    nz, ny, nx = shape
    rows = thick * ny // FILE_EDGE // FILE_EDGE * FILE_EDGE
    if thick >= min(FILE_EDGE, nz) or not rows:
        return thick, ny, nx
    return FILE_EDGE, min(rows, ny), nx


def _multiples(core: Shape3, divisor: int) -> Shape3:
    z, y, x = (-(-c // divisor) * divisor for c in core)
    return z, y, x


def _pair(values: npt.ArrayLike) -> tuple[float, float]:
    first, second = np.asarray(values, np.float64)
    return float(first), float(second)


def _moments(table: Table, column: str) -> tuple[Float, Float]:
    count, total, square = np.moveaxis(table.sum(column), -1, 0)
    mean = total / np.maximum(count, 1)
    variance = np.maximum(square / np.maximum(count, 1) - mean**2, 0.0)
    # Below this the difference of squares is rounding, not spread.
    variance[variance < 1e-14 * mean**2] = 0.0
    return mean, np.sqrt(variance)


def _survey_of(table: Table) -> Survey:
    voxels = int(table.sum("voxels"))
    for name, bad in zip(("half 1", "half 2"), table.sum("nonfinite"), strict=True):
        if bad:
            raise InputError(
                f"{name} has {int(bad)} voxels that are not finite numbers; replace them first"
            )
    mean, deviation = _moments(table, "moments")
    for name, spread, value in zip(("half 1", "half 2"), deviation, mean, strict=True):
        if spread == 0:
            raise InputError(
                f"{name} holds the value {value:g} everywhere, so it has no correlation; give the "
                "unmasked, unfiltered half map"
            )
    return Survey(
        mean=_pair(mean),
        deviation=_pair(deviation),
        constant_fraction=_pair(table.sum("constant") / voxels),
        equal_fraction=float(table.sum("equal") / voxels),
    )


def _with_mask(found: Survey, table: Table, run: Run) -> Survey:
    lowest = table.columns["mask_range"].min(axis=0)[0]
    highest = table.columns["mask_range"].max(axis=0)[1]
    if not (lowest >= -1e-3 and highest <= 1 + 1e-3):
        raise InputError(
            f"the mask ranges from {lowest:g} to {highest:g}; scale it to lie between 0 and 1"
        )
    total = float(table.sum("mask_sum"))
    if total <= 0:
        raise InputError("the mask is 0 everywhere; give one that is 1 where the particle lies")
    outside = table.sum("solvent_moments")[0, 0]
    return replace(
        found,
        solvent_deviation=_pair(_moments(table, "solvent_moments")[1]) if outside else None,
        mask_fraction=total / int(table.sum("voxels")),
        mask_soft=int(table.sum("mask_soft")),
        mask_faces=int(table.sum("mask_faces")),
        mask_power=np.asarray(zarr.open_array(run.store, path=SURVEY, mode="r")[...]),
    )
