"""`distres mask`: make a mask from half maps or a map."""

from typing import Annotated

import typer

from distres.cli.options import (
    COMMAND_SETTINGS,
    AsJson,
    Cluster,
    Config,
    Half2,
    LogFile,
    Memory,
    Output,
    Overwrite,
    PixelSize,
    Resume,
    Store,
    TileEdge,
    Workers,
    WriteConfig,
    run_options,
    save_config,
)

_HOW = "How it is made"

Map = Annotated[
    str,
    typer.Argument(
        metavar="MAP|HALF1",
        help="Half map 1, or a map. The other half is found by name when there is one.",
    ),
]
LowPass = Annotated[
    float | None,
    typer.Option(
        "--lowpass",
        help="Low-pass of the search in angstrom.",
        show_default="15, or 4 voxels of the level searched",
        rich_help_panel=_HOW,
    ),
]
Dilate = Annotated[
    float | None,
    typer.Option(
        help="Growth beyond the surface in angstrom.",
        show_default="2, or 1 voxel",
        rich_help_panel=_HOW,
    ),
]
Edge = Annotated[
    float | None,
    typer.Option(
        help="Width of the raised-cosine edge in angstrom.",
        show_default="5 voxels",
        rich_help_panel=_HOW,
    ),
]
FalsePositives = Annotated[
    float,
    typer.Option(
        help="Probability that noise alone passes the threshold anywhere in the box.",
        rich_help_panel=_HOW,
    ),
]
Density = Annotated[
    float,
    typer.Option(
        help="Fraction of the particle's median density where its surface is drawn.",
        rich_help_panel=_HOW,
    ),
]
SmallestPart = Annotated[
    float,
    typer.Option(
        help="Smallest separate part kept, as a fraction of the largest.", rich_help_panel=_HOW
    ),
]
FillHoles = Annotated[
    bool, typer.Option("--fill-holes", help="Include closed hollows.", rich_help_panel=_HOW)
]
Single = Annotated[
    bool,
    typer.Option("--single", help="Use the one map given even if its name leads to another half."),
]


def mask(
    context: typer.Context,
    map_or_half1: Map,
    half2: Half2 = None,
    output: Output = None,
    store: Store = None,
    pixel_size: PixelSize = None,
    single: Single = False,
    lowpass: LowPass = None,
    dilate: Dilate = None,
    edge: Edge = None,
    false_positives: FalsePositives = 0.01,
    density: Density = 0.3,
    smallest_part: SmallestPart = 0.1,
    fill_holes: FillHoles = False,
    cluster: Cluster = "none",
    workers: Workers = None,
    memory: Memory = None,
    tile: TileEdge = None,
    resume: Resume = False,
    overwrite: Overwrite = False,
    as_json: AsJson = False,
    log_file: LogFile = None,
    config: Config = None,
    write_config: WriteConfig = None,
) -> None:
    r"""Make a mask from two half maps or from one map, of any size.

    Written into a run directory with a picture, or as one file when --output ends in .mrc or
    .map.

    \b
    Examples:
      distres mask run_half1_class001_unfil.mrc
      distres mask map.mrc -o mask.mrc --dilate 6 --edge 8
    """
    save_config(context)
    from distres.cli.logs import start_logging
    from distres.methods.mask_plan import MaskParameters
    from distres.methods.mask_run import make_mask

    start_logging(log_file)
    parameters = MaskParameters(
        resolution_angstrom=lowpass,
        false_positive_level=false_positives,
        density_fraction=density,
        component_fraction=smallest_part,
        fill_holes=fill_holes,
        dilation_angstrom=dilate,
        edge_angstrom=edge,
    )
    done = make_mask(
        map_or_half1,
        half2,
        options=run_options(context),
        parameters=parameters,
        single=single,
    )
    if done.directory is not None:
        from distres.report.draw import draw_mask

        draw_mask(done.directory, density=done.density)
    statistics = done.record["statistics"]
    if as_json:
        import json

        summary = {
            "mask": str(done.path),
            "statistics": statistics,
            "parameters": done.record["parameters"],
            "warnings": done.record["warnings"],
        }
        typer.echo(json.dumps(summary, indent=2))
        return
    typer.echo(
        f"mask: {100 * statistics['fraction']:.1f} % of the box "
        f"({statistics['volume_angstrom3'] / 1000:.0f} nm^3), threshold "
        f"{statistics['threshold']:.4g}, written to {done.path}"
    )


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command(context_settings=COMMAND_SETTINGS)(mask)
