"""The command `distres blocres`."""

from enum import StrEnum
from typing import TYPE_CHECKING, Annotated, Any

import typer

from distres.cli import options as shared
from distres.cli.show import show_run

if TYPE_CHECKING:
    from pathlib import Path

    from distres.methods.radial import RadialResult

_PANEL = "Boxes"
_RELION = "Spheres of --compat relion"

EPILOG = (
    "Examples: [bold]distres blocres half1.mrc half2.mrc -m mask.mrc --box 25A[/bold] · "
    "[bold]distres blocres half1.mrc half2.mrc --box 20 --step 4 --compat bsoft[/bold]"
)


class Compat(StrEnum):
    """Programs whose rules can be followed."""

    bsoft = "bsoft"
    relion = "relion"


class Window(StrEnum):
    """How a box fades towards its faces."""

    hann = "hann"
    sphere = "sphere"


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command(name="blocres", context_settings=shared.COMMAND_SETTINGS, epilog=EPILOG)(blocres)


def blocres(
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
    box: Annotated[
        str | None,
        typer.Option(
            help="Edge of the box in voxels, or in angstrom with A: 21 or 25A. By default six "
            "times the global resolution. Smaller boxes read too fine, larger ones blur.",
            rich_help_panel=_PANEL,
        ),
    ] = None,
    step: Annotated[
        int | None,
        typer.Option(
            help="Voxels between boxes; what lies between is interpolated. By default a sixth of "
            "the box; 1 computes every voxel.",
            rich_help_panel=_PANEL,
        ),
    ] = None,
    window: Annotated[
        Window,
        typer.Option(
            help="Fade of a box: hann along every axis, or sphere, of the distance from its centre "
            "(up to twice as slow).",
            rich_help_panel=_PANEL,
        ),
    ] = Window.hann,
    padding: Annotated[
        float,
        typer.Option(
            help="Zeros added to the box, in boxes. It interpolates shells, and adds no detail.",
            rich_help_panel=_PANEL,
        ),
    ] = 0.5,
    false_positive: Annotated[
        float,
        typer.Option(
            help="Share of pure noise that may pass one shell: raises thresholds that are lower.",
            rich_help_panel=_PANEL,
        ),
    ] = 0.02,
    compat: Annotated[
        Compat | None,
        typer.Option(
            help="Follow another program's rules: bsoft takes its window, its even boxes, its "
            "padding and the last crossing; relion takes its soft spheres, random phases, rule "
            "and blending.",
            rich_help_panel=_PANEL,
        ),
    ] = None,
    shell: Annotated[
        float | None,
        typer.Option(
            "--shell",
            metavar="THICKNESS",
            help="Measure resolution against radius instead, in soft shells of this thickness in "
            "angstrom: for capsids.",
            rich_help_panel=_PANEL,
        ),
    ] = None,
    centre: Annotated[
        tuple[float, float, float] | None,
        typer.Option(
            metavar="X Y Z",
            help="Centre of the shells in voxels; by default the middle voxel.",
            rich_help_panel=_PANEL,
        ),
    ] = None,
    sampling: Annotated[
        float,
        typer.Option(help="Distance of spheres, in angstrom.", rich_help_panel=_RELION),
    ] = 25.0,
    mask_radius: Annotated[
        float | None,
        typer.Option(
            help="Radius of a sphere, in angstrom; by default half the sampling.",
            rich_help_panel=_RELION,
        ),
    ] = None,
    mask_edge: Annotated[
        float | None,
        typer.Option(
            help="Width of its soft edge, in angstrom; by default the sampling.",
            rich_help_panel=_RELION,
        ),
    ] = None,
    randomise_at: Annotated[
        float,
        typer.Option(
            help="Phases are random beyond this resolution, in angstrom.", rich_help_panel=_RELION
        ),
    ] = 25.0,
    draws: Annotated[
        int,
        typer.Option(
            help="Draws of random phases to average. RELION takes one, and its answer scatters.",
            rich_help_panel=_RELION,
        ),
    ] = 1,
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
    """Measure the local resolution as the FSC inside a box around every voxel.

    Boxes are windowed, with the local mean taken out, and correlated exactly; the resolution is
    the first crossing of the threshold that lasts.
    """
    shared.save_config(context)
    from distres.cli.logs import start_logging
    from distres.methods import blocres_run
    from distres.methods.blocres import BlocresParameters

    start_logging(log_file)
    options = shared.run_options(context)
    if shell is not None:
        from distres.methods.radial import RadialParameters
        from distres.methods.radial_run import compute_radial

        radial = RadialParameters(
            thickness_angstrom=shell,
            centre_vox=None if centre is None else (centre[2], centre[1], centre[0]),
            thresholds=tuple(threshold or (0.5, 0.143)),
            finest_angstrom=min(resolution_range) if resolution_range else None,
            device=device,
        )
        draw = _draw_radial if pictures else None
        done = compute_radial(half1, half2, radial, options, draw=draw)
        show_run(done, pictures=pictures, as_json=as_json)
        return
    if compat is Compat.relion:
        from distres.methods.spheres import SphereParameters
        from distres.methods.spheres_run import compute_spheres

        spheres = SphereParameters(
            sampling_angstrom=sampling,
            radius_angstrom=mask_radius,
            edge_angstrom=mask_edge,
            randomise_angstrom=randomise_at,
            draws=draws,
            threshold=_only(threshold),
            device=device,
        )
        show_run(
            compute_spheres(half1, half2, spheres, options), pictures=pictures, as_json=as_json
        )
        return
    chosen = BlocresParameters(
        thresholds=tuple(threshold or (0.5, 0.143)),
        **_box(box),
        step_vox=step,
        window=window.value,
        padding=padding,
        finest_angstrom=min(resolution_range) if resolution_range else None,
        false_positive=false_positive,
        compat=None if compat is None else compat.value,
        device=device,
    )
    done = blocres_run.compute_blocres(half1, half2, chosen, options)
    show_run(done, pictures=pictures, as_json=as_json)


def _draw_radial(directory: "Path", stem: str, result: "RadialResult") -> "list[Path]":
    from distres.report.radialplot import write_pictures

    return write_pictures(directory, stem, result, title=stem)


def _only(threshold: list[float] | None) -> float:
    """Return the one threshold that RELION's rule takes."""
    from distres.errors import UsageError

    if threshold is not None and len(threshold) > 1:
        raise UsageError("--compat relion takes one threshold; give --threshold once")
    return threshold[0] if threshold else 0.143


def _box(text: str | None) -> dict[str, Any]:
    """Read ``21`` (voxels) or ``25A`` (angstrom)."""
    from distres.errors import UsageError

    if text is None:
        return {}
    number = text.strip().rstrip("AaÅ").strip()
    try:
        if number != text.strip():
            return {"box_angstrom": float(number)}
        return {"box_vox": int(number)}
    except ValueError:
        raise UsageError(
            f"'{text}' is no size of a box; write voxels as 21 or angstrom as 25A"
        ) from None
