"""The `distres` command: commands that start fast, errors that fit in one line."""

import sys
from importlib.metadata import entry_points
from typing import Annotated

import typer

from distres import __version__
from distres.errors import DistresError

app = typer.Typer(
    name="distres",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode="rich",
    help=__doc__,
)


def _show_version(value: bool) -> None:
    if value:
        typer.echo(f"distres {__version__}")
        raise typer.Exit


@app.callback()
def _main(
    version: Annotated[
        bool, typer.Option("--version", callback=_show_version, is_eager=True, help="Show version.")
    ] = False,
) -> None:
    """Local resolution of cryo-EM maps and tomograms of any size."""


def _mount_plugins() -> None:
    for entry in entry_points(group="distres.commands"):
        app.add_typer(entry.load(), name=entry.name)


def run() -> None:
    """Run the command line; known errors end in one sentence on stderr and their exit code."""
    _mount_plugins()
    try:
        app()
    except DistresError as error:
        typer.echo(f"distres: {error}", err=True)
        sys.exit(error.exit_code)


if __name__ == "__main__":
    run()
