"""Options that every method shares, declared once."""

import sys
import tomllib
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from distres.cli import estimate
from distres.errors import InputError, UsageError

if TYPE_CHECKING:
    from distres.methods.options import RunOptions

# What users of other packages type by habit; never shown in the help.
ALIASES = {
    "angpix": "pixel-size",
    "apix": "pixel-size",
    "sampling": "pixel-size",
    "sampling-rate": "pixel-size",
    "voxel-size-angstrom": "pixel-size",
    "sym": "symmetry",
    "pg": "symmetry",
    "cutoff": "threshold",
    "gpu": "device",
}
COMMAND_SETTINGS = {"token_normalize_func": lambda token: ALIASES.get(token, token)}

_INPUT = "Inputs"
_RUN = "Run"
_PLACE = "Where it runs"


def _load_config(context: typer.Context, value: Path | None) -> Path | None:
    """Make a TOML file the command's defaults; what is typed still wins."""
    if value is None:
        return None
    try:
        table = tomllib.loads(value.read_text())
    except (OSError, tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise InputError(f"the configuration {value} cannot be read: {error}") from error
    names = {parameter.name for parameter in context.command.params}
    table = {key.replace("-", "_"): entry for key, entry in table.items()}
    for key in table.keys() - names:
        raise UsageError(f"{value} sets '{key}', which {context.info_name} does not know")
    context.default_map = {**(context.default_map or {}), **table}
    return value


def _write_config(context: typer.Context, value: Path | None) -> Path | None:
    """Remember where to write; `save_config` writes once everything is parsed."""
    return value


Half1 = Annotated[
    str, typer.Argument(metavar="HALF1", help="Half map 1 (MRC or OME-Zarr, path or address).")
]
Half2 = Annotated[
    str | None,
    typer.Argument(metavar="[HALF2]", help="Half map 2; found by name when not given."),
]
Mask = Annotated[
    str | None,
    typer.Option("--mask", "-m", help="Mask in [0, 1]; made when absent.", rich_help_panel=_INPUT),
]
PixelSize = Annotated[
    float | None,
    typer.Option(help="Voxel size in angstrom, instead of the header's.", rich_help_panel=_INPUT),
]
Output = Annotated[
    Path | None,
    typer.Option("--output", "-o", help="Run directory.", rich_help_panel=_RUN),
]
Store = Annotated[
    str | None,
    typer.Option(
        metavar="s3://...",
        help="Keep the run's arrays in an object store; ledger, record and maps stay in --output.",
        rich_help_panel=_RUN,
    ),
]
Thresholds = Annotated[
    list[float] | None,
    typer.Option(
        "--threshold", help="FSC threshold; repeat for several.", show_default="0.5 0.143"
    ),
]
ResolutionRange = Annotated[
    tuple[float, float] | None,
    typer.Option(metavar="HIGH LOW", help="Resolutions to test, in angstrom, in any order."),
]
Step = Annotated[float | None, typer.Option(help="Step of the resolutions tested, in angstrom.")]
Cluster = Annotated[
    str,
    typer.Option(
        metavar="none|local|slurm|kubernetes|tcp://...|FILE",
        help="Where tiles are computed: in this process, on local workers, on a site's cluster, on "
        "a Dask scheduler, or as a profile file says.",
        rich_help_panel=_PLACE,
    ),
]
Workers = Annotated[
    int | None,
    typer.Option("--workers", "-j", help="Worker processes.", rich_help_panel=_PLACE),
]
Memory = Annotated[
    str | None,
    typer.Option(
        metavar="SIZE", help="Memory of one worker, for instance 4GB.", rich_help_panel=_PLACE
    ),
]
TileEdge = Annotated[
    int | None,
    typer.Option("--tile", help="Tile core edge in voxels.", rich_help_panel=_PLACE),
]
Device = Annotated[
    str,
    typer.Option(metavar="auto|cpu|cuda", help="Where kernels run.", rich_help_panel=_PLACE),
]
Symmetry = Annotated[
    str,
    typer.Option(
        metavar="C1|Cn|Dn|T|O|I",
        help="Point group of the particle: one asymmetric unit is solved and copied, once the maps "
        "were found to obey it. T1, T2, I1 and I2 name a setting.",
        rich_help_panel=_INPUT,
    ),
]
Resume = Annotated[
    bool, typer.Option("--resume", help="Go on with an interrupted run.", rich_help_panel=_RUN)
]
Overwrite = Annotated[
    bool, typer.Option("--overwrite", help="Replace an existing run.", rich_help_panel=_RUN)
]
DryRun = Annotated[
    bool,
    typer.Option(
        "--dry-run",
        help="Show tiles, memory, disk and time (from three tiles), and stop.",
        rich_help_panel=_RUN,
    ),
]
# The same for commands that are their own plan, see `distres.cli.estimate`.
Rehearsed = Annotated[
    bool,
    typer.Option(
        "--dry-run",
        callback=estimate.start,
        help="Compute a few tiles of every pass, show what the run would take (tiles, memory, "
        "disk, time), and stop.",
        rich_help_panel=_RUN,
    ),
]
AsJson = Annotated[
    bool, typer.Option("--json", help="Print the summary as JSON.", rich_help_panel=_RUN)
]
LogFile = Annotated[
    Path | None, typer.Option(help="Write the log to a file too.", rich_help_panel=_RUN)
]
Config = Annotated[
    Path | None,
    typer.Option(
        callback=_load_config,
        is_eager=True,
        help="TOML file with any of these options.",
        rich_help_panel=_RUN,
    ),
]
WriteConfig = Annotated[
    Path | None,
    typer.Option(help="Write the options as TOML and stop.", rich_help_panel=_RUN),
]


def save_config(context: typer.Context) -> None:
    """Write the command's options to the file of ``--write-config`` and stop, if it was given."""
    path: Path | None = context.params.get("write_config")
    if path is None:
        return
    if path.exists():
        raise InputError(f"{path} exists; --write-config does not replace files")
    skipped = {"write_config", "config"}
    lines = [
        f"{name.replace('_', '-')} = {_toml(value)}"
        for name, value in context.params.items()
        if name not in skipped and value is not None and value is not False
    ]
    path.write_text("\n".join(lines) + "\n")
    typer.echo(f"wrote {path}")
    raise typer.Exit


def _toml(value: object) -> str:
    # JSON's strings, numbers, booleans and lists are TOML's too.
    import json

    if isinstance(value, Path):
        value = str(value)
    return json.dumps(list(value) if isinstance(value, tuple) else value)


def run_options(context: typer.Context, *, finds_mask: bool = True) -> "RunOptions":
    """Collect the shared options of a command; `finds_mask` if it makes a mask without one."""
    from distres.methods.options import RunOptions, parse_memory

    given = context.params
    memory = given.get("memory")
    options = RunOptions(
        output=given.get("output"),
        store=given.get("store"),
        pixel_size_angstrom=given.get("pixel_size"),
        mask=given.get("mask"),
        cluster=given.get("cluster") or "none",
        workers=given.get("workers"),
        memory_bytes=parse_memory(memory) if memory else None,
        tile_vox=given.get("tile"),
        device=given.get("device") or "auto",
        symmetry=given.get("symmetry") or "C1",
        resume=bool(given.get("resume")),
        overwrite=bool(given.get("overwrite")),
        dry_run=bool(given.get("dry_run")),
        argv=tuple(sys.argv),
    )
    return estimate.aside(context, options, finds_mask=finds_mask)
