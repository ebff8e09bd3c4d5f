"""Commands under `distres tomo`."""

import typer

app = typer.Typer(no_args_is_help=True, help="Methods for half tomograms.")


@app.callback()
def _main() -> None:
    """Methods for half tomograms."""
