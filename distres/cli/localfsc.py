"""The command `distres localfsc`."""

import math
from typing import Annotated, Any

import typer

from distres.cli import options as shared
from distres.cli.show import show_run

_PANEL = "Local FSC"

EPILOG = (
    "Examples: [bold]distres localfsc run_half1_class001_unfil.mrc[/bold] · "
    "[bold]distres localfsc half1.mrc half2.mrc -m mask.mrc --threshold 0.143 --memory 4GB[/bold]"
)


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command(name="localfsc", context_settings=shared.COMMAND_SETTINGS, epilog=EPILOG)(localfsc)


def localfsc(
    context: typer.Context,
    half1: shared.Half1,
    half2: shared.Half2 = None,
    mask: shared.Mask = None,
    output: shared.Output = None,
    store: shared.Store = None,
    pixel_size: shared.PixelSize = None,
    symmetry: shared.Symmetry = "C1",
    threshold: shared.Thresholds = None,
    resolution_range: shared.ResolutionRange = None,
    step: Annotated[
        float | None,
        typer.Option(
            help="Spacing of the bands at the fine end of the range, in angstrom; resolutions are "
            "interpolated between bands. By default there are four bands an octave.",
            rich_help_panel=_PANEL,
        ),
    ] = None,
    window: Annotated[
        float,
        typer.Option(
            help="Width of the window in wavelengths: the distance over which the answer can "
            "change. Wider is steadier and blurs more.",
            rich_help_panel=_PANEL,
        ),
    ] = 1.75,
    significance: Annotated[
        float,
        typer.Option(
            help="Probability with which noise alone may pass the threshold in force.",
            rich_help_panel=_PANEL,
        ),
    ] = 0.02,
    filtered: Annotated[
        bool,
        typer.Option(
            "--filtered",
            help="Also write the mean of the halves, low-passed at the local resolution.",
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
        bool, typer.Option(help="Draw histogram, slices, viewer scripts and report.")
    ] = True,
    as_json: shared.AsJson = False,
    log_file: shared.LogFile = None,
    config: shared.Config = None,
    write_config: shared.WriteConfig = None,
) -> None:
    """Measure the local resolution at every voxel: filter first, window second.

    Both half maps are cut into bands; in each band their correlation is measured in a window that
    grows with the wavelength, and the resolution is where it falls below the threshold for good.
    """
    shared.save_config(context)
    from distres.cli.logs import start_logging
    from distres.methods import localfsc_run
    from distres.methods.localfsc_plan import LocalFscParameters
    from distres.methods.options import ends_of

    start_logging(log_file)
    fine, coarse = ends_of(resolution_range)
    chosen = LocalFscParameters(
        thresholds=tuple(threshold or (0.5, 0.143)),
        finest_angstrom=fine,
        coarsest_angstrom=coarse,
        window_wavelengths=window,
        significance=significance,
        device=device,
        **_bands(step, fine),
    )
    options = shared.run_options(context)
    done = localfsc_run.compute_localfsc(half1, half2, chosen, options, filtered=filtered)
    show_run(done, pictures=pictures, as_json=as_json)


def _bands(step: float | None, fine: float | None) -> dict[str, Any]:
    """Turn a spacing at the fine end into bands per octave."""
    from distres.errors import UsageError

    if step is None:
        return {}
    if fine is None:
        raise UsageError("--step counts from the fine end; give --resolution-range too")
    if not step > 0:
        raise UsageError(f"the step must be positive, not {step} angstrom")
    return {"bands_per_octave": min(max(round(math.log(2) / math.log1p(step / fine)), 3), 24)}
