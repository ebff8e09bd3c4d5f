"""A whole run of the local filter: a map and its resolutions in, a filtered map out."""

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import zarr

from distres.engine.runner import output
from distres.io.names import stem_of
from distres.io.omezarr import OWN, describe
from distres.io.volume import VolumeLike, open_volume, require_same_grid
from distres.methods.export import export_array
from distres.methods.localfilter import FilterParameters, levels_for, run_filter
from distres.methods.options import RunOptions
from distres.methods.pyramid import ingest
from distres.methods.record import make_record
from distres.methods.session import open_session

METHOD = "filter"


@dataclass(frozen=True, slots=True, kw_only=True)
class FilterRun:
    """A finished run.

    Attributes
    ----------
    path
        The filtered map.
    directory
        The run.
    record
        What ``run.json`` says.
    """

    path: Path
    directory: Path
    record: dict[str, Any]

    def summary(self) -> dict[str, Any]:
        """Return what a script wants to know, as JSON values."""
        return {
            "method": METHOD,
            METHOD: self.record[METHOD],
            "warnings": self.record["warnings"],
            "outputs": {"filtered": str(self.path)},
            "record": str(self.directory / "run.json"),
        }


def compute_filter(
    density: VolumeLike, locres: VolumeLike, parameters: FilterParameters, options: RunOptions
) -> FilterRun:
    """Filter a map to its local resolution and write it as MRC.

    Parameters
    ----------
    density
        The map: usually the mean of both halves, or a sharpened map.
    locres
        Local resolution on the same grid, of this program or another.
    parameters
        Choices of the method.
    options
        Places and resources.

    Raises
    ------
    InputError
        A map cannot be read, the grids differ, or there is no resolution in `locres`.
    OutputExistsError
        The directory holds a run.
    """
    volume = open_volume(density, options.pixel_size_angstrom)
    resolutions = open_volume(locres, options.pixel_size_angstrom)
    require_same_grid(volume, resolutions)
    stem = stem_of(volume.path)
    with open_session(options, default_output=f"{stem}_{METHOD}") as session:
        levels = ingest(volume, session.run, "map", session.executor, levels_for(volume.grid))
        # Marks of other programs may be NaN: they are no mistake here.
        source = ingest(
            resolutions, session.run, "locres", session.executor, replace_nonfinite=0.0
        )[0]
        result = run_filter(
            levels,
            source,
            volume.grid,
            session.run,
            session.executor,
            parameters,
            tile=options.tile_vox,
        )
        if result.convention.empty and parameters.empty is None:
            values = ", ".join(f"{v:g}" for v in result.convention.empty)
            session.warn(
                f"in the resolution map {values} is taken to mean no resolution; say otherwise "
                "with --empty"
            )
        if result.convention.per_pixel and parameters.per_pixel is None:
            session.warn(
                "the resolution map is taken to hold frequencies in 1/pixel; say otherwise with "
                "--unit"
            )
        array = zarr.open_array(session.run.store, path=result.filtered, mode="r+")
        array.attrs[OWN] = describe(volume.grid, volume.header)
        path = session.run.directory / f"{stem}_filtered.mrc"
        export_array(
            output(session.run, result.filtered),
            volume.grid,
            volume.header,
            path,
            label="filtered to local resolution",
            overwrite=True,  # the run directory is this run's own
        )
        record = make_record(
            method=METHOD,
            grid=volume.grid,
            inputs={"map": volume, "locres": resolutions},
            parameters=asdict(parameters),
            results={
                "outputs": {"filtered": path.name},
                "arrays": {"filtered": result.filtered},
                "histograms": {},
                "statistics": {},
                METHOD: result.as_json(),
            },
            warnings=session.warnings,
            executor=session.executor,
            stopwatch=session.stopwatch,
            argv=options.argv,
        )
        session.run.write_record(record)
        return FilterRun(path=path, directory=session.run.directory, record=record)
