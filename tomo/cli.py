"""Commands under `distres tomo`."""

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from distres.cli import options as shared
from distres.cli.show import show_run
from distres.errors import UsageError

if TYPE_CHECKING:
    from distres.methods.products import MethodRun

app = typer.Typer(no_args_is_help=True, help="Methods for half tomograms.")

_PANEL = "MonoTomo"

EPILOG = (
    "Examples: [bold]distres tomo monotomo rec_TS_01_half1.mrc --tilt-range -60 60[/bold] · "
    "[bold]distres tomo monotomo reconstructions/ -o resolution --resume[/bold]"
)


@app.callback()
def _main() -> None:
    """Methods for half tomograms."""


@app.command(context_settings=shared.COMMAND_SETTINGS, epilog=EPILOG)
def monotomo(
    context: typer.Context,
    even: Annotated[
        list[str],
        typer.Argument(
            metavar="EVEN [ODD] | PLACES...",
            help="Two half tomograms, or one whose name leads to the other; or folders, STAR files "
            "or cryoCARE's JSON with many.",
        ),
    ],
    mask: Annotated[
        str | None,
        typer.Option(
            "--mask",
            "-m",
            help="Mask in [0, 1]; without one every voxel is answered.",
            rich_help_panel="Inputs",
        ),
    ] = None,
    output: shared.Output = None,
    store: shared.Store = None,
    pixel_size: shared.PixelSize = None,
    resolution_range: shared.ResolutionRange = None,
    step: shared.Step = None,
    confidence: Annotated[
        float,
        typer.Option(
            "--confidence",
            help="1 minus the share of noise voxels that may get a resolution, over all tests.",
            rich_help_panel=_PANEL,
        ),
    ] = 0.95,
    tilt_axis: Annotated[
        str, typer.Option(metavar="x|y|z", help="Tilt axis.", rich_help_panel=_PANEL)
    ] = "y",
    beam_axis: Annotated[
        str | None,
        typer.Option(
            metavar="x|y|z",
            help="Direction of the beam.",
            show_default="the thin axis, or z",
            rich_help_panel=_PANEL,
        ),
    ] = None,
    tilt_range: Annotated[
        tuple[float, float] | None,
        typer.Option(
            metavar="LOW HIGH",
            help="First and last tilt in degrees: what lies in the missing wedge is left out.",
            rich_help_panel=_PANEL,
        ),
    ] = None,
    stride: Annotated[
        int,
        typer.Option(
            metavar="1|2",
            help="Decide at every so many voxels; those in between take the answer. 1 takes twice "
            "as long.",
            rich_help_panel=_PANEL,
        ),
    ] = 2,
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
    """Measure where a tomogram's waves rise above the noise around them: MonoTomo.

    The noise is that of the difference of the halves, followed through x, y and z. Several
    tomograms are computed one after the other, with one row each in summary.csv and summary.star.
    """
    shared.save_config(context)
    from distres.cli.logs import start_logging
    from distres.methods.options import ends_of
    from tomo.batch import run_batch
    from tomo.monotomo import MonoTomoParameters, compute_monotomo
    from tomo.pairs import find_pairs

    start_logging(log_file)
    fine, coarse = ends_of(resolution_range)
    parameters = MonoTomoParameters(
        confidence=confidence,
        finest_angstrom=fine,
        coarsest_angstrom=coarse,
        step_angstrom=step,
        tilt_axis=tilt_axis,
        beam_axis=beam_axis,
        tilt_range_degrees=tilt_range,
        stride_vox=stride,
        device=device,
    )
    options = shared.run_options(context, finds_mask=False)
    if _is_one(even):
        second = even[1] if len(even) == 2 else None
        done = compute_monotomo(even[0], second, parameters, options)
        show_run(done, pictures=pictures, as_json=as_json)
        return
    if dry_run:
        raise UsageError("a dry run tries one tomogram; name one half, or the two halves of one")
    rows = run_batch(find_pairs(even), parameters, options, done=_draw if pictures else None)
    if as_json:
        typer.echo(json.dumps(rows, indent=2))
        return
    for row in rows:
        state = row["state"] if row["state"] != "done" else f"{row['median_angstrom']} A"
        typer.echo(f"{row['tomogram']}: {state}")
    typer.echo(f"written: {options.output}/summary.csv, summary.star")


def _is_one(places: list[str]) -> bool:
    """Tell whether what was given is one tomogram: a half, or its two halves."""
    lists = any(Path(p).suffix in (".star", ".json") for p in places)
    folders = any(Path(p).is_dir() and Path(p).suffix != ".zarr" for p in places)
    return len(places) <= 2 and not lists and not folders


def _draw(done: "MethodRun") -> None:
    from distres.report.draw import draw_run

    draw_run(done.directory, density=done.density)


@app.command()
def particles(
    run: Annotated[Path, typer.Argument(help="Directory of a finished run.")],
    star: Annotated[Path, typer.Argument(help="Particles with coordinates.")],
    output: Annotated[
        Path, typer.Option("--output", "-o", help="Where the table with one column more goes.")
    ] = Path("particles_resolution.star"),
    tomogram: Annotated[
        str | None, typer.Option(help="Read only particles with this rlnTomoName.")
    ] = None,
    overwrite: Annotated[bool, typer.Option(help="Replace a table that exists.")] = False,
) -> None:
    """Read the local resolution at the places of particles."""
    from tomo.particles import resolution_at_particles

    found = resolution_at_particles(run, star, output, tomogram=tomogram, overwrite=overwrite)
    typer.echo(json.dumps(found.summary() | {"output": str(output)}, indent=2))


@app.command()
def split(
    places: Annotated[
        list[str],
        typer.Argument(help="Folders of tilt images, or STAR files of tilt series (RELION 5)."),
    ],
    output: Annotated[Path, typer.Option("--output", "-o", help="Folder for the lists.")] = Path(
        "halves"
    ),
    overwrite: Annotated[bool, typer.Option(help="Replace lists that exist.")] = False,
    as_json: shared.AsJson = False,
) -> None:
    """List the images of each half tomogram: split frames where there are, or every other tilt.

    Only names are sorted; the halves are reconstructed by your own program from these lists. Halves
    from frames are the better ones: both see every tilt.
    """
    from tomo.split import split_series, write_split

    found = split_series(places)
    written = write_split(found, output, overwrite=overwrite)
    if as_json:
        rows = [{"series": s.name, "split_by": s.how, "even": s.even, "odd": s.odd} for s in found]
        typer.echo(json.dumps(rows, indent=2))
        return
    for one in found:
        typer.echo(f"{one.name}: {len(one.even)} even, {len(one.odd)} odd, by {one.how}")
    typer.echo(f"written: {written[-1]} and two lists a series")
