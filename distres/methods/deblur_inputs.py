"""What LocalDeblur is given: a map, a resolution map of any program, a mask; or two half maps."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from distres.engine.elsewhere import store_of
from distres.engine.jobs import OutputSpec, Source, TileInputs, TileJob, TileResult, ZarrSource
from distres.engine.planner import plan_tiles
from distres.errors import InputError
from distres.io.grid import Grid
from distres.io.names import stem_of
from distres.io.volume import Volume, VolumeLike, open_volume, require_same_grid
from distres.methods.options import RunOptions
from distres.methods.session import Session, noting

MEAN = "deblur/observed"


@dataclass(frozen=True, slots=True, kw_only=True)
class RunResolution:
    """The resolution map of a finished run of ours: NaN where undefined.

    Attributes
    ----------
    source
        (z, y, x) or (threshold, z, y, x).
    step
        Which threshold.
    directory
        The run.
    mask
        The run's mask, if it kept one.
    """

    source: ZarrSource
    step: int
    directory: Path
    mask: ZarrSource | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class MapInputs:
    """A map, its resolution map, and perhaps a mask.

    Attributes
    ----------
    density, locres, mask
        Volumes on one grid; `locres` may be a run.
    stem
        What names of outputs start with.
    notes
        What opening them warned of.
    """

    density: Volume
    locres: Volume | RunResolution
    mask: Volume | None
    stem: str
    notes: tuple[str, ...] = ()

    @property
    def volumes(self) -> dict[str, Volume]:
        """Return the input files by role."""
        found = {"map": self.density}
        if not isinstance(self.locres, RunResolution):
            found["locres"] = self.locres
        return found if self.mask is None else {**found, "mask": self.mask}


def open_map(density: VolumeLike, locres: VolumeLike, options: RunOptions) -> MapInputs:
    """Open a map and a resolution map, and check them against each other in seconds.

    Parameters
    ----------
    density
        Unfiltered map.
    locres
        Resolution map of any program, or the directory of a finished run of ours.
    options
        Gives the mask and the pixel size.

    Raises
    ------
    InputError
        A file cannot be read, or grids differ.
    """
    with noting() as notes:
        first = open_volume(density, options.pixel_size_angstrom)
        second: Volume | RunResolution
        if isinstance(locres, str | Path) and (Path(locres) / "run.json").is_file():
            second = open_run_resolution(Path(locres))
            _require_shape(first, second)
        else:
            second = open_volume(locres, options.pixel_size_angstrom)
            require_same_grid(first, second)
        mask = None
        if options.mask is not None:
            mask = open_volume(options.mask, options.pixel_size_angstrom)
            require_same_grid(first, mask)
    stem = stem_of(first.path)
    return MapInputs(density=first, locres=second, mask=mask, stem=stem, notes=tuple(notes))


def open_run_resolution(directory: Path, threshold: float | None = None) -> RunResolution:
    """Open the resolution map of a finished run.

    Parameters
    ----------
    directory
        The run.
    threshold
        Which one; None takes the first.

    Raises
    ------
    InputError
        The run holds no resolution map, or not that threshold.
    """
    try:
        record: dict[str, Any] = json.loads((directory / "run.json").read_text())
        places = record["arrays"]
        path = places["locres"]
    except (KeyError, TypeError):
        raise InputError(
            f"the run in {directory} measured no local resolution; give the folder of one that "
            "did, or a resolution map"
        ) from None
    except (OSError, ValueError) as error:
        raise InputError(f"the record of the run in {directory} cannot be read: {error}") from error
    thresholds = [float(t) for t in record.get("thresholds", ())]
    if threshold is not None and threshold not in thresholds:
        raise InputError(f"{directory} has no threshold {threshold:g}, only {thresholds}")
    step = 0 if threshold is None else thresholds.index(threshold)
    store = store_of(directory)
    mask = places.get("mask")
    return RunResolution(
        source=ZarrSource.of(store, path),
        step=step,
        directory=directory,
        mask=ZarrSource.of(store, mask) if isinstance(mask, str) else None,
    )


def _require_shape(density: Volume, found: RunResolution) -> None:
    shape = found.source.shape[-3:]
    if shape != density.shape:
        raise InputError(
            f"{density.path} has {density.shape} voxels (z, y, x) but the resolution map in "
            f"{found.directory} has {shape}; give the map it was computed for"
        )


def mean_job(session: Session, half1: Source, half2: Source, grid: Grid) -> TileJob:
    """Return the job that averages two half maps."""
    plan = plan_tiles(
        grid.shape,
        halo=(0, 0, 0),
        bytes_per_voxel=16.0,
        memory_bytes=session.executor.memory_bytes,
        workers=session.executor.workers,
        tile=session.options.tile_vox,
        run=session.run,
    )
    return TileJob(
        name="deblur mean",
        plan=plan,
        function=mean_tile,
        inputs={"half1": half1, "half2": half2},
        outputs={MEAN: OutputSpec()},
        parameters={"output": MEAN},
        bytes_per_voxel=16.0,
    )


def mean_tile(inputs: TileInputs, parameters: Mapping[str, Any]) -> TileResult:
    """Return the mean of two half maps."""
    mean = (inputs.core("half1") + inputs.core("half2")) / 2
    return TileResult(arrays={parameters["output"]: mean.astype(np.float32)})
