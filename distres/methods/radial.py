"""Resolution against radius, for capsids of any size: `distres blocres --shell`.

One pass per level of the pyramid sums products of the filtered halves over shells one voxel thick;
the driver smooths them to the thickness asked for and reads the crossing at every radius; a last
pass paints the curve into the volume. The halo is that of the local FSC: what the filters reach.

Halves are divided by the noise of their own tile before they are multiplied, so tiles weigh alike
where the noise is the same everywhere, to the percent to which a tile knows its noise.
"""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from distres.engine.cluster import Executor
from distres.engine.jobs import OutputSpec, Source, TileInputs, TileJob, TileResult
from distres.engine.planner import plan_tiles
from distres.engine.run import Run
from distres.engine.runner import run_job
from distres.errors import UsageError
from distres.io.grid import Grid
from distres.kernels.bandfilter import HalfBlocks
from distres.kernels.bands import Band, plan_bands
from distres.kernels.radial import (
    COLUMNS,
    radial_curves,
    radial_resolution,
    radial_sums,
    smooth_shells,
)
from distres.methods.localfsc_tiles import bands_of, pick_device
from distres.methods.nearby import tiles_near
from distres.methods.options import require_thresholds
from distres.methods.products import FLAG_NEVER_ABOVE, FLAG_OUTSIDE

LOCRES = "locres"
FLAGS = "flags"
# Reach of the filters: their response falls to 1 % of its peak 1.5 wavelengths away.
HALO_WAVELENGTHS = 2.0
LOWEST_PER_EXTENT = 8.0
LONGEST_WAVELENGTH_VOX = 32.0
SUM_BYTES_PER_VOXEL = 80.0
PAINT_BYTES_PER_VOXEL = 40.0

Float = npt.NDArray[np.float64]
Parameters = Mapping[str, Any]


@dataclass(frozen=True, slots=True, kw_only=True)
class RadialParameters:
    """What decides resolution against radius.

    Attributes
    ----------
    thickness_angstrom
        Full width at half maximum of the radial window.
    centre_vox
        Centre (z, y, x) in voxels; None for the middle voxel.
    thresholds
        Correlations at which the resolution is read.
    finest_angstrom
        None for Nyquist.
    significance
        Probability with which noise alone may exceed the threshold in force.
    device
        ``auto``, ``cpu`` or ``cuda``.

    Raises
    ------
    UsageError
        A value makes no sense.
    """

    thickness_angstrom: float
    centre_vox: tuple[float, float, float] | None = None
    thresholds: tuple[float, ...] = (0.5, 0.143)
    finest_angstrom: float | None = None
    significance: float = 0.02
    device: str = "auto"

    def __post_init__(self) -> None:
        if not self.thickness_angstrom > 0:
            raise UsageError(f"a shell of {self.thickness_angstrom} A has no thickness")
        require_thresholds(*self.thresholds)

    def bands(self, grid: Grid, levels: int) -> tuple[Band, ...]:
        """Return the bands, low to high frequency."""
        voxel = max(grid.voxel_size_angstrom)
        extent = min(n * s for n, s in zip(grid.shape, grid.voxel_size_angstrom, strict=True))
        coarse = min(extent / LOWEST_PER_EXTENT, LONGEST_WAVELENGTH_VOX * voxel)
        fine = max(self.finest_angstrom or 0.0, 2 * voxel)
        return plan_bands(
            voxel_size=voxel, lowest=1 / max(coarse, 2 * fine), highest=1 / fine, levels=levels
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class RadialResult:
    """Resolution against radius, and where it was painted.

    Attributes
    ----------
    radius_angstrom
        (bins,) middles of the thin shells.
    resolution_angstrom
        One (bins,) curve a threshold, NaN where nothing is known.
    curves
        (bands, bins) correlations.
    bands
        The bands.
    locres, flags
        Paths of (threshold, z, y, x) arrays.
    """

    radius_angstrom: Float
    resolution_angstrom: dict[float, Float]
    curves: Float
    bands: tuple[Band, ...]
    locres: str
    flags: str


def sum_tile(inputs: TileInputs, parameters: Parameters) -> TileResult:
    """Sum products of both halves over thin shells, for the bands of one level."""
    tile = inputs.tile
    device = pick_device(parameters["device"])
    shape = inputs.sources["half1"].shape[-3:]
    ends = [(s.start == 0, s.stop == n) for s, n in zip(tile.read, shape, strict=True)]
    dz, dy, dx = parameters["spacing_angstrom"]
    blocks = [
        torch.from_numpy(np.nan_to_num(inputs.block(name)).astype(np.float32)).to(device)
        for name in ("half1", "half2")
    ]
    halves = HalfBlocks.of(blocks[0], blocks[1], (dz, dy, dx), (ends[0], ends[1], ends[2]))
    z, y, x = (
        middle - read.start for middle, read in zip(parameters["centre"], tile.read, strict=True)
    )
    bands = bands_of(parameters["bands"])
    sums = np.zeros((len(bands), parameters["bins"], COLUMNS))
    for place, band in enumerate(bands):
        sums[place] = radial_sums(
            halves,
            band,
            core=tile.crop,
            centre=(z, y, x),
            width=parameters["width_angstrom"],
            bins=parameters["bins"],
        )
    return TileResult(row={"sums": sums})


def paint_tile(inputs: TileInputs, parameters: Parameters) -> TileResult:
    """Give every voxel the resolution of its radius."""
    tile = inputs.tile
    squares = []
    for core, middle, step in zip(
        tile.core, parameters["centre"], parameters["spacing_angstrom"], strict=True
    ):
        squares.append(((np.arange(core.start, core.stop) - middle) * step) ** 2)
    z, y, x = squares
    radius = np.sqrt(z[:, None, None] + y[:, None] + x)
    inside = inputs.core("mask") > 0 if "mask" in inputs else np.ones(tile.core_shape, bool)
    middles = np.array(parameters["radius_angstrom"])
    shell = np.clip((radius / parameters["width_angstrom"]).astype(np.intp), 0, len(middles) - 1)
    inside = inside & (radius <= middles[-1])
    locres, flags = [], []
    for curve in parameters["resolution_angstrom"]:
        values = np.array([np.nan if v is None else v for v in curve])[shell]
        locres.append(np.where(inside, values, np.nan).astype(np.float32))
        marks = np.where(np.isnan(values), FLAG_NEVER_ABOVE, 0)
        flags.append(np.where(inside, marks, FLAG_OUTSIDE).astype(np.uint8))
    return TileResult(arrays={LOCRES: np.stack(locres), FLAGS: np.stack(flags)})


def run_radial(
    half1_levels: Sequence[Source],
    half2_levels: Sequence[Source],
    grid: Grid,
    run: Run,
    executor: Executor,
    parameters: RadialParameters,
    *,
    mask: Source | None = None,
    occupancy: Source | None = None,
    tile: int | None = None,
) -> RadialResult:
    """Measure resolution against radius.

    Parameters
    ----------
    half1_levels, half2_levels
        Pyramids: voxel i of level l lies on voxel ``i * 2**l`` of level 0.
    grid
        Grid of level 0.
    run, executor
        Where arrays lie and where tiles are computed.
    parameters
        What to compute.
    mask
        Voxels with a positive value are painted; the curve owes nothing to it. None paints all.
    occupancy
        Largest mask value per cell: tiles without any are not painted.
    tile
        Core edge in voxels, overriding the planner.
    """
    bands = parameters.bands(grid, min(len(half1_levels), len(half2_levels)))
    shells = _shells(grid, parameters)
    planning: dict[str, Any] = {
        "memory_bytes": executor.memory_bytes,
        "workers": executor.workers,
        "tile": tile,
        "run": run,
    }
    sums = np.zeros((len(bands), shells["bins"], COLUMNS))
    for level in sorted({band.level for band in bands}):
        places = [i for i, band in enumerate(bands) if band.level == level]
        halves: dict[str, Source] = {"half1": half1_levels[level], "half2": half2_levels[level]}
        mine = [bands[i] for i in places]
        job = _sum_job(halves, grid, mine, shells, planning, parameters.device)
        sums[places] = run_job(job, run=run, executor=executor).sum("sums")
    width = shells["width_angstrom"]
    smooth, effective = smooth_shells(sums, parameters.thickness_angstrom / width)
    curves = radial_curves(smooth)
    found = {
        threshold: radial_resolution(
            curves, effective[0], bands, threshold, significance=parameters.significance
        )
        for threshold in parameters.thresholds
    }
    radius = (np.arange(shells["bins"], dtype=np.float64) + 0.5) * width
    job = _paint_job(grid, radius, list(found.values()), shells, planning, mask, occupancy)
    run_job(job, run=run, executor=executor)
    return RadialResult(
        radius_angstrom=radius,
        resolution_angstrom=found,
        curves=curves,
        bands=bands,
        locres=LOCRES,
        flags=FLAGS,
    )


def _shells(grid: Grid, parameters: RadialParameters) -> dict[str, Any]:
    """Return centre, width and number of the thin shells: those that lie inside the volume."""
    centre = parameters.centre_vox or tuple(float(n // 2) for n in grid.shape)
    width = max(grid.voxel_size_angstrom)
    reach = min(
        min(c, n - 1 - c) * s
        for c, n, s in zip(centre, grid.shape, grid.voxel_size_angstrom, strict=True)
    )
    bins = int(reach / width)
    if bins < 2:
        raise UsageError(f"the centre {centre} (z, y, x) lies at a face; give one inside")
    return {"centre": list(centre), "width_angstrom": width, "bins": bins}


def _sum_job(
    halves: dict[str, Source],
    grid: Grid,
    bands: Sequence[Band],
    shells: dict[str, Any],
    planning: dict[str, Any],
    device: str,
) -> TileJob:
    """Return the job that sums the bands of one level."""
    level = bands[0].level
    coarse = grid.coarser(2**level)
    longest = max(band.wavelength for band in bands)
    z, y, x = (
        2 * int(np.ceil(HALO_WAVELENGTHS * longest / s / 2)) for s in coarse.voxel_size_angstrom
    )
    plan = plan_tiles(coarse.shape, halo=(z, y, x), bytes_per_voxel=SUM_BYTES_PER_VOXEL, **planning)
    return TileJob(
        name=f"radial sums {level}",
        plan=plan,
        function=sum_tile,
        inputs=halves,
        parameters={
            **shells,
            "bands": [asdict(band) for band in bands],
            "spacing_angstrom": list(coarse.voxel_size_angstrom),
            "centre": [c / 2**level for c in shells["centre"]],
            "device": device,
        },
        bytes_per_voxel=SUM_BYTES_PER_VOXEL,
    )


def _paint_job(
    grid: Grid,
    radius_angstrom: Float,
    curves: Sequence[Float],
    shells: dict[str, Any],
    planning: dict[str, Any],
    mask: Source | None,
    occupancy: Source | None,
) -> TileJob:
    """Return the job that gives every voxel the resolution of its radius."""
    plan = plan_tiles(grid.shape, halo=(0, 0, 0), bytes_per_voxel=PAINT_BYTES_PER_VOXEL, **planning)
    lead = (len(curves),)
    return TileJob(
        name="radial paint",
        plan=plan,
        function=paint_tile,
        inputs={} if mask is None else {"mask": mask},
        outputs={
            LOCRES: OutputSpec(lead=lead),
            FLAGS: OutputSpec(dtype="uint8", lead=lead, fill_value=FLAG_OUTSIDE),
        },
        parameters={
            **shells,
            "spacing_angstrom": list(grid.voxel_size_angstrom),
            "radius_angstrom": radius_angstrom.tolist(),
            "resolution_angstrom": [
                [None if np.isnan(v) else float(v) for v in curve] for curve in curves
            ],
        },
        tiles=tiles_near(occupancy, plan),
        bytes_per_voxel=PAINT_BYTES_PER_VOXEL,
    )
