"""The command `distres fsc`."""

import json
from typing import TYPE_CHECKING, Annotated, Any

import typer

from distres.cli import options as shared

if TYPE_CHECKING:
    from pathlib import Path

    from distres.methods.fsc import FscResult

_PANEL = "FSC"
_DIRECTIONS = "Directions"

EPILOG = (
    "Examples: [bold]distres fsc run_half1_class001_unfil.mrc -m mask.mrc[/bold] · "
    "[bold]distres fsc half1.mrc half2.mrc --threshold 0.143 --threshold 0.3 --json[/bold]"
)


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command(name="fsc", context_settings=shared.COMMAND_SETTINGS, epilog=EPILOG)(fsc)


def fsc(
    context: typer.Context,
    half1: shared.Half1,
    half2: shared.Half2 = None,
    mask: Annotated[
        str | None,
        typer.Option(
            "--mask",
            "-m",
            help="Soft mask in [0, 1]; without one only the unmasked FSC is computed.",
            rich_help_panel="Inputs",
        ),
    ] = None,
    output: shared.Output = None,
    store: shared.Store = None,
    pixel_size: shared.PixelSize = None,
    threshold: Annotated[
        list[float] | None,
        typer.Option(
            help="Correlation at which a resolution is reported; repeat for several, the first is "
            "the headline.",
            show_default="0.143 0.5",
            rich_help_panel=_PANEL,
        ),
    ] = None,
    randomise_from: Annotated[
        float | None,
        typer.Option(
            help="Randomise phases beyond this resolution in angstrom; by default from where the "
            "unmasked FSC falls below 0.8.",
            rich_help_panel=_PANEL,
        ),
    ] = None,
    repeats: Annotated[
        int, typer.Option(help="Phase randomisations that are averaged.", rich_help_panel=_PANEL)
    ] = 3,
    seed: Annotated[int, typer.Option(help="Seed of the phases.", rich_help_panel=_PANEL)] = 1,
    sigma: Annotated[
        float, typer.Option(help="k of the k-sigma noise curve.", rich_help_panel=_PANEL)
    ] = 3.0,
    symmetry_order: Annotated[
        int,
        typer.Option(
            help="Asymmetric units of the particle, 60 for an icosahedron: each is counted once "
            "in half-bit and k-sigma.",
            rich_help_panel=_PANEL,
        ),
    ] = 1,
    directional: Annotated[
        bool,
        typer.Option(
            "--directional",
            help="Measure the FSC by direction instead: conical FSC, occupancy, 3D FSC.",
            rich_help_panel=_DIRECTIONS,
        ),
    ] = False,
    cone: Annotated[
        float,
        typer.Option(help="Half angle of a cone in degrees.", rich_help_panel=_DIRECTIONS),
    ] = 17.0,
    wiener: Annotated[
        bool,
        typer.Option(
            "--wiener",
            help="Also write the mean of the halves with each wave weighted by its 3D FSC.",
            rich_help_panel=_DIRECTIONS,
        ),
    ] = False,
    as_json: shared.AsJson = False,
    cluster: shared.Cluster = "none",
    workers: shared.Workers = None,
    memory: shared.Memory = None,
    tile: Annotated[
        int | None,
        typer.Option(
            "--tile", help="Planes of a slab, for large volumes.", rich_help_panel="Where it runs"
        ),
    ] = None,
    resume: shared.Resume = False,
    overwrite: shared.Overwrite = False,
    dry_run: shared.DryRun = False,
    log_file: shared.LogFile = None,
    config: shared.Config = None,
    write_config: shared.WriteConfig = None,
) -> None:
    """Measure the global resolution of two half maps: the FSC, with the mask's effect removed.

    Writes the unmasked, masked, phase-randomised and corrected curves as CSV, STAR (RELION's
    names), EMDB XML, SVG and PNG, and run.json. Volumes larger than memory go slab by slab.
    """
    shared.save_config(context)
    from distres.cli.logs import start_logging
    from distres.errors import UsageError
    from distres.methods.fsc import FscParameters
    from distres.methods.fsc_run import dry_run as plan
    from distres.methods.fsc_run import run_fsc

    start_logging(log_file)
    if directional:
        _by_direction(context, half1, half2, threshold, cone, as_json, wiener=wiener)
        return
    if wiener:
        raise UsageError("--wiener weights waves by direction; give --directional too")
    chosen = FscParameters(
        thresholds=tuple(threshold or (0.143, 0.5)),
        randomise_from_angstrom=randomise_from,
        repeats=repeats,
        seed=seed,
        sigma=sigma,
        symmetry_order=symmetry_order,
    )
    options = shared.run_options(context)
    if dry_run:
        estimate = plan(half1, half2, chosen, options)
        typer.echo(json.dumps(estimate, indent=2) if as_json else _plan_text(estimate))
        return
    done = run_fsc(half1, half2, chosen, options, draw=_draw)
    summary = done.summary()
    typer.echo(json.dumps(summary, indent=2) if as_json else _text(summary))


def _by_direction(
    context: typer.Context,
    half1: str,
    half2: str | None,
    threshold: list[float] | None,
    cone: float,
    as_json: bool,
    *,
    wiener: bool,
) -> None:
    """Run the directional FSC and print what it found."""
    from distres.errors import UsageError
    from distres.methods.fsc_directional import DirectionalParameters
    from distres.methods.fsc_directional_run import compute_directional
    from distres.report.directionsplot import write_pictures

    if threshold is not None and len(threshold) > 1:
        raise UsageError("--directional takes one threshold; give --threshold once")
    done = compute_directional(
        half1,
        half2,
        DirectionalParameters(
            threshold=threshold[0] if threshold else 0.143, half_angle_degrees=cone
        ),
        shared.run_options(context),
        wiener=wiener,
        draw=lambda directory, stem, result: write_pictures(directory, stem, result, title=stem),
    )
    if as_json:
        typer.echo(json.dumps(done.summary(), indent=2))
        return
    found = done.record["statistics"]
    for name in ("finest", "coarsest"):
        end = found[name]
        value = end["resolution_angstrom"]
        text = "none" if value is None else f"{value:.2f} A"
        typer.echo(
            f"{name} direction: {text} (tilt {end['tilt_degrees']:.0f}, rotation "
            f"{end['rotation_degrees']:.0f} degrees)"
        )
    zone = found["occupancy_angstrom"]
    typer.echo(
        f"directions above the threshold: 90 % to {zone['0.9']:.2f} A, 50 % to "
        f"{zone['0.5']:.2f} A, 10 % to {zone['0.1']:.2f} A; sphericity {found['sphericity']:.3f}"
    )
    for warning in done.record["warnings"]:
        typer.echo(f"warning: {warning}", err=True)
    typer.echo(f"results in {done.directory}")


def _draw(directory: "Path", stem: str, result: "FscResult") -> "list[Path]":
    from distres.report.fscplot import write_pictures

    return write_pictures(directory, stem, result, title=stem)


def _plan_text(plan: dict[str, Any]) -> str:
    way = "in one piece" if plan["at_once"] else f"in {plan['slabs']} slabs"
    x, y, z = reversed(plan["shape"])
    return "\n".join(
        [
            f"{x} x {y} x {z} voxels, {way}",
            f"memory a worker: {plan['memory_bytes'] / 1e9:.2f} GB",
            f"disk for transforms: {plan['disk_bytes'] / 1e9:.2f} GB",
            f"time: about {max(plan['seconds'], 0.1):.1f} s",
        ]
    )


def _text(summary: dict[str, Any]) -> str:
    lines = [f"{'curve':<10} {'threshold':>10} {'resolution':>12}"]
    for found in summary["crossings"]:
        value = found["resolution_angstrom"]
        shown = found["state"] if value is None else f"{value:.2f} A"
        lines.append(f"{found['curve']:<10} {found['threshold']:>10} {shown:>12}")
    value, threshold = summary["resolution_angstrom"], summary["threshold"]
    if value is None:
        lines.append(f"no resolution at {threshold:g} from the {summary['reported_curve']} FSC")
    else:
        lines.append(
            f"resolution {value:.2f} A ({summary['reported_curve']} FSC at {threshold:g}; Nyquist "
            f"{summary['nyquist_angstrom']:.2f} A)"
        )
    lines += [f"written: {path}" for path in summary["outputs"].values()]
    return "\n".join(lines)
