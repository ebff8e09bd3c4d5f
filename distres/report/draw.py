"""All pictures, scripts and the report of a finished run."""

import logging
from pathlib import Path
from typing import Any

from distres.engine.jobs import Source
from distres.errors import InputError
from distres.methods.mask_tiles import OCCUPANCY, OCCUPANCY_DIVISOR
from distres.report import histogram as histograms
from distres.report import slices
from distres.report.colours import Limits
from distres.report.page import report_html
from distres.report.record import RunRecord
from distres.report.viewers import chimerax_script, napari_script

logger = logging.getLogger(__name__)


def draw_run(directory: Path, *, limits: Limits | None = None) -> list[Path]:
    """Draw a finished run: histograms, slices, viewer scripts and the report.

    Only the planes that are shown are read; histograms come from the record. All pictures and
    scripts share the colour limits.

    Parameters
    ----------
    directory
        The run.
    limits
        Colour limits, for instance those of another run to be compared with; None takes them from
        the first threshold's distribution.

    Returns
    -------
    list[pathlib.Path]
        What was written.

    Raises
    ------
    InputError
        The run is not finished, or lacks what is drawn.
    """
    record = RunRecord.load(directory)
    main = record.thresholds[0]
    limits = limits or record.histograms[main].limits()
    pictures: list[tuple[str, Path]] = []
    written: list[Path] = []
    for threshold in record.thresholds:
        name = _named(record, threshold)
        title = f"{record.stem}: {record.method}, threshold {threshold}"
        places = _draw_threshold(record, threshold, limits, name=name, title=title)
        written += places
        pictures += [
            (f"Threshold {threshold}: {what}", path)
            for what, path in zip(("histogram", "slices"), (places[0], places[2]), strict=True)
        ]
    written += _write_scripts(record, limits)
    page = directory / f"{record.stem}_report.html"
    page.write_text(report_html(record, pictures), encoding="utf-8")
    return [*written, page]


def _named(record: RunRecord, threshold: str) -> str:
    """Name files as the maps are named: the main threshold plainly, others with their value."""
    return "" if threshold == record.thresholds[0] else f"_t{threshold}"


def _draw_threshold(
    record: RunRecord, threshold: str, limits: Limits, *, name: str, title: str
) -> tuple[Path, Path, Path]:
    directory, stem = record.directory, record.stem
    counts = record.histograms[threshold]
    resolved = record.statistics.get(threshold, {}).get("fraction_resolved")
    svg = histograms.write_svg(
        directory / f"{stem}_hist{name}.svg",
        counts,
        limits,
        title=title,
        unresolved_fraction=0.0 if resolved is None else 1 - float(resolved),
    )
    table = histograms.write_csv(directory / f"{stem}_hist{name}.csv", counts)
    png = slices.write_png(
        directory / f"{stem}_slices{name}.png",
        slices.read_planes(
            _density(record),
            record.locres(threshold),
            _needed(record, "mask"),
            voxel_size_angstrom=record.voxel_size_angstrom,
            at=_centre(record),
        ),
        limits,
        title=title,
    )
    return svg, table, png


def _needed(record: RunRecord, *names: str) -> Source:
    found = record.array(*names)
    if found is None:
        raise InputError(f"{record.directory} names no array '{names[0]}' to draw")
    return found


def _density(record: RunRecord) -> tuple[Source, ...]:
    mean = record.array("density", "mean")
    if mean is not None:
        return (mean,)
    halves = [record.array("half1"), record.array("half2")]
    found = tuple(half for half in halves if half is not None)
    if not found:
        raise InputError(f"{record.directory} names no density to draw slices of")
    return found


def _centre(record: RunRecord) -> tuple[int, int, int] | None:
    """Return the middle of the mask, from the coarse occupancy; None where there is none."""
    occupancy = record.array(OCCUPANCY)
    if occupancy is None:
        return None
    return slices.mask_centre(occupancy, OCCUPANCY_DIVISOR, record.shape)


def _write_scripts(record: RunRecord, limits: Limits) -> list[Path]:
    outputs, directory = record.outputs, record.directory
    fill, plain = outputs.get("locres_fill"), outputs.get("locres")
    if fill is None or plain is None:
        return []
    density = _density_file(record)
    heading = f"{record.stem}: local resolution by {record.method}, distres"
    written = []
    try:
        script = chimerax_script(
            density, directory / fill, limits, directory=directory, heading=heading
        )
    except InputError as error:
        # A name that no script can hold is no reason to lose the other pictures.
        logger.warning("no ChimeraX script: %s", error)
    else:
        written.append(directory / f"{record.stem}.cxc")
        written[-1].write_text(script, encoding="utf-8")
    written.append(directory / f"{record.stem}_napari.py")
    written[-1].write_text(
        napari_script(
            density,
            directory / plain,
            limits,
            directory=directory,
            name=written[-1].name,
            voxel_size_angstrom=record.voxel_size_angstrom,
            origin_angstrom=record.origin_angstrom,
            heading=heading,
        ),
        encoding="utf-8",
    )
    return written


def _density_file(record: RunRecord) -> Path | None:
    """Return the map whose surface is coloured: an export of the run, else half map 1."""
    for name in ("density", "mean", "filtered"):
        if name in record.outputs:
            return record.directory / record.outputs[name]
    half1: Any = record.raw.get("inputs", {}).get("half1", {})
    path = half1.get("path") if isinstance(half1, dict) else half1
    if not isinstance(path, str) or "://" in path or not Path(path).is_file():
        return None
    return Path(path).resolve()
