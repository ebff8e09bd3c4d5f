"""The command `distres monodir`."""

from typing import Annotated

import typer

from distres.cli import options as shared
from distres.cli.monores import Map
from distres.cli.show import show_run

_PANEL = "MonoDir"

EPILOG = (
    "Examples: [bold]distres monodir run_half1_class001_unfil.mrc -m mask.mrc[/bold] · "
    "[bold]distres monodir map.mrc --single --directions 46 --resolution-range 3 15[/bold]"
)


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command(name="monodir", context_settings=shared.COMMAND_SETTINGS, epilog=EPILOG)(monodir)


def monodir(
    context: typer.Context,
    map_or_half1: Map,
    half2: shared.Half2 = None,
    single: Annotated[
        bool,
        typer.Option("--single", help="Use the one map given even if its name leads to a half."),
    ] = False,
    mask: shared.Mask = None,
    output: shared.Output = None,
    store: shared.Store = None,
    pixel_size: shared.PixelSize = None,
    symmetry: shared.Symmetry = "C1",
    resolution_range: shared.ResolutionRange = None,
    step: shared.Step = None,
    directions: Annotated[
        int,
        typer.Option(metavar="46|81|321", help="Directions tested.", rich_help_panel=_PANEL),
    ] = 81,
    cone: Annotated[
        float,
        typer.Option(
            metavar="DEGREES",
            help="Half-angle of the cone of waves around a direction.",
            rich_help_panel=_PANEL,
        ),
    ] = 15.0,
    confidence: Annotated[
        float,
        typer.Option(
            "--confidence",
            help="1 minus the share of noise voxels that may get a resolution in a direction, over "
            "all tests.",
            rich_help_panel=_PANEL,
        ),
    ] = 0.95,
    noise_region: Annotated[
        str | None,
        typer.Option(
            help="Mask of the voxels to measure noise in; by default the mask itself for half "
            "maps, the solvent around it for a single map.",
            rich_help_panel=_PANEL,
        ),
    ] = None,
    keep_directions: Annotated[
        bool,
        typer.Option(
            "--keep-directions",
            help="Store the resolution in every direction, at every second voxel.",
            rich_help_panel=_PANEL,
        ),
    ] = False,
    cluster: shared.Cluster = "local",
    workers: shared.Workers = None,
    memory: shared.Memory = None,
    tile: shared.TileEdge = None,
    device: shared.Device = "auto",
    resume: shared.Resume = False,
    overwrite: shared.Overwrite = False,
    dry_run: shared.Rehearsed = False,
    pictures: Annotated[
        bool, typer.Option(help="Draw plots, slices, viewer scripts and report.")
    ] = True,
    as_json: shared.AsJson = False,
    log_file: shared.LogFile = None,
    config: shared.Config = None,
    write_config: shared.WriteConfig = None,
) -> None:
    """Measure local resolution by direction: MonoDir, from half maps or one map.

    Maps of the highest, lowest and mean directional resolution, of anisotropy, and of resolution
    along the radius and across it; which directions are preferred; how resolution changes with the
    distance from the centre, which shows errors of alignment.
    """
    shared.save_config(context)
    from distres.cli.logs import start_logging
    from distres.methods.monodir_plan import MonoDirParameters
    from distres.methods.monodir_run import compute_monodir
    from distres.methods.options import ends_of

    start_logging(log_file)
    fine, coarse = ends_of(resolution_range)
    chosen = MonoDirParameters(
        directions=directions,
        cone_degrees=cone,
        confidence=confidence,
        finest_angstrom=fine,
        coarsest_angstrom=coarse,
        step_angstrom=step,
        noise_region=noise_region,
        keep_directions=keep_directions,
        device=device,
    )
    options = shared.run_options(context)
    done = compute_monodir(map_or_half1, half2, chosen, options, single=single)
    show_run(done, pictures=pictures, as_json=as_json)
