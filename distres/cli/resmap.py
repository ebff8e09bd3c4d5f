"""The command `distres resmap`."""

from enum import StrEnum
from typing import Annotated

import typer

from distres.cli import options as shared
from distres.cli.show import show_run

_PANEL = "ResMap"

EPILOG = (
    "Examples: [bold]distres resmap half1.mrc half2.mrc -m mask.mrc[/bold] · "
    "[bold]distres resmap emd_11007.map --single --resolution-range 3 20[/bold]"
)


class Compat(StrEnum):
    """Programs whose rules can be followed."""

    resmap = "resmap"


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command(name="resmap", context_settings=shared.COMMAND_SETTINGS, epilog=EPILOG)(resmap)


def resmap(
    context: typer.Context,
    half1: shared.Half1,
    half2: shared.Half2 = None,
    mask: shared.Mask = None,
    output: shared.Output = None,
    store: shared.Store = None,
    pixel_size: shared.PixelSize = None,
    symmetry: shared.Symmetry = "C1",
    single: Annotated[
        bool,
        typer.Option("--single", help="Take HALF1 as a single map.", rich_help_panel=_PANEL),
    ] = False,
    resolution_range: shared.ResolutionRange = None,
    step: Annotated[
        float | None,
        typer.Option(
            help="Distance of the wavelengths tested, in angstrom; by default they lie 15 % apart.",
            rich_help_panel=_PANEL,
        ),
    ] = None,
    rate: Annotated[
        float,
        typer.Option(
            help="Share of false discoveries among the voxels found at a wavelength.",
            rich_help_panel=_PANEL,
        ),
    ] = 0.05,
    whiten: Annotated[
        float,
        typer.Option(help="Strength of whitening, 0 to 1.", rich_help_panel=_PANEL),
    ] = 1.0,
    elbow: Annotated[
        float | None,
        typer.Option(
            help="The noise spectrum is fitted beyond this resolution, in angstrom; by default 10.",
            rich_help_panel=_PANEL,
        ),
    ] = None,
    local_noise: Annotated[
        bool,
        typer.Option(
            help="Let the noise variance change over the volume (half maps only).",
            rich_help_panel=_PANEL,
        ),
    ] = True,
    compat: Annotated[
        Compat | None,
        typer.Option(
            help="Follow the released program: narrow window, steps of 1 A, one noise variance.",
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
    dry_run: shared.Rehearsed = False,
    pictures: Annotated[
        bool, typer.Option(help="Draw histogram, slices, viewer scripts and report.")
    ] = True,
    as_json: shared.AsJson = False,
    log_file: shared.LogFile = None,
    config: shared.Config = None,
    write_config: shared.WriteConfig = None,
) -> None:
    """Find the finest wavelength at which a local sinusoid stands out from noise.

    The statistic of Kucukelbir, Sigworth and Tagare, in a form that costs the same at every
    wavelength, with false discoveries held over the whole volume.
    """
    shared.save_config(context)
    from distres.cli.logs import start_logging
    from distres.methods.options import ends_of
    from distres.methods.resmap_plan import ResmapParameters
    from distres.methods.resmap_run import compute_resmap

    start_logging(log_file)
    fine, coarse = ends_of(resolution_range)
    chosen = ResmapParameters(
        finest_angstrom=fine,
        coarsest_angstrom=coarse,
        step_angstrom=step,
        rate=rate,
        whiten=whiten,
        elbow_angstrom=elbow,
        local_noise=local_noise,
        compat=None if compat is None else compat.value,
        device=device,
    )
    done = compute_resmap(half1, half2, chosen, shared.run_options(context), single=single)
    if pictures:
        from distres.report.noiseplot import write_picture

        stem = done.record["outputs"]["locres"].removesuffix("_locres.mrc")
        write_picture(done.directory, stem, done.record)
    show_run(done, pictures=pictures, as_json=as_json)
