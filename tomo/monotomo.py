"""MonoTomo: local resolution of half tomograms against the noise around each voxel.

The amplitude test is that of MonoRes (`distres.methods.monores`), the same kernel in the same
passes. What a tomogram needs on top (Vilas et al. 2020, doi:10.1016/j.jsb.2020.107593): a threshold
that follows the noise in x, y and z, no mask, mirrored faces, and a missing wedge that counts
neither as signal nor as failure.
"""

import logging
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import zarr

from distres.engine.jobs import Source
from distres.engine.run import Run
from distres.errors import UsageError
from distres.io.grid import Grid
from distres.io.volume import VolumeLike
from distres.kernels.wedge import Wedge, thin_axis
from distres.methods.mask import MaskResult, load_mask
from distres.methods.monores import MonoResResult, run_monores
from distres.methods.monores_inputs import MonoResInputs
from distres.methods.monores_plan import MonoResParameters, levels_wanted
from distres.methods.options import RunOptions
from distres.methods.products import Arrays, MethodRun, finish
from distres.methods.pyramid import ingest
from distres.methods.session import HalfMaps, Session, open_half_maps, open_session
from tomo.depth import DepthProfile, depth_profile

logger = logging.getLogger(__name__)

METHOD = "monotomo"
MASK = "mask"
# Mirrored voxels at the faces; the block fades out over them, so that no voxel of its own fades.
MIRROR_VOX = 8


@dataclass(frozen=True, slots=True, kw_only=True)
class MonoTomoParameters:
    """What decides the answer of MonoTomo.

    Attributes
    ----------
    confidence, finest_angstrom, coarsest_angstrom, step_angstrom, stride_vox, device
        As in `MonoResParameters`.
    tilt_axis
        Axis of the tilts, ``x``, ``y`` or ``z``.
    beam_axis
        Direction of the beam; None takes the thin axis, or z.
    tilt_range_degrees
        First and last tilt; None leaves all frequencies in.
    """

    confidence: float = 0.95
    finest_angstrom: float | None = None
    coarsest_angstrom: float | None = None
    step_angstrom: float | None = None
    tilt_axis: str = "y"
    beam_axis: str | None = None
    tilt_range_degrees: tuple[float, float] | None = None
    stride_vox: int = 2
    device: str = "auto"

    def monores(self) -> MonoResParameters:
        """Return the same choices for the sweep."""
        return MonoResParameters(
            confidence=self.confidence,
            finest_angstrom=self.finest_angstrom,
            coarsest_angstrom=self.coarsest_angstrom,
            step_angstrom=self.step_angstrom,
            local_noise=True,
            stride_vox=self.stride_vox,
            device=self.device,
        )

    def beam(self, grid: Grid) -> str:
        """Return the direction of the beam in a tomogram.

        Raises
        ------
        UsageError
            It would be the tilt axis.
        """
        beam = self.beam_axis or thin_axis(grid.shape)
        if beam == self.tilt_axis:
            raise UsageError(
                f"the tomogram of {grid.shape[2]} x {grid.shape[1]} x {grid.shape[0]} voxels "
                f"(x, y, z) is thin along {beam}, which is also the tilt axis; give --tilt-axis, "
                "or --beam-axis"
            )
        return beam

    def wedge(self, grid: Grid) -> Wedge | None:
        """Return the missing wedge; None when no tilt range was given."""
        beam = self.beam(grid)
        if self.tilt_range_degrees is None:
            return None
        low, high = sorted(self.tilt_range_degrees)
        return Wedge(tilt_axis=self.tilt_axis, beam_axis=beam, low_degrees=low, high_degrees=high)


def compute_monotomo(
    even: VolumeLike,
    odd: VolumeLike | None,
    parameters: MonoTomoParameters,
    options: RunOptions,
) -> MethodRun:
    """Compute MonoTomo of two half tomograms and write everything that comes of it.

    Parameters
    ----------
    even, odd
        Paths, addresses, arrays or volumes; the other half is found by name when it is None.
    parameters
        Choices of the method.
    options
        Places and resources, and a mask if there is one.

    Raises
    ------
    InputError
        The inputs cannot be used, or hold no noise to compare with.
    UsageError
        The resolution range or the axes do not fit the tomogram.
    OutputExistsError
        The directory holds a run.
    """
    maps = open_half_maps(even, odd, options)
    grid, sweep = maps.half1.grid, parameters.monores()
    wedge, levels = parameters.wedge(grid), levels_wanted(grid, sweep)
    with open_session(options, default_output=f"{maps.stem}_{METHOD}") as session:
        run, executor = session.run, session.executor
        halves = [
            ingest(volume, run, name, executor, levels)
            for name, volume in (("half1", maps.half1), ("half2", maps.half2))
        ]
        mask = _mask(session, maps)
        inputs = MonoResInputs(
            half1=halves[0],
            half2=halves[1],
            grid=grid,
            mask=None if mask is None else mask.source,
            occupancy=None if mask is None else mask.occupancy,
            mirror_vox=MIRROR_VOX,
            wedge=wedge,
        )
        result = run_monores(inputs, run, executor, sweep, tile=options.tile_vox)
        for warning in result.warnings:
            session.warn(warning)
        profile = depth_profile(
            run,
            result.locres,
            result.flags,
            grid,
            parameters.beam(grid),
            sweep.range_angstrom(grid),
        )
        record = _finish(session, maps, parameters, mask, result, profile)
        density: tuple[Source, ...] = (halves[0][0], halves[1][0])
        return MethodRun(directory=run.directory, record=record, density=density)


def _mask(session: Session, maps: HalfMaps) -> MaskResult | None:
    """Check the user's mask; without one every voxel is answered."""
    if maps.mask is None:
        _everything(session.run, maps.half1.grid)
        return None
    found = load_mask(
        maps.mask,
        maps.half1.grid,
        session.run,
        session.executor,
        tile=session.options.tile_vox,
    )
    for warning in found.warnings:
        session.warn(warning)
    return found


def _everything(run: Run, grid: Grid) -> None:
    """Put a mask of ones into the store: an array without a single chunk on disk."""
    zarr.create_array(
        run.store,
        name=MASK,
        shape=grid.shape,
        chunks=tuple(min(n, 64) for n in grid.shape),
        dtype="float32",
        fill_value=1.0,
        overwrite=True,
    )


def _finish(
    session: Session,
    maps: HalfMaps,
    parameters: MonoTomoParameters,
    mask: MaskResult | None,
    result: MonoResResult,
    profile: DepthProfile,
) -> dict[str, Any]:
    grid = maps.half1.grid
    name = f"{maps.stem}_{METHOD}_depth.csv"
    profile.write_csv(session.run.directory / name)
    return finish(
        session,
        maps,
        method=METHOD,
        thresholds=(parameters.confidence,),
        parameters={
            **asdict(parameters),
            "beam_axis": parameters.beam(grid),
            "mask": {"kind": "everything"}
            if mask is None
            else {"kind": mask.kind, **mask.parameters},
        },
        arrays=Arrays(
            locres=result.locres,
            flags=result.flags,
            mask=MASK if mask is None else mask.path,
        ),
        extra={METHOD: {**result.as_json(), "depth": profile.as_json(), "depth_profile": name}},
    )


def summary_row(run: MethodRun) -> dict[str, Any]:
    """Return what a batch's table says of one tomogram."""
    record = run.record
    statistics = next(iter(record["statistics"].values()))
    depth = record[METHOD]["depth"]
    return {
        "tomogram": Path(record["inputs"]["half1"]["path"]).name,
        "median_angstrom": statistics["median"],
        "p5_angstrom": statistics["p5"],
        "p95_angstrom": statistics["p95"],
        "fraction_resolved": round(statistics["fraction_resolved"], 4),
        "thickness_angstrom": depth["thickness_angstrom"],
        "warnings": len(record["warnings"]),
        "directory": str(run.directory),
    }
