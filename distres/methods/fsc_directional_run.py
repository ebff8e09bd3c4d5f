"""A whole run of the FSC by direction: inputs, table, warnings, files, record."""

import csv
from collections.abc import Callable, Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from distres.io.mrc_write import write_mrc
from distres.io.volume import Grid, VolumeLike
from distres.kernels.directions import tilt_and_rotation
from distres.methods.fsc_directional import (
    BYTES_PER_VOXEL,
    UNEVEN_P,
    DirectionalParameters,
    DirectionalResult,
    require_memory,
    run_directional,
)
from distres.methods.fsc_wiener import write_filtered
from distres.methods.options import RunOptions
from distres.methods.products import MethodRun
from distres.methods.pyramid import readable
from distres.methods.record import make_record
from distres.methods.session import Session, open_half_maps, open_session

METHOD = "fsc-directional"
# Directions differ where occupancy falls over a range this wide, and unevenly in so many shells:
# in small or noisy maps it falls slowly by chance alone.
WIDE_ZONE = 1.3
UNEVEN_SHELLS = 3

# Pictures are drawn a floor above; they are made before the record that names them.
Draw = Callable[[Path, str, DirectionalResult], list[Path]]


def compute_directional(
    half1: VolumeLike,
    half2: VolumeLike | None,
    parameters: DirectionalParameters,
    options: RunOptions,
    *,
    wiener: bool = False,
    draw: Draw | None = None,
) -> MethodRun:
    """Compute the FSC of two half maps by direction and write everything that comes of it.

    Parameters
    ----------
    half1, half2
        Paths, addresses, arrays or volumes; half 2 is found by name when it is None.
    parameters
        Choices of the method.
    options
        Mask, places and resources.
    wiener
        Also write the mean of the halves, each wave weighted by its 3D FSC.
    draw
        Writes pictures into a directory under a stem and returns them.

    Raises
    ------
    InputError
        The inputs cannot be used, see `open_half_maps`.
    ClusterError
        A worker cannot hold both halves.
    """
    maps = open_half_maps(half1, half2, options)
    with open_session(options, default_output=f"{maps.stem}_{METHOD}") as session:
        require_memory(maps.half1.grid, session.executor)
        sources = readable(maps.volumes, session.run, session.executor)
        result = run_directional(
            sources, maps.half1.grid, session.run, session.executor, parameters
        )
        _warn(session, result)
        directory = session.run.directory
        files = write_tables(directory, maps.stem, result)
        files["fsc3d"] = directory / f"{maps.stem}_3dfsc.mrc"
        write_volume(files["fsc3d"], maps.half1.grid, result)
        if wiener:
            files["wiener"] = directory / f"{maps.stem}_wiener.mrc"
            write_filtered(
                sources,
                result.over_cells,
                maps.half1,
                files["wiener"],
                session.run,
                session.executor,
                cells=result.cones.cells,
                bytes_per_voxel=BYTES_PER_VOXEL,
            )
        if draw is not None:
            for path in draw(directory, maps.stem, result):
                files[f"{path.stem.rsplit('_', 1)[-1]}_{path.suffix.lstrip('.')}"] = path
        record = _record(session, maps.volumes, maps.half1.grid, parameters, result, files)
        session.run.write_record(record)
        return MethodRun(directory=directory, record=record)


def _warn(session: Session, result: DirectionalResult) -> None:
    nine, _, one = result.zone_angstrom()
    if nine > WIDE_ZONE * one and result.uneven_shells >= UNEVEN_SHELLS:
        session.warn(
            f"directions differ: nine in ten reach {nine:.2f} A, one in ten {one:.2f} A, and "
            f"not by chance in {result.uneven_shells} shells (p < {UNEVEN_P:g}); look at the "
            "views that are missing"
        )


def _record(
    session: Session,
    volumes: Mapping[str, Any],
    grid: Grid,
    parameters: DirectionalParameters,
    result: DirectionalResult,
    files: Mapping[str, Path],
) -> dict[str, Any]:
    return make_record(
        method=METHOD,
        grid=grid,
        inputs=volumes,
        parameters=asdict(parameters),
        results={
            "outputs": {name: path.name for name, path in files.items()},
            "arrays": {},
            "histograms": {},
            "statistics": result.summary(),
        },
        warnings=session.warnings,
        executor=session.executor,
        stopwatch=session.stopwatch,
        argv=session.options.argv,
    )


def write_tables(directory: Path, stem: str, result: DirectionalResult) -> dict[str, Path]:
    """Write directions and shells as CSV and return the paths."""
    paths = {
        "directions": directory / f"{stem}_directions.csv",
        "occupancy": directory / f"{stem}_occupancy.csv",
    }
    angles = tilt_and_rotation(result.cones.directions)
    with paths["directions"].open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["tilt_degrees", "rotation_degrees", "x", "y", "z", "resolution_angstrom"])
        for (tilt, turn), (z, y, x), value in zip(
            angles, result.cones.directions, result.resolution_angstrom, strict=True
        ):
            text = "" if np.isnan(value) else f"{value:.4g}"
            writer.writerow([f"{tilt:.3f}", f"{turn:.3f}", *(f"{v:.6f}" for v in (x, y, z)), text])
    with paths["occupancy"].open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["frequency_per_angstrom", "fsc", "occupancy", "bingham_p"])
        for row in zip(
            result.shells.frequency_per_angstrom,
            result.curve,
            result.occupancy,
            result.bingham_p,
            strict=True,
        ):
            writer.writerow([f"{value:.6g}" for value in row])
    return paths


def write_volume(path: Path, grid: Grid, result: DirectionalResult) -> None:
    """Write the 3D FSC as an MRC file, zero frequency in the middle voxel, plane by plane."""
    shells, cells = result.shells, result.cones.cells
    nz, ny, nx = grid.shape
    table = np.concatenate([result.over_cells, np.zeros((cells.count, 1))], axis=1)
    ky, kx = (
        np.fft.fftshift(np.fft.fftfreq(n, a))
        for n, a in zip((ny, nx), grid.voxel_size_angstrom[1:], strict=True)
    )

    def planes() -> Any:  # noqa: ANN401 - a generator of (region, values)
        for z, kz in enumerate(np.fft.fftshift(np.fft.fftfreq(nz, grid.voxel_size_angstrom[0]))):
            radius = np.sqrt(kz**2 + ky[:, None] ** 2 + kx**2) / shells.width_per_angstrom
            shell = np.minimum(np.rint(radius).astype(np.intp), shells.count)
            values: npt.NDArray[np.float32] = table[cells.index(kz, ky[:, None], kx), shell].astype(
                np.float32
            )
            yield (slice(z, z + 1), slice(0, ny), slice(0, nx)), values[None]

    write_mrc(path, grid, None, planes(), label="distres 3D FSC", overwrite=True)
