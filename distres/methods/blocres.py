"""Box FSC of volumes of any size: the correlation in a windowed box around every node of a grid.

One pass correlates the boxes (`distres.kernels.boxfsc`) and keeps one crossing frequency per node
and threshold; a second interpolates them to all voxels. The halo is half a box, exactly: a tile
gives what the whole volume gives. Boxes that reach past the volume are completed by reflection.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from math import ceil
from typing import Any

from scipy.fft import next_fast_len

from distres.engine.cluster import Executor
from distres.engine.jobs import OutputSpec, Source, TileJob
from distres.engine.planner import plan_tiles
from distres.engine.run import Run
from distres.engine.runner import output, run_job
from distres.engine.tables import Table
from distres.errors import UsageError
from distres.io.grid import Grid
from distres.methods.blocres_tiles import (
    FLAGS,
    LOCRES,
    NODE_FLAGS,
    NODES,
    design_of,
    node_tile,
    reaches,
    voxel_tile,
)
from distres.methods.nearby import focus_on, tiles_near
from distres.methods.options import require_thresholds
from distres.methods.products import FLAG_OUTSIDE

# Boxes this many times the global resolution: smaller ones hold too few coefficients, larger ones
# smear (the rule of thumb of the Bsoft page is 5 to 7).
BOX_PER_RESOLUTION = 6.0
SMALLEST_BOX_VOX = 7
NODES_PER_BOX = 6
VOXEL_BYTES_PER_VOXEL = 60.0


@dataclass(frozen=True, slots=True, kw_only=True)
class BlocresParameters:
    """What decides the answer of the box FSC.

    Attributes
    ----------
    thresholds
        Correlations at which the resolution is read; all in one pass.
    box_angstrom, box_vox
        Edge of the box, in one of the two units. It is made odd, except for Bsoft. A whole run
        takes six times the global resolution when neither is given.
    window
        ``hann`` along every axis, or ``sphere``: the same of the distance from the centre, which
        weighs all directions alike and takes up to twice as long.
    padding
        Zeros added to the box before the transform, in units of the box.
    step_vox
        Distance of boxes; None takes a sixth of the box.
    finest_angstrom
        Finest resolution looked for; None for Nyquist.
    false_positive
        Share of pure noise that may pass one shell: the threshold is raised to the correlation
        that noise exceeds as often, where that is higher.
    compat
        ``bsoft`` for the window, pedestal, shells and last crossing of Bsoft 2.1.
    device
        ``auto``, ``cpu`` or ``cuda``.

    Raises
    ------
    UsageError
        A value makes no sense; the message says which and what does.
    """

    thresholds: tuple[float, ...] = (0.5, 0.143)
    box_angstrom: float | None = None
    box_vox: int | None = None
    window: str = "hann"
    padding: float = 0.5
    step_vox: int | None = None
    finest_angstrom: float | None = None
    false_positive: float = 0.02
    compat: str | None = None
    device: str = "auto"

    def __post_init__(self) -> None:
        require_thresholds(*self.thresholds)
        if not self.thresholds or len(set(self.thresholds)) < len(self.thresholds):
            raise UsageError("give one or more thresholds, each once, for instance 0.5 and 0.143")
        if self.box_angstrom is not None and self.box_vox is not None:
            raise UsageError("give the box either in voxels or in angstrom")
        if not 0 <= self.padding <= 3:
            raise UsageError(f"a padding of {self.padding} boxes does not work; use 0 to 3")
        if self.step_vox is not None and self.step_vox < 1:
            raise UsageError(f"a step of {self.step_vox} voxels does not work; use 1 or more")
        if not 0 < self.false_positive < 0.5:
            raise UsageError(
                f"the share of false positives lies between 0 and 0.5, not at {self.false_positive}"
            )
        if self.compat not in (None, "bsoft"):
            raise UsageError(f"compat '{self.compat}' is unknown; use bsoft")
        if self.window not in ("hann", "sphere"):
            raise UsageError(f"window '{self.window}' is unknown; use hann or sphere")
        if self.compat and self.window != "hann":
            raise UsageError("Bsoft's window is its own; leave out --window, or --compat")

    def resolved(self, grid: Grid) -> dict[str, Any]:
        """Return what tile functions need, as JSON values; triples are (z, y, x).

        Raises
        ------
        UsageError
            The box does not fit the volume.
        """
        spacing = grid.voxel_size_angstrom
        if self.box_vox is None and self.box_angstrom is None:
            raise UsageError("the size of the box is not known; give it in voxels or angstrom")
        if self.box_vox is not None:
            box = [self.box_vox] * 3
        else:
            box = [round((self.box_angstrom or 0.0) / step) for step in spacing]
        if self.compat is None:
            box = [edge + 1 - edge % 2 for edge in box]
        for edge, n in zip(box, grid.shape, strict=True):
            if not SMALLEST_BOX_VOX <= edge <= n:
                raise UsageError(
                    f"a box of {edge} voxels does not work on a volume of {grid.shape} (z, y, x); "
                    f"use {SMALLEST_BOX_VOX} to {min(grid.shape)}"
                )
        padding = 1.0 if self.compat == "bsoft" else self.padding
        finest = 2 * max(spacing)
        return {
            "box_vox": box,
            "window": self.window,
            "pad_vox": [next_fast_len(ceil(edge * (1 + padding)), real=True) for edge in box],
            "spacing_angstrom": list(spacing),
            "shape": list(grid.shape),
            "step_vox": self.step_vox or max(min(box) // NODES_PER_BOX, 1),
            "thresholds": list(self.thresholds),
            "finest_angstrom": max(self.finest_angstrom or finest, finest),
            "false_positive": self.false_positive,
            "compat": self.compat,
            "device": self.device,
            "means": [0.0, 0.0],
        }


@dataclass(frozen=True, slots=True, kw_only=True)
class BlocresResult:
    """What the box FSC left in the run's store.

    Attributes
    ----------
    locres, flags
        Paths of (threshold, z, y, x) arrays: angstrom (NaN where undefined), and bits.
    parameters
        Resolved parameters.
    boxes
        Boxes correlated.
    tables
        Rows of the passes by name, with what they cost.
    """

    locres: str
    flags: str
    parameters: dict[str, Any]
    boxes: int
    tables: dict[str, Table]


def run_blocres(
    half1: Source,
    half2: Source,
    grid: Grid,
    run: Run,
    executor: Executor,
    parameters: BlocresParameters,
    *,
    means: Sequence[float] = (0.0, 0.0),
    mask: Source | None = None,
    occupancy: Source | None = None,
    tile: int | None = None,
) -> BlocresResult:
    """Compute the box FSC of two half maps.

    Parameters
    ----------
    half1, half2
        Half maps, (z, y, x).
    grid
        Their grid.
    run, executor
        Where arrays lie and where tiles are computed.
    parameters
        What to compute.
    means
        Mean of each half over the volume, which Bsoft subtracts.
    mask
        Voxels with a positive value (for Bsoft 1/2 or more) are answered; None answers all.
    occupancy
        Largest mask value per cell: tiles without any are not read.
    tile
        Core edge in voxels, overriding the planner.
    """
    settings = parameters.resolved(grid)
    if parameters.compat == "bsoft":
        settings["means"] = [float(m) for m in means]
    first = _node_job(half1, half2, grid, settings, _planning(run, executor, tile), mask, occupancy)
    tables = {first.name: run_job(first, run=run, executor=executor)}
    nodes: dict[str, Source] = {"nodes": output(run, NODES), "node_flags": output(run, NODE_FLAGS)}
    last = _voxel_job(nodes, grid, settings, _planning(run, executor, tile), mask, occupancy)
    tables[last.name] = run_job(last, run=run, executor=executor)
    return BlocresResult(
        locres=LOCRES,
        flags=FLAGS,
        parameters=settings,
        boxes=int(tables[first.name].sum("boxes")),
        tables=tables,
    )


def _planning(run: Run | None, executor: Executor, tile: int | None) -> dict[str, Any]:
    return {
        "memory_bytes": executor.memory_bytes,
        "workers": executor.workers,
        "tile": tile,
        "run": run,
    }


def _node_job(
    half1: Source,
    half2: Source,
    grid: Grid,
    settings: dict[str, Any],
    planning: dict[str, Any],
    mask: Source | None,
    occupancy: Source | None,
) -> TileJob:
    step = settings["step_vox"]
    z, y, x = (max(*reach, step - 1) for reach in reaches(settings["box_vox"]))
    design = design_of(settings)
    # Blocks, their padded copies and the products along x, then two curves a node.
    bytes_per_voxel = 28.0 + 8.0 * design.count / step**3
    plan = plan_tiles(
        grid.shape,
        halo=(z, y, x),
        bytes_per_voxel=bytes_per_voxel,
        multiple=step,
        focus=focus_on(occupancy, margin_vox=step - 1),
        **planning,
    )
    lead = (len(settings["thresholds"]),)
    return TileJob(
        name="blocres boxes",
        plan=plan,
        function=node_tile,
        inputs={"half1": half1, "half2": half2} | ({} if mask is None else {"mask": mask}),
        outputs={
            NODES: OutputSpec(lead=lead, divisor=step),
            NODE_FLAGS: OutputSpec(dtype="uint8", lead=lead, divisor=step, fill_value=FLAG_OUTSIDE),
        },
        parameters=settings,
        tiles=tiles_near(occupancy, plan, margin_vox=step - 1),
        bytes_per_voxel=bytes_per_voxel,
    )


def _voxel_job(
    nodes: dict[str, Source],
    grid: Grid,
    settings: dict[str, Any],
    planning: dict[str, Any],
    mask: Source | None,
    occupancy: Source | None,
) -> TileJob:
    plan = plan_tiles(
        grid.shape,
        halo=(0, 0, 0),
        bytes_per_voxel=VOXEL_BYTES_PER_VOXEL,
        focus=focus_on(occupancy),
        **planning,
    )
    lead = (len(settings["thresholds"]),)
    return TileJob(
        name="blocres voxels",
        plan=plan,
        function=voxel_tile,
        inputs=nodes | ({} if mask is None else {"mask": mask}),
        outputs={
            LOCRES: OutputSpec(lead=lead),
            FLAGS: OutputSpec(dtype="uint8", lead=lead, fill_value=FLAG_OUTSIDE),
        },
        parameters=settings,
        tiles=tiles_near(occupancy, plan),
        bytes_per_voxel=VOXEL_BYTES_PER_VOXEL,
    )
