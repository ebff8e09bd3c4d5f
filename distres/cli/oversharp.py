"""The command `distres oversharp`."""

import json
from enum import StrEnum
from typing import Annotated

import typer

from distres.cli import deepres as network
from distres.cli import options as shared
from distres.cli.show import show_estimate

_PANEL = "Scan"

EPILOG = (
    "Examples: [bold]distres oversharp postprocess.mrc half1_unfil.mrc half2_unfil.mrc[/bold] · "
    "[bold]distres oversharp map.mrc half1.mrc -m mask.mrc --b-range -150 0 --low-pass 3[/bold]"
)


class Snr(StrEnum):
    """Methods that compare signal with noise."""

    localfsc = "localfsc"
    monores = "monores"


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command(name="oversharp", context_settings=shared.COMMAND_SETTINGS, epilog=EPILOG)(
        oversharp
    )


def oversharp(
    context: typer.Context,
    density: Annotated[
        str, typer.Argument(metavar="MAP", help="The map in question, sharpened or not.")
    ],
    half1: shared.Half1,
    half2: shared.Half2 = None,
    mask: shared.Mask = None,
    output: shared.Output = None,
    store: shared.Store = None,
    pixel_size: shared.PixelSize = None,
    b_range: Annotated[
        tuple[float, float],
        typer.Option(
            metavar="B B",
            help="B-factors tried, in square angstrom and any order; negative ones sharpen.",
            rich_help_panel=_PANEL,
        ),
    ] = (-200.0, 100.0),
    b_step: Annotated[
        float, typer.Option(help="Distance of the B-factors tried.", rich_help_panel=_PANEL)
    ] = 25.0,
    low_pass: Annotated[
        float | None,
        typer.Option(
            metavar="ANGSTROM",
            help="Where the sharpened spectrum ends: by default where the halves' global FSC falls "
            "to 0.143, with 0 at two voxels.",
            rich_help_panel=_PANEL,
        ),
    ] = None,
    snr: Annotated[
        Snr,
        typer.Option(
            help="What says how fine the halves are: local FSC or MonoRes.",
            rich_help_panel=_PANEL,
        ),
    ] = Snr.localfsc,
    threshold: Annotated[
        float, typer.Option(help="FSC threshold of the local FSC.", rich_help_panel=_PANEL)
    ] = 0.5,
    percent: Annotated[
        float, typer.Option(help="Percentile that is compared.", rich_help_panel=_PANEL)
    ] = 20.0,
    samples: Annotated[
        int,
        typer.Option(
            help="About how many places of the mask DeepRes looks at under each B-factor.",
            rich_help_panel=_PANEL,
        ),
    ] = 8000,
    model: network.Model = network.ModelName.auto,
    weights: network.Weights = None,
    precision: network.PrecisionOption = network.Precision.auto,
    cluster: shared.Cluster = "local",
    workers: shared.Workers = None,
    memory: shared.Memory = None,
    tile: shared.TileEdge = None,
    device: shared.Device = "auto",
    resume: shared.Resume = False,
    overwrite: shared.Overwrite = False,
    dry_run: shared.DryRun = False,
    pictures: Annotated[bool, typer.Option(help="Draw the curve.")] = True,
    as_json: shared.AsJson = False,
    log_file: shared.LogFile = None,
    config: shared.Config = None,
    write_config: shared.WriteConfig = None,
) -> None:
    """Tell whether a map is sharpened further than its half maps support, and what would be right.

    DeepRes sees sharpening, methods on half maps do not: the B-factor is right under which the
    20 % percentiles of both coincide. Writes the curve and the map under that B-factor.
    """
    shared.save_config(context)
    from distres.cli.logs import start_logging
    from distres.methods import oversharp_run
    from distres.methods.deepres_plan import DeepResParameters
    from distres.methods.oversharp import OversharpParameters

    start_logging(log_file)
    low, high = sorted(b_range)
    parameters = OversharpParameters(
        b_from=high,
        b_to=low,
        b_step=b_step,
        low_pass_angstrom=low_pass,
        snr=snr.value,
        threshold=threshold,
        percent=percent,
        samples=samples,
    )
    chosen = DeepResParameters(
        model=model.value, weights=weights, precision=precision.value, device=device
    )
    asked = (density, half1, half2, parameters, chosen, shared.run_options(context))
    if dry_run:
        show_estimate(oversharp_run.dry_run(*asked), as_json=as_json)
        return
    done = oversharp_run.compute_oversharp(*asked)
    found, drawn = done.record["oversharp"], []
    if pictures:
        from distres.report.oversharpplot import write_pictures

        stem = done.record["outputs"]["curve"].removesuffix("_curve.csv")
        drawn = write_pictures(done.directory, stem, found)
    if as_json:
        summary = done.summary() | {"pictures": [str(path) for path in drawn]}
        typer.echo(json.dumps(summary, indent=2))
        return
    for warning in done.record["warnings"]:
        typer.echo(f"warning: {warning}", err=True)
    typer.echo(found["verdict"])
    typer.echo(f"results in {done.directory}:")
    for role, name in done.record["outputs"].items():
        typer.echo(f"  {role}: {name}")
    for path in drawn:
        typer.echo(f"  picture: {path.name}")
