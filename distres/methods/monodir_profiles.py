"""How the maps of MonoDir change with the distance from the centre, and what stands out."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from distres.engine.jobs import Array, OutputSpec, TileInputs, TileJob, TileResult
from distres.engine.planner import plan_tiles
from distres.engine.runner import output, run_job
from distres.io.grid import Grid
from distres.kernels.centred import Float3
from distres.kernels.shellprofile import (
    Line,
    fit_line,
    inner_shells,
    means_and_deviations,
    shell_of,
    shell_sums,
    z_score,
)
from distres.methods.monodir_tiles import map_path
from distres.methods.nearby import tiles_near
from distres.methods.session import Session

ZSCORE = map_path("zscore")
# What is averaged over shells, and which of these a voxel is compared with.
PROFILES = ("radial", "tangential", "highest", "lowest", "monores")
COMPARED = ("radial", "tangential", "highest", "monores")
# A voxel so far from its shell is as odd as one farther away.
LARGEST_SCORE = 5.0
BYTES_PER_VOXEL = 60.0

Float = npt.NDArray[np.float64]
Parameters = Mapping[str, Any]


@dataclass(frozen=True, slots=True, kw_only=True)
class Profiles:
    """Means over shells around the centre.

    Attributes
    ----------
    radius_angstrom
        (shells,) middles.
    voxels, means, deviations
        By name of `PROFILES`, (shells,): how many, and mean and standard deviation in angstrom, NaN
        where there are few.
    lines
        By name, the straight line through the means away from the rim.
    fitted_angstrom
        Radii of the innermost and the outermost shell that lines are fitted to.
    """

    radius_angstrom: Float
    voxels: Mapping[str, Float]
    means: Mapping[str, Float]
    deviations: Mapping[str, Float]
    lines: Mapping[str, Line]
    fitted_angstrom: tuple[float, float]

    def as_json(self) -> dict[str, Any]:
        """Return the curves, with null for NaN."""
        return {
            "radius_angstrom": self.radius_angstrom.tolist(),
            "means_angstrom": {name: _nullable(v) for name, v in self.means.items()},
            "deviations_angstrom": {name: _nullable(v) for name, v in self.deviations.items()},
            "voxels": {name: v.astype(int).tolist() for name, v in self.voxels.items()},
            "fitted_angstrom": _nullable(np.array(self.fitted_angstrom)),
            "lines": {
                name: {key: value if np.isfinite(value) else None for key, value in line.items()}
                for name, line in ((n, asdict(v)) for n, v in self.lines.items())
            },
        }


def profile_tile(inputs: TileInputs, parameters: Parameters) -> TileResult:
    """Sum every map of one tile over shells.

    Parameters
    ----------
    inputs
        The maps by name of `PROFILES`.
    parameters
        ``voxel_angstrom``, ``centre_angstrom``, ``width_angstrom``, ``bins``.
    """
    shell = _shells(inputs, parameters)
    sums = [shell_sums(shell, _values(inputs, name), parameters["bins"]) for name in PROFILES]
    return TileResult(row={"sums": np.stack(sums)})


def zscore_tile(inputs: TileInputs, parameters: Parameters) -> TileResult:
    """Say how far each voxel lies from its shell, in the map in which it lies farthest.

    Parameters
    ----------
    inputs
        The maps by name of `COMPARED`.
    parameters
        As in `profile_tile`; ``means`` and ``deviations`` by name.
    """
    maps = {name: _values(inputs, name) for name in COMPARED}
    known = np.any([np.isfinite(values) for values in maps.values()], axis=0)
    shell = _shells(inputs, parameters)[known]
    worst = np.full(shell.shape, np.nan, dtype=np.float32)
    for name, values in maps.items():
        mean, deviation = (
            np.array([np.nan if v is None else v for v in parameters[kind][name]])
            for kind in ("means", "deviations")
        )
        worst = np.fmax(worst, z_score(values[known], shell, mean, deviation))
    found = np.full(known.shape, np.nan, dtype=np.float32)
    found[known] = np.minimum(worst, LARGEST_SCORE)
    return TileResult(arrays={ZSCORE: found})


def run_profiles(
    session: Session,
    grid: Grid,
    maps: Mapping[str, str],
    centre: Float3,
    occupancy: Any,  # noqa: ANN401 - a Source or None
) -> Profiles:
    """Average the maps over shells, then write the z-score map.

    Parameters
    ----------
    session
        The open run.
    grid
        Of the maps.
    maps
        Paths by name of `PROFILES`.
    centre
        In angstrom from voxel 0.
    occupancy
        Largest mask value in cells; tiles without any are not read.
    """
    run, executor = session.run, session.executor
    width = max(grid.voxel_size_angstrom)
    corner = sum((n * d) ** 2 for n, d in zip(grid.shape, grid.voxel_size_angstrom, strict=True))
    shared: dict[str, Any] = {
        "voxel_angstrom": list(grid.voxel_size_angstrom),
        "centre_angstrom": list(centre),
        "width_angstrom": width,
        "bins": int(corner**0.5 / width / 2) + 2,
    }
    plan = plan_tiles(
        grid.shape,
        halo=(0, 0, 0),
        bytes_per_voxel=BYTES_PER_VOXEL,
        memory_bytes=executor.memory_bytes,
        workers=executor.workers,
        tile=session.options.tile_vox,
        run=run,
    )
    tiles = tiles_near(occupancy, plan)
    sources = {name: output(run, path) for name, path in maps.items()}
    summing = TileJob(
        name="monodir profiles",
        plan=plan,
        function=profile_tile,
        inputs=sources,
        parameters=shared,
        tiles=tiles,
        bytes_per_voxel=BYTES_PER_VOXEL,
    )
    found = _profiles(run_job(summing, run=run, executor=executor).sum("sums"), width)
    scoring = TileJob(
        name="monodir zscore",
        plan=plan,
        function=zscore_tile,
        inputs={name: sources[name] for name in COMPARED},
        outputs={ZSCORE: OutputSpec()},
        parameters={
            **shared,
            "means": {name: _nullable(found.means[name]) for name in COMPARED},
            "deviations": {name: _nullable(found.deviations[name]) for name in COMPARED},
        },
        tiles=tiles,
        bytes_per_voxel=BYTES_PER_VOXEL,
    )
    run_job(scoring, run=run, executor=executor)
    return found


def _profiles(sums: Float, width: float) -> Profiles:
    used = np.flatnonzero(sums[..., 0].any(axis=0))
    sums = sums[:, : int(used[-1]) + 1 if used.size else 1]
    means, deviations = means_and_deviations(sums)
    radius: Float = (np.arange(sums.shape[1], dtype=np.float64) + 0.5) * width
    # All maps of a run are fitted over the same shells.
    radial = PROFILES.index("radial")
    inner = inner_shells(radius, means[radial], sums[radial, :, 0])
    fitted = np.where(inner, means, np.nan)
    by_name = dict(zip(PROFILES, range(len(PROFILES)), strict=True))
    ends = radius[inner] if inner.any() else np.array([np.nan])
    return Profiles(
        fitted_angstrom=(float(ends[0]), float(ends[-1])),
        radius_angstrom=radius,
        voxels={name: sums[i, :, 0] for name, i in by_name.items()},
        means={name: means[i] for name, i in by_name.items()},
        deviations={name: deviations[i] for name, i in by_name.items()},
        lines={name: fit_line(radius, fitted[i], sums[i, :, 0]) for name, i in by_name.items()},
    )


def _shells(inputs: TileInputs, parameters: Parameters) -> npt.NDArray[np.int64]:
    core = inputs.tile.core
    dz, dy, dx = parameters["voxel_angstrom"]
    cz, cy, cx = parameters["centre_angstrom"]
    return shell_of(
        [s.start for s in core],
        inputs.tile.core_shape,
        (dz, dy, dx),
        (cz, cy, cx),
        parameters["width_angstrom"],
    )


def _values(inputs: TileInputs, name: str) -> Array:
    values = inputs.core(name)
    return values[0] if values.ndim == 4 else values


def _nullable(values: Float) -> list[float | None]:
    return [float(v) if np.isfinite(v) else None for v in values]
