"""The command `distres deepres`."""

from enum import StrEnum
from typing import Annotated

import typer

from distres.cli import options as shared
from distres.cli.show import show_estimate, show_run

PANEL = "DeepRes"

EPILOG = (
    "Examples: [bold]distres deepres postprocess.mrc[/bold] · "
    "[bold]distres deepres map.mrc -m mask.mrc --model B --stride 8[/bold] · "
    "[bold]distres deepres map.mrc --weights model_w13.h5[/bold]"
)


class ModelName(StrEnum):
    """The shipped networks."""

    auto = "auto"
    A = "A"
    B = "B"


class Precision(StrEnum):
    """Number formats of convolutions."""

    auto = "auto"
    fp32 = "fp32"
    fp16 = "fp16"
    bf16 = "bf16"


# Options that commands share which run the network.
Model = Annotated[
    ModelName,
    typer.Option(
        help="A tells 2.5 to 13 A and works at 1.0 A a voxel, B 1.5 to 6 A at 0.5 A. By itself it "
        "is chosen by --resolution-range, or else B for voxels of 0.75 A and less.",
        rich_help_panel=PANEL,
    ),
]
Weights = Annotated[
    str | None,
    typer.Option(
        metavar="FILE",
        help="Other weights: .safetensors of distres train-deepres, or the paper's model_w13.h5 or "
        "model_w7.h5.",
        rich_help_panel=PANEL,
    ),
]
PrecisionOption = Annotated[
    Precision,
    typer.Option(
        help="Numbers of the convolutions: auto takes fp16 on a GPU with tensor cores, else fp32.",
        rich_help_panel=PANEL,
    ),
]


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command(name="deepres", context_settings=shared.COMMAND_SETTINGS, epilog=EPILOG)(deepres)


def deepres(
    context: typer.Context,
    density: Annotated[
        str,
        typer.Argument(
            metavar="MAP", help="One map, as it will be looked at: sharpened or not, unmasked."
        ),
    ],
    mask: shared.Mask = None,
    output: shared.Output = None,
    store: shared.Store = None,
    pixel_size: shared.PixelSize = None,
    symmetry: shared.Symmetry = "C1",
    model: Model = ModelName.auto,
    resolution_range: Annotated[
        tuple[float, float] | None,
        typer.Option(
            metavar="HIGH LOW",
            help="Resolutions expected, in angstrom, in any order; they choose the model.",
        ),
    ] = None,
    weights: Weights = None,
    stride: Annotated[
        int,
        typer.Option(
            help="Voxels from one prediction to the next, with interpolation between: previews "
            "in a fraction of the time from about 6 A on.",
            rich_help_panel=PANEL,
        ),
    ] = 1,
    smooth: Annotated[
        float,
        typer.Option(
            metavar="RESOLUTIONS",
            help="Average each answer with its neighbours in the mask under a window as wide, at "
            "half its height, as this many times the answer itself; 0 switches it off.",
            rich_help_panel=PANEL,
        ),
    ] = 2.0,
    precision: PrecisionOption = Precision.auto,
    cluster: shared.Cluster = "local",
    workers: shared.Workers = None,
    memory: shared.Memory = None,
    tile: shared.TileEdge = None,
    device: shared.Device = "auto",
    resume: shared.Resume = False,
    overwrite: shared.Overwrite = False,
    dry_run: shared.DryRun = False,
    pictures: Annotated[
        bool, typer.Option(help="Draw histogram, slices, viewer scripts and report.")
    ] = True,
    as_json: shared.AsJson = False,
    log_file: shared.LogFile = None,
    config: shared.Config = None,
    write_config: shared.WriteConfig = None,
) -> None:
    """Read the local resolution from the look of one map, with a trained network: DeepRes.

    It sees what a reader of the map sees: blur makes it worse, sharpening better, over-sharpening
    better than the data are (see distres oversharp). It is no measure of signal against noise.
    """
    shared.save_config(context)
    from distres.cli.logs import start_logging
    from distres.methods import deepres_run
    from distres.methods.deepres_plan import DeepResParameters
    from distres.methods.options import ends_of

    start_logging(log_file)
    fine, coarse = ends_of(resolution_range)
    chosen = DeepResParameters(
        model=model.value,
        weights=weights,
        finest_angstrom=fine,
        coarsest_angstrom=coarse,
        stride=stride,
        smooth=smooth,
        precision=precision.value,
        device=device,
    )
    options = shared.run_options(context)
    if dry_run:
        show_estimate(deepres_run.dry_run(density, chosen, options), as_json=as_json)
        return
    done = deepres_run.compute_deepres(density, chosen, options)
    show_run(done, pictures=pictures, as_json=as_json)
