"""The `distres` command: commands that start fast, errors that fit in one line."""

import errno
import sys
import warnings
from importlib.metadata import entry_points
from typing import Annotated, TextIO

import typer

from distres import __version__
from distres.cli import (
    blocres,
    cluster,
    deblur,
    deepres,
    estimate,
    files,
    fsc,
    localfilter,
    localfsc,
    mask,
    monodir,
    monores,
    oversharp,
    phantom,
    resmap,
    traindeepres,
)
from distres.errors import DistresError

EXIT_UNEXPECTED = 1
EXIT_CLUSTER = 4
EXIT_INTERRUPTED = 130

app = typer.Typer(
    name="distres",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode="rich",
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
    debug: Annotated[
        bool, typer.Option("--debug", help="Show where in the code an error came from.")
    ] = False,
) -> None:
    """Local resolution of cryo-EM maps and tomograms of any size."""


for _commands in (
    localfsc,
    monores,
    monodir,
    deblur,
    blocres,
    resmap,
    deepres,
    traindeepres,
    oversharp,
    localfilter,
    fsc,
    mask,
    phantom,
    files,
    cluster,
    estimate,
):
    _commands.register(app)


def _mount_plugins() -> None:
    mounted = {group.name for group in app.registered_groups}
    for entry in entry_points(group="distres.commands"):
        if entry.name not in mounted:
            app.add_typer(entry.load(), name=entry.name)


def _show_warning(
    message: Warning | str,
    category: type[Warning],
    filename: str,
    lineno: int,
    file: TextIO | None = None,
    line: str | None = None,
) -> None:
    typer.echo(f"distres: warning: {message}", err=True)


def run() -> None:
    """Run the command line; errors end in one sentence on stderr and their exit code."""
    _mount_plugins()
    warnings.showwarning = _show_warning
    estimate.from_the_start()
    if "--debug" in sys.argv:
        app()
        return
    try:
        app()
    except DistresError as error:
        sys.exit(_say(str(error), error.exit_code))
    except KeyboardInterrupt:
        sys.exit(_say("stopped", EXIT_INTERRUPTED))
    except OSError as error:
        code = EXIT_CLUSTER if error.errno in (errno.ENOSPC, errno.EDQUOT) else EXIT_UNEXPECTED
        sys.exit(_say(str(error), code))
    except Exception as error:
        hint = "distres --debug ... shows where; please report it"
        sys.exit(_say(f"{type(error).__name__}: {error} ({hint})", EXIT_UNEXPECTED))


def _say(message: str, code: int) -> int:
    typer.echo(f"distres: {message}", err=True)
    return code


if __name__ == "__main__":
    run()
