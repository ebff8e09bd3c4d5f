"""The command `distres deblur`."""

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from distres.cli import options as shared
from distres.cli.show import show_estimate

if TYPE_CHECKING:
    from distres.methods.deblur_result import DeblurRun

_PANEL = "LocalDeblur"

EPILOG = (
    "Examples: [bold]distres deblur map.mrc --locres monoresResolutionMap.mrc -m mask.mrc[/bold] · "
    "[bold]distres deblur run_half1_class001_unfil.mrc --method localfsc[/bold]"
)


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command(name="deblur", context_settings=shared.COMMAND_SETTINGS, epilog=EPILOG)(deblur)


def deblur(
    context: typer.Context,
    first: Annotated[
        str, typer.Argument(metavar="MAP|HALF1", help="Unfiltered map, or half map 1.")
    ],
    second: Annotated[
        str | None,
        typer.Argument(metavar="[HALF2]", help="Half map 2; found by name when not given."),
    ] = None,
    locres: Annotated[
        str | None,
        typer.Option(
            metavar="MAP|RUN",
            help="Resolution map of any program, or the directory of a finished run.",
            rich_help_panel="Inputs",
        ),
    ] = None,
    method: Annotated[
        str | None,
        typer.Option(
            metavar="localfsc|monores",
            help="Measure the local resolution of the half maps first.",
            rich_help_panel="Inputs",
        ),
    ] = None,
    threshold: Annotated[
        float, typer.Option(help="FSC threshold of --method localfsc.", rich_help_panel="Inputs")
    ] = 0.143,
    structure: Annotated[
        Path | None,
        typer.Option(
            metavar="PDB|CIF",
            help="Atomic model whose Guinier profile is drawn beside the map's.",
            rich_help_panel="Inputs",
        ),
    ] = None,
    mask: shared.Mask = None,
    output: shared.Output = None,
    store: shared.Store = None,
    pixel_size: shared.PixelSize = None,
    compat: Annotated[
        str | None,
        typer.Option(
            metavar="xmipp",
            help="Iterate as Xmipp's program does: its bands, no SNR, a floor.",
            rich_help_panel=_PANEL,
        ),
    ] = None,
    model: Annotated[
        str,
        typer.Option(
            metavar="paper|blur",
            help="paper: bands around the local resolution, as published. blur: undo a Gaussian "
            "blur that grows with the local resolution.",
            rich_help_panel=_PANEL,
        ),
    ] = "paper",
    amplitude: Annotated[
        float,
        typer.Option(
            help="What the blur of --model blur leaves at the local resolution: smaller sharpens "
            "more.",
            rich_help_panel=_PANEL,
        ),
    ] = 0.1,
    k: Annotated[
        float | None,
        typer.Option(
            "-K",
            "--weight-k",
            help="K of the weights exp(-K (R - Ri)^2): larger is more local.",
            show_default="0.025, or 0.01 where the median resolution is worse than 6 A",
            rich_help_panel=_PANEL,
        ),
    ] = None,
    iterations: Annotated[
        int, typer.Option(help="At most so many iterations.", rich_help_panel=_PANEL)
    ] = 50,
    change: Annotated[
        float,
        typer.Option(
            help="Stop when an iteration changes the map by less than this part.",
            rich_help_panel=_PANEL,
        ),
    ] = 0.01,
    snr: Annotated[
        float | None,
        typer.Option(
            help="Signal-to-noise ratio, instead of measuring it inside and outside the mask; with "
            "--model blur that at the local resolution (default 1/3, an FSC of 0.143).",
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
    dry_run: shared.DryRun = False,
    pictures: Annotated[
        bool, typer.Option(help="Draw Guinier and convergence plots and the viewer script.")
    ] = True,
    as_json: shared.AsJson = False,
    log_file: shared.LogFile = None,
    config: shared.Config = None,
    write_config: shared.WriteConfig = None,
) -> None:
    """Sharpen a map locally, guided by its local resolution (LocalDeblur).

    Give an unfiltered, unsharpened map. At every voxel the frequencies near its local resolution
    are raised; what lies beyond it is left alone.
    """
    shared.save_config(context)
    from distres.cli.logs import start_logging
    from distres.errors import UsageError
    from distres.methods import deblur_run
    from distres.methods.deblur_plan import DeblurParameters

    start_logging(log_file)
    if model not in ("paper", "blur"):
        raise UsageError(f"--model {model} is unknown; use paper or blur")
    if compat not in (None, "xmipp"):
        raise UsageError(f"--compat {compat} is unknown; the only one is xmipp")
    if (locres is None) == (method is None):
        raise UsageError("give --locres with a map, or --method with two half maps; exactly one")
    if locres is not None and second is not None:
        raise UsageError("--locres goes with one map; two were given")
    chosen = DeblurParameters(
        model=compat or model,
        k_per_square_angstrom=k,
        iterations=iterations,
        change=change,
        snr=snr,
        amplitude=amplitude,
        device=device,
    )
    options = shared.run_options(context)
    if dry_run:
        if locres is None:
            raise UsageError(
                "a dry run needs a resolution map: give --locres, or dry-run the method that makes "
                "it"
            )
        from distres.methods import deblur_trial

        show_estimate(deblur_trial.dry_run(first, locres, chosen, options), as_json=as_json)
        return
    if locres is not None:
        done = deblur_run.deblur_map(first, locres, chosen, options, structure=structure)
    else:
        done = deblur_run.deblur_halves(
            first,
            second,
            str(method),
            chosen,
            options,
            threshold=threshold,
            structure=structure,
        )
    drawn = _draw(done) if pictures else []
    if as_json:
        typer.echo(json.dumps(done.summary() | {"pictures": list(map(str, drawn))}, indent=2))
    else:
        _show(done, drawn)


def _draw(done: "DeblurRun") -> list[Path]:
    from distres.report.guinier import draw_deblur

    return draw_deblur(done.directory)


def _show(done: "DeblurRun", drawn: list[Path]) -> None:
    numbers = done.record["statistics"]
    state = "converged" if numbers["converged"] else "stopped"
    typer.echo(
        f"deblur: {state} after {numbers['iterations']} iterations, last change "
        f"{100 * numbers['change']:.2f} %"
    )
    before, after = numbers["b_factor_before"], numbers["b_factor_after"]
    if before is not None and after is not None:
        typer.echo(f"  B-factor of the Guinier fit: {before:.0f} before, {after:.0f} after (A^2)")
    for warning in done.record["warnings"]:
        typer.echo(f"warning: {warning}")
    typer.echo(f"results in {done.directory}:")
    for name, path in done.record["outputs"].items():
        typer.echo(f"  {name}: {path}")
    for path in drawn:
        typer.echo(f"  picture: {path.name}")
