"""The command `distres monores`."""

from typing import Annotated

import typer

from distres.cli import options as shared
from distres.cli.show import show_run

_PANEL = "MonoRes"

EPILOG = (
    "Examples: [bold]distres monores run_half1_class001_unfil.mrc[/bold] · "
    "[bold]distres monores map.mrc --single -m mask.mrc --resolution-range 3 15 --step 0.5[/bold]"
)

Map = Annotated[
    str,
    typer.Argument(
        metavar="MAP|HALF1",
        help="Half map 1, or a map. The other half is found by name when there is one.",
    ),
]


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command(name="monores", context_settings=shared.COMMAND_SETTINGS, epilog=EPILOG)(monores)


def monores(
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
    confidence: Annotated[
        float,
        typer.Option(
            "--confidence",
            help="1 minus the share of noise voxels that may get a resolution, over all tests.",
            rich_help_panel=_PANEL,
        ),
    ] = 0.95,
    local_noise: Annotated[
        bool,
        typer.Option(
            "--local-noise",
            help="Compare with the noise near each voxel, for maps whose noise varies in space.",
            rich_help_panel=_PANEL,
        ),
    ] = False,
    noise_region: Annotated[
        str | None,
        typer.Option(
            help="Mask of the voxels to measure noise in; by default the mask itself for half "
            "maps, the solvent around it for a single map.",
            rich_help_panel=_PANEL,
        ),
    ] = None,
    compat: Annotated[
        str | None,
        typer.Option(
            metavar="xmipp",
            help="Compute as Xmipp's program does, for comparison (whole volume in memory).",
            rich_help_panel=_PANEL,
        ),
    ] = None,
    noise_in_mask: Annotated[
        bool,
        typer.Option(
            help="With --compat and half maps: take noise inside the mask alone.",
            rich_help_panel=_PANEL,
        ),
    ] = True,
    cluster: shared.Cluster = "local",
    workers: shared.Workers = None,
    memory: shared.Memory = None,
    tile: shared.TileEdge = None,
    device: shared.Device = "auto",
    resume: shared.Resume = False,
    overwrite: shared.Overwrite = False,
    dry_run: shared.Rehearsed = False,
    pictures: Annotated[
        bool, typer.Option(help="Draw histogram, slices, viewer scripts and report.")
    ] = True,
    as_json: shared.AsJson = False,
    log_file: shared.LogFile = None,
    config: shared.Config = None,
    write_config: shared.WriteConfig = None,
) -> None:
    """Measure where the map's waves rise above its noise: MonoRes, from half maps or one map.

    For each resolution the amplitude of the waves in one octave is compared with that of the
    noise, and a voxel keeps the finest resolution it passed before failing twice in a row.
    """
    shared.save_config(context)
    from distres.cli.logs import start_logging
    from distres.methods.monores_plan import MonoResParameters
    from distres.methods.monores_run import compute_monores
    from distres.methods.options import ends_of

    start_logging(log_file)
    fine, coarse = ends_of(resolution_range)
    chosen = MonoResParameters(
        confidence=confidence,
        finest_angstrom=fine,
        coarsest_angstrom=coarse,
        step_angstrom=step,
        local_noise=local_noise,
        noise_region=noise_region,
        compat=compat,
        noise_in_mask=noise_in_mask,
        device=device,
    )
    options = shared.run_options(context)
    done = compute_monores(map_or_half1, half2, chosen, options, single=single)
    show_run(done, pictures=pictures, as_json=as_json)
