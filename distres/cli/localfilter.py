"""The command `distres filter`."""

import json
from enum import StrEnum
from typing import Annotated

import typer

from distres.cli import options as shared

_PANEL = "Filter"

EPILOG = (
    "Examples: [bold]distres filter map.mrc --locres run/map_localfsc_locres.mrc[/bold] · "
    "[bold]distres filter map.mrc --locres relion_locres.mrc --sharpen -80[/bold]"
)


class Unit(StrEnum):
    """What a resolution map may hold."""

    angstrom = "angstrom"
    per_pixel = "per-pixel"


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command(name="filter", context_settings=shared.COMMAND_SETTINGS, epilog=EPILOG)(
        local_filter
    )


def local_filter(
    context: typer.Context,
    density: Annotated[str, typer.Argument(metavar="MAP", help="Map to filter (MRC or OME-Zarr).")],
    locres: Annotated[
        str,
        typer.Option(help="Local resolution on the same grid, of this program or another."),
    ],
    output: shared.Output = None,
    store: shared.Store = None,
    pixel_size: shared.PixelSize = None,
    sharpen: Annotated[
        float,
        typer.Option(
            metavar="B",
            help="B-factor applied first, in square angstrom; negative values sharpen.",
            rich_help_panel=_PANEL,
        ),
    ] = 0.0,
    edge: Annotated[
        float,
        typer.Option(help="Width of a filter's edge, in cutoffs.", rich_help_panel=_PANEL),
    ] = 0.3,
    unit: Annotated[
        Unit | None,
        typer.Option(
            help="What the resolution map holds; recognised when not given.",
            rich_help_panel=_PANEL,
        ),
    ] = None,
    empty: Annotated[
        list[float] | None,
        typer.Option(
            help="Value that means no resolution (0 and NaN always do); repeat for several. "
            "100, 200 and filled backgrounds are recognised when it is not given.",
            rich_help_panel=_PANEL,
        ),
    ] = None,
    cluster: shared.Cluster = "local",
    workers: shared.Workers = None,
    memory: shared.Memory = None,
    tile: shared.TileEdge = None,
    device: shared.Device = "auto",
    resume: shared.Resume = False,
    overwrite: shared.Overwrite = False,
    as_json: shared.AsJson = False,
    log_file: shared.LogFile = None,
    config: shared.Config = None,
    write_config: shared.WriteConfig = None,
) -> None:
    """Low-pass a map at every voxel to the resolution it has there.

    Voxels without a resolution get the coarsest filter.
    """
    shared.save_config(context)
    from distres.cli.logs import start_logging
    from distres.methods.localfilter import FilterParameters
    from distres.methods.localfilter_run import compute_filter

    start_logging(log_file)
    chosen = FilterParameters(
        b_factor_angstrom2=sharpen,
        edge=edge,
        empty=None if empty is None else tuple(empty),
        per_pixel=None if unit is None else unit is Unit.per_pixel,
        device=device,
    )
    done = compute_filter(density, locres, chosen, shared.run_options(context))
    if as_json:
        typer.echo(json.dumps(done.summary(), indent=2))
        return
    for warning in done.record["warnings"]:
        typer.echo(f"warning: {warning}", err=True)
    typer.echo(f"filtered map: {done.path}")
