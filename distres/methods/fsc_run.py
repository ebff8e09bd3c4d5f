"""A whole run of the global FSC: open the inputs, compute, write curves and record."""

import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from math import prod
from pathlib import Path
from typing import Any

import numpy as np

from distres.engine.jobs import Source, TileInputs
from distres.engine.tiles import Shape3, TilePlan
from distres.io.curves import write_csv, write_emdb_xml, write_star
from distres.io.volume import Volume, VolumeLike
from distres.kernels.shells import Shells
from distres.methods import fsc_tiles
from distres.methods.fsc import FscParameters, FscResult, compute_fsc
from distres.methods.fsc_memory import memory_estimate
from distres.methods.options import RunOptions
from distres.methods.record import make_record
from distres.methods.session import Session, open_half_maps, open_session

TRIAL_EDGE = 72

# Pictures are drawn a floor above; they are made before the record that names them.
Draw = Callable[[Path, str, FscResult], list[Path]]


@dataclass(frozen=True, slots=True, kw_only=True)
class FscRun:
    """A finished run: its directory, result and record."""

    directory: Path
    result: FscResult
    record: dict[str, Any]

    def summary(self) -> dict[str, Any]:
        """Return what a script wants to know, as JSON values."""
        outputs = {
            name: str(self.directory / file) for name, file in self.record["outputs"].items()
        }
        return {
            "method": "fsc",
            **self.result.summary(),
            "warnings": self.record["warnings"],
            "outputs": outputs,
            "record": str(self.directory / "run.json"),
        }


def run_fsc(
    half1: VolumeLike,
    half2: VolumeLike | None,
    parameters: FscParameters,
    options: RunOptions,
    *,
    draw: Draw | None = None,
) -> FscRun:
    """Compute the global FSC of two half maps and write everything that comes of it.

    Parameters
    ----------
    half1, half2
        Paths, addresses, arrays or volumes; half 2 is found by name when it is None.
    parameters
        Choices of the method.
    options
        Mask, places and resources.
    draw
        Writes pictures into a directory under a stem and returns them.

    Raises
    ------
    InputError
        The inputs cannot be used, see `compute_fsc` and `open_half_maps`.
    OutputExistsError
        The directory holds a run.
    """
    maps = open_half_maps(half1, half2, options)
    with open_session(options, default_output=f"{maps.stem}_fsc") as session:
        result = compute_fsc(
            maps.half1,
            maps.half2,
            maps.mask,
            parameters,
            session.run,
            session.executor,
            tile_vox=options.tile_vox,
        )
        for found in result.findings:
            session.warn(found.message)
        directory = session.run.directory
        files = write_curves(directory, maps.stem, result, maps.volumes)
        if draw is not None:
            for path in draw(directory, maps.stem, result):
                files[f"plot_{path.suffix.lstrip('.')}"] = path
        record = _record(session, maps.volumes, result, files)
        session.run.write_record(record)
        return FscRun(directory=directory, result=result, record=record)


def write_curves(
    directory: Path, stem: str, result: FscResult, volumes: dict[str, Volume]
) -> dict[str, Path]:
    """Write ``<stem>_fsc.csv``, ``.star`` and ``.xml`` and return them by kind."""
    frequency = result.frequency_per_angstrom
    columns = {"coefficients": result.coefficients, "effective_coefficients": result.effective}
    columns |= {f"fsc_{name}": curve for name, curve in result.curves.items()}
    columns |= {name.replace("-", "_"): curve for name, curve in result.criteria.items()}
    general: dict[str, str | float] = {
        "rlnFinalResolution": result.headline.resolution_angstrom
        or 1.0 / result.shells.nyquist_per_angstrom,
        "rlnUnfilteredMapHalf1": volumes["half1"].path,
        "rlnUnfilteredMapHalf2": volumes["half2"].path,
    }
    if result.headline.state == "never above":
        del general["rlnFinalResolution"]
    if "mask" in volumes:
        general["rlnMaskName"] = volumes["mask"].path
    if result.randomised_from_angstrom is not None:
        general["rlnRandomiseFrom"] = result.randomised_from_angstrom
    title = f"distres {result.reported} FSC of {volumes['half1'].path}"
    base = directory / f"{stem}_fsc"
    return {
        "csv": write_csv(base.with_name(f"{base.name}.csv"), frequency, columns),
        "star": write_star(base.with_name(f"{base.name}.star"), frequency, result.curves, general),
        "xml": write_emdb_xml(
            base.with_name(f"{base.name}.xml"),
            frequency,
            result.curves[result.reported],
            title=title,
        ),
    }


def _record(
    session: Session, volumes: dict[str, Volume], result: FscResult, files: dict[str, Path]
) -> dict[str, Any]:
    survey = asdict(result.survey)
    del survey["mask_power"]
    return make_record(
        method="fsc",
        grid=volumes["half1"].grid,
        inputs=volumes,
        parameters=asdict(result.parameters),
        results={
            "outputs": {name: path.name for name, path in files.items()},
            "arrays": {},
            "histograms": {},
            "statistics": {},
            "fsc": result.summary(),
            "survey": survey,
        },
        warnings=session.warnings,
        executor=session.executor,
        stopwatch=session.stopwatch,
        argv=session.options.argv,
    )


def dry_run(
    half1: VolumeLike,
    half2: VolumeLike | None,
    parameters: FscParameters,
    options: RunOptions,
) -> dict[str, Any]:
    """Say what a run would take, without running it.

    The time is that of a small volume of noise, scaled by ``n log n``; slabs go through the disk
    and take about twice as long.
    """
    maps = open_half_maps(half1, half2, options)
    with open_session(options, default_output=f"{maps.stem}_fsc") as session:
        shape, executor = maps.half1.shape, session.executor
        plan = memory_estimate(
            shape, executor, masked=maps.mask is not None, tile_vox=options.tile_vox
        )
        seconds = _trial_seconds(shape, parameters, masked=maps.mask is not None)
        if not plan["at_once"]:
            tasks = min(executor.workers, plan["slabs"])
            seconds *= 2.0 / tasks
        return {**plan, "shape": list(shape), "seconds": round(seconds, 1)}


def _trial_seconds(shape: Shape3, parameters: FscParameters, *, masked: bool) -> float:
    edge = tuple(min(n, TRIAL_EDGE) for n in shape)
    small: Shape3 = (edge[0], edge[1], edge[2])
    rng = np.random.default_rng(0)
    names = ("half1", "half2", "mask") if masked else ("half1", "half2")
    noise = rng.random((len(names), *small), dtype=np.float32)
    sources: dict[str, Source] = {
        name: _Noise(values=values) for name, values in zip(names, noise, strict=True)
    }
    tile = TilePlan.whole(small).tile(0)
    shells = Shells(shape=small, voxel_size_angstrom=(1.0, 1.0, 1.0))
    given = {
        "shape": small,
        "voxel_size_angstrom": shells.voxel_size_angstrom,
        "mean": (0.5, 0.5),
        "scale": (1.0, 1.0),
        "seed": parameters.seed,
        "repeats": parameters.repeats,
        "randomise_from_angstrom": parameters.randomise_from_angstrom,
    }
    started = time.perf_counter()
    fsc_tiles.whole(TileInputs(tile=tile, sources=sources), given)
    spent = time.perf_counter() - started
    growth = prod(shape) / prod(small) * np.log(prod(shape)) / np.log(prod(small))
    return float(spent * growth)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Noise:
    """A source in memory."""

    values: Any

    @property
    def shape(self) -> tuple[int, ...]:
        return tuple(self.values.shape)

    def read(self, region: tuple[slice, ...]) -> Any:  # noqa: ANN401
        return self.values[region].copy()

    def identity(self) -> dict[str, Any]:
        return {}
