"""The command `distres train-deepres`."""

import json
from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

EPILOG = (
    "Examples: [bold]distres train-deepres structures --model A -o deepres_a[/bold] · "
    "[bold]distres train-deepres structures --recipe mine.toml --start-from A[/bold]"
)


class Model(StrEnum):
    """Recipes that are shipped."""

    A = "A"
    B = "B"


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command(name="train-deepres", epilog=EPILOG)(train_deepres)


def train_deepres(
    structures: Annotated[
        Path, typer.Argument(metavar="STRUCTURES_DIR", help="Folder of PDB or mmCIF files.")
    ],
    model: Annotated[
        Model, typer.Option(help="Recipe that the shipped model was trained with.")
    ] = Model.A,
    recipe: Annotated[
        Path | None, typer.Option(help="TOML file of your own, instead of --model.")
    ] = None,
    output: Annotated[
        Path, typer.Option("--output", "-o", help="Folder for everything that is written.")
    ] = Path("train_deepres"),
    resume: Annotated[bool, typer.Option("--resume", help="Go on from the checkpoint.")] = False,
    start_from: Annotated[
        str | None,
        typer.Option(metavar="A|B|FILE", help="Begin with these weights, not random ones."),
    ] = None,
    overwrite: Annotated[
        bool, typer.Option("--overwrite", help="Begin again where a training lies.")
    ] = False,
    threads: Annotated[int, typer.Option(min=1, help="Processor threads.")] = 1,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Check everything, print the plan, train nothing.")
    ] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print the result as JSON.")] = False,
) -> None:
    """Train a DeepRes network on simulated maps of atomic structures.

    The weights that validated best are written as weights.safetensors, beside the checkpoint, the
    curve and the manifest of structures. distres deepres --weights takes that file.
    """
    from distres.cli.logs import start_logging
    from distres.methods.deepres_recipe import read_recipe, shipped_recipe
    from distres.methods.deepres_train import TrainOptions, plan, train
    from distres.report.trainingplot import draw_curve

    options = TrainOptions(
        structures=structures,
        recipe=read_recipe(recipe or shipped_recipe(model.value)),
        output=output,
        resume=resume,
        start_from=start_from,
        overwrite=overwrite,
        threads=threads,
    )
    if dry_run:
        typer.echo(json.dumps(plan(options), indent=2))
        return
    plan(options)
    start_logging(output / "training.log")
    weights = train(options)
    picture = draw_curve(output)
    if as_json:
        typer.echo(json.dumps({"weights": str(weights), "curve": str(picture)}))
    else:
        typer.echo(f"weights: {weights}\ncurve: {picture}")
