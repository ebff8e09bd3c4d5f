"""How every local-resolution command ends: pictures, then numbers and places."""

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

import typer

if TYPE_CHECKING:
    from distres.methods.products import MethodRun

_KINDS = {".cxc": "ChimeraX script", ".py": "napari script", ".html": "report", ".csv": "table"}


class Estimate(Protocol):
    """What a dry run found; its text is for people."""

    def as_json(self) -> dict[str, Any]:
        """Return everything as JSON values."""
        ...


def show_run(done: "MethodRun", *, pictures: bool, as_json: bool) -> None:
    """Draw a finished run if asked, and print its summary, or what a rehearsal says of it."""
    from distres.engine.rehearsal import current

    drawn = _draw(done) if pictures else []
    rehearsal = current()
    if rehearsal is not None:
        from distres.cli.estimate import forecast

        workers = max((job.workers for job in rehearsal.jobs), default=1)
        show_estimate(forecast(rehearsal, workers), as_json=as_json)
        return
    if as_json:
        summary = done.summary() | {"pictures": [str(path) for path in drawn]}
        typer.echo(json.dumps(summary, indent=2))
        return
    from distres.report.record import RunRecord
    from distres.report.summary import summary_text

    typer.echo(summary_text(RunRecord.load(done.directory)))
    for path in drawn:
        typer.echo(f"  {_KINDS.get(path.suffix, 'picture')}: {path.name}")


def show_estimate(estimate: Estimate, *, as_json: bool) -> None:
    """Print what a dry run found."""
    typer.echo(json.dumps(estimate.as_json(), indent=2) if as_json else str(estimate))


def _draw(done: "MethodRun") -> list[Path]:
    from distres.report.draw import draw_run

    inputs = done.record["inputs"]
    place = Path(inputs.get("half1", inputs.get("map", {})).get("path", ""))
    return draw_run(
        done.directory, density=done.density, density_file=place if place.is_file() else None
    )
