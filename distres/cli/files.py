"""`distres info`, `convert` and `export`: what files hold, and bringing them into other forms."""

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from distres.cli import options
from distres.errors import DistresError, InputError

if TYPE_CHECKING:
    from rich.table import Table

Overwrite = Annotated[bool, typer.Option("--overwrite", help="Replace the output if it exists.")]


def info(
    files: Annotated[
        list[str], typer.Argument(metavar="FILE...", help="MRC files, OME-Zarr images or runs.")
    ],
    as_json: options.AsJson = False,
) -> None:
    """Show what files hold: size, voxel size, position, oddities, and whether they can be used.

    Example: distres info emd_11007_half_map_1.map.gz
    """
    from distres.methods.info import describe

    found: list[dict[str, Any]] = []
    for path in files:
        try:
            found.append(describe(path))
        except DistresError as error:
            found.append({"path": path, "usable": False, "error": str(error)})
    if as_json:
        typer.echo(json.dumps(found if len(found) > 1 else found[0], indent=2))
    else:
        from rich.console import Console

        console = Console()
        for entry in found:
            console.print(_table(entry))
    errors = [entry["error"] for entry in found if "error" in entry]
    if errors:
        raise InputError(errors[0])


def convert(
    source: Annotated[
        str, typer.Argument(metavar="IN", help="MRC (also .gz, .bz2) or OME-Zarr, path or address.")
    ],
    target: Annotated[
        str,
        typer.Argument(metavar="OUT.zarr", help="Image to make: a folder, or s3://bucket/place."),
    ],
    ngff: Annotated[
        str,
        typer.Option(
            metavar="0.4|0.5",
            help="OME-Zarr version: 0.4 for ChimeraX, copick and the CryoET portal, 0.5 sharded.",
        ),
    ] = "0.4",
    levels: Annotated[
        int | None,
        typer.Option(min=1, help="Levels of the pyramid.", show_default="3, or down to 512 voxels"),
    ] = None,
    replace_nonfinite: Annotated[
        float | None,
        typer.Option(help="Value for NaN and infinite voxels, which are refused otherwise."),
    ] = None,
    pixel_size: options.PixelSize = None,
    cluster: options.Cluster = "none",
    workers: options.Workers = None,
    memory: options.Memory = None,
    resume: options.Resume = False,
    overwrite: Overwrite = False,
    as_json: options.AsJson = False,
    log_file: options.LogFile = None,
) -> None:
    """Convert a volume of any size to an OME-Zarr image with a pyramid, tile by tile.

    Example: distres convert tomogram.mrc tomogram.zarr --cluster local --memory 2GB
    """
    from dataclasses import asdict

    from distres.cli.logs import start_logging
    from distres.engine.cluster import open_executor
    from distres.io.volume import open_volume
    from distres.methods.convert import convert as convert_volume
    from distres.methods.options import parse_memory

    start_logging(log_file)
    volume = open_volume(source, pixel_size)
    with open_executor(
        cluster, workers=workers, memory_bytes=parse_memory(memory) if memory else None
    ) as executor:
        statistics = convert_volume(
            volume,
            target,
            executor,
            ngff=ngff,
            levels=levels,
            replace_nonfinite=replace_nonfinite,
            resume=resume,
            overwrite=overwrite,
        )
    if as_json:
        typer.echo(json.dumps({"path": str(target), "statistics": asdict(statistics)}))
    else:
        typer.echo(f"wrote {target}")


def export(
    source: Annotated[
        str,
        typer.Argument(
            metavar="RUN/ARRAY|IMAGE.zarr", help="Array of a run, or an image; info lists them."
        ),
    ],
    target: Annotated[Path, typer.Argument(metavar="OUT.mrc", help="File to write.")],
    index: Annotated[
        int, typer.Option(min=0, help="Which step of the first axis (for instance a threshold).")
    ] = 0,
    level: Annotated[int, typer.Option(min=0, help="Level of an image.")] = 0,
    fill: Annotated[
        bool, typer.Option("--fill", help="Extend values past the mask, for colouring surfaces.")
    ] = False,
    background: Annotated[float, typer.Option(help="Value of undefined voxels.")] = 0.0,
    dtype: Annotated[
        str, typer.Option(metavar="float32|float16", help="Stored type (mode 2 or 12).")
    ] = "float32",
    pixel_size: options.PixelSize = None,
    overwrite: Overwrite = False,
    as_json: options.AsJson = False,
) -> None:
    """Write any array as an MRC file, with the header of the input it came from.

    Example: distres export my-run/locres locres.mrc --fill
    """
    from dataclasses import asdict

    from distres.methods.export import export_array
    from distres.methods.results import find_result

    result = find_result(source, level=level, pixel_size=pixel_size)
    extra = len(result.source.shape) - 3
    if extra and index >= result.source.shape[0]:
        raise InputError(f"{source} has {result.source.shape[0]} steps, there is no step {index}")
    statistics = export_array(
        result.source,
        result.grid,
        result.header,
        target,
        lead=(index,) if extra else (),
        background=background,
        fill=fill,
        label=f"{result.name}{' extended past the mask' if fill else ''}".strip(),
        dtype=dtype,
        overwrite=overwrite,
    )
    if as_json:
        typer.echo(json.dumps({"path": str(target), "statistics": asdict(statistics)}))
    else:
        typer.echo(f"wrote {target}")


def register(app: typer.Typer) -> None:
    """Add the commands of this file."""
    for command in (info, convert, export):
        app.command(context_settings=options.COMMAND_SETTINGS)(command)


def _table(entry: dict[str, Any]) -> "Table":
    """Lay one entry out as a table of names and values."""
    from rich.markup import escape
    from rich.table import Table

    table = Table(
        show_header=False,
        title=escape(str(entry["path"])),
        title_justify="left",
        caption="triples are x, y, z unless they say zyx",
        caption_justify="left",
    )
    table.add_column(style="bold")
    table.add_column(overflow="fold")
    for key, value in entry.items():
        if key == "path" or value in ([], {}, None):
            continue
        table.add_row(key.replace("_", " "), escape(_text(value)))
    return table


def _text(value: Any) -> str:  # noqa: ANN401
    """Write a JSON value for people."""
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, float):
        return f"{value:.6g}"
    if isinstance(value, dict):
        inner = [f"{key}: {_text(entry)}" for key, entry in value.items()]
        return ("\n" if any(isinstance(v, dict) for v in value.values()) else ", ").join(inner)
    if isinstance(value, list):
        return ("\n" if any(isinstance(v, str) for v in value) else ", ").join(map(_text, value))
    return str(value)
