"""All pictures, scripts and the report of a finished run."""

import logging
from collections.abc import Sequence
from pathlib import Path

from distres.engine.jobs import Source
from distres.errors import InputError
from distres.methods.mask_tiles import OCCUPANCY, OCCUPANCY_DIVISOR
from distres.report import histogram as histograms
from distres.report import monodirplot, planes, slices
from distres.report.colours import Limits
from distres.report.page import report_html
from distres.report.record import RunRecord
from distres.report.viewers import chimerax_script, napari_script

logger = logging.getLogger(__name__)

# Methods with pictures of their own, which return files by caption.
_OWN_PICTURES = {"monodir": monodirplot.write_pictures}


def draw_run(
    directory: Path,
    *,
    limits: Limits | None = None,
    density: Sequence[Source] = (),
    density_file: Path | None = None,
) -> list[Path]:
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
    density
        What slices show in grey: one volume, or two halves to be averaged. Without it, the arrays
        ``density`` or ``mean``, else the halves, of the run's store are shown.
    density_file
        Map that the viewer scripts colour. Without it: an export of the run, or half map 1 where
        the record leads to it.

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
        said = _said(threshold)
        title = f"{record.stem}: local resolution, {said}"
        places = _draw_threshold(
            record, threshold, limits, density or _density(record), name=name, title=title
        )
        written += places
        pictures += [
            (f"{said[0].upper()}{said[1:]}: {what}", path)
            for what, path in zip(("histogram", "slices"), (places[0], places[2]), strict=True)
        ]
    if record.method in _OWN_PICTURES:
        for caption, files in _OWN_PICTURES[record.method](
            directory, record.stem, record.raw
        ).items():
            pictures.append((caption, files[0]))
            written += files
    written += _write_scripts(record, limits, density_file or _density_file(record))
    page = directory / f"{record.stem}_report.html"
    page.write_text(report_html(record, pictures), encoding="utf-8")
    return [*written, page]


def _said(threshold: str) -> str:
    """Say what a number is; methods without thresholds have a name in its place."""
    return f"threshold {threshold}" if threshold[:1].isdigit() else threshold


def _named(record: RunRecord, threshold: str) -> str:
    """Name files as the maps are named: the main threshold plainly, others with their value."""
    return "" if threshold == record.thresholds[0] else f"_t{threshold}"


def _draw_threshold(
    record: RunRecord,
    threshold: str,
    limits: Limits,
    density: Sequence[Source],
    *,
    name: str,
    title: str,
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
        planes.read_planes(
            density,
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
    """Return what the run's store holds of the density; the mask where it holds none."""
    mean = record.array("density", "mean")
    if mean is not None:
        return (mean,)
    halves = (
        record.array("half1", "map", "inputs/half1/0", "inputs/map/0"),
        record.array("half2", "inputs/half2/0"),
    )
    found = tuple(half for half in halves if half is not None)
    if found:
        return found
    logger.warning("%s holds no density: its slices show the mask instead", record.directory)
    return (_needed(record, "mask"),)


def _centre(record: RunRecord) -> tuple[int, int, int] | None:
    """Return the middle of the mask, from the coarse occupancy; None where there is none."""
    occupancy = record.array(OCCUPANCY)
    if occupancy is None:
        return None
    return planes.mask_centre(occupancy, OCCUPANCY_DIVISOR, record.shape)


def _write_scripts(record: RunRecord, limits: Limits, density: Path | None) -> list[Path]:
    outputs, directory = record.outputs, record.directory
    fill, plain = outputs.get("locres_fill"), outputs.get("locres")
    if fill is None or plain is None:
        return []
    heading = f"{record.stem}: local resolution by distres"
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
    half1 = record.raw.get("inputs", {}).get("half1", {})
    if "path" in half1:
        named = Path(str(half1["path"]))
        return named.resolve() if named.is_file() else None
    # The record names inputs without their folders; the command line still has them.
    for word in map(str, record.raw.get("argv", ())):
        if Path(word).name == half1.get("name") and Path(word).is_file():
            return Path(word).resolve()
    return None


def draw_mask(directory: Path, *, density: Sequence[Source] = ()) -> Path:
    """Draw density and mask of a run of ``distres mask``; return the picture.

    Parameters
    ----------
    directory
        The run.
    density
        As in `draw_run`.
    """
    record = RunRecord.load(directory)
    return slices.write_png(
        directory / f"{record.stem}_slices.png",
        planes.read_planes(
            density or _density(record),
            None,
            _needed(record, "mask"),
            voxel_size_angstrom=record.voxel_size_angstrom,
            at=_centre(record),
        ),
        None,
        title=record.stem,
    )
