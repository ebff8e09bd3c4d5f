"""A whole run of resolution against radius: inputs, sums, curve, painted map, record."""

import csv
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path

import numpy as np

from distres.io.volume import VolumeLike
from distres.methods.blocres_run import METHOD
from distres.methods.bring import bring_mask
from distres.methods.judge import judge_halves
from distres.methods.mask import search_level
from distres.methods.options import RunOptions
from distres.methods.products import Arrays, MethodRun, finish
from distres.methods.pyramid import ingest
from distres.methods.radial import RadialParameters, RadialResult, run_radial
from distres.methods.session import open_half_maps, open_session

# Pictures are drawn a floor above; they are made before the record that names them.
Draw = Callable[[Path, str, RadialResult], list[Path]]
# Radii deserve no band coarser than level 3 holds.
MOST_LEVELS = 4


def compute_radial(
    half1: VolumeLike,
    half2: VolumeLike | None,
    parameters: RadialParameters,
    options: RunOptions,
    *,
    draw: Draw | None = None,
) -> MethodRun:
    """Measure resolution against radius and write the curve, the painted map and the record.

    Parameters
    ----------
    half1, half2
        Paths, addresses, arrays or volumes; half 2 is found by name when it is None.
    parameters
        Choices of the method.
    options
        Mask, places and resources. The mask says what is painted; the curve owes nothing to it.
    draw
        Writes pictures into a directory under a stem and returns them.

    Raises
    ------
    InputError
        The inputs cannot be used, see `open_half_maps`.
    OutputExistsError
        The directory holds a run.
    UsageError
        A symmetry was given: a shell is whole.
    """
    options.require_whole("--shell")
    maps = open_half_maps(half1, half2, options)
    grid = maps.half1.grid
    wanted = 1 + max(band.level for band in parameters.bands(grid, MOST_LEVELS))
    with open_session(options, default_output=f"{maps.stem}_{METHOD}_radial") as session:
        judge_halves(session, maps)
        levels = wanted if maps.mask is not None else max(wanted, search_level(grid.shape) + 1)
        first = ingest(maps.half1, session.run, "half1", session.executor, levels)
        second = ingest(maps.half2, session.run, "half2", session.executor, levels)
        mask = bring_mask(session, maps, first, second)
        result = run_radial(
            first,
            second,
            grid,
            session.run,
            session.executor,
            parameters,
            mask=mask.source,
            occupancy=mask.occupancy,
            tile=options.tile_vox,
        )
        directory = session.run.directory
        files = [write_curve(directory / f"{maps.stem}_radial.csv", result)]
        if draw is not None:
            files += draw(directory, maps.stem, result)
        record = finish(
            session,
            maps,
            method=METHOD,
            thresholds=parameters.thresholds,
            parameters={**asdict(parameters), "mask": mask.as_json()},
            arrays=Arrays(locres=result.locres, flags=result.flags, mask=mask.path),
            extra={
                "radial": {
                    "files": [path.name for path in files],
                    "radius_angstrom": result.radius_angstrom.tolist(),
                    "resolution_angstrom": {
                        f"{threshold:g}": [None if np.isnan(v) else float(v) for v in curve]
                        for threshold, curve in result.resolution_angstrom.items()
                    },
                },
                "mask_statistics": mask.statistics,
            },
        )
        return MethodRun(directory=directory, record=record, density=(first[0], second[0]))


def write_curve(path: Path, result: RadialResult) -> Path:
    """Write one line a radius: resolutions by threshold, then correlations by band."""
    names = [f"resolution_at_{threshold:g}_angstrom" for threshold in result.resolution_angstrom]
    bands = [f"fsc_{1 / band.centre:.2f}_angstrom" for band in result.bands]
    with path.open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["radius_angstrom", *names, *bands])
        for place, radius in enumerate(result.radius_angstrom):
            found = [curve[place] for curve in result.resolution_angstrom.values()]
            text = ["" if np.isnan(v) else f"{v:.4g}" for v in found]
            writer.writerow([f"{radius:.6g}", *text, *(f"{c[place]:.5f}" for c in result.curves)])
    return path
