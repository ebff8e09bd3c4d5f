"""`distres phantom`: half maps whose true local resolution is known."""

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from distres.errors import UsageError

if TYPE_CHECKING:
    from distres.methods.phantom_files import PhantomFiles

phantom = typer.Typer(
    no_args_is_help=True, help="Make half maps whose true local resolution is known."
)

_NOISE = "Noise"

Shape = Annotated[
    str | None,
    typer.Option(metavar="N|X,Y,Z", help="Voxels: one edge for a cube, or x,y,z."),
]
VoxelSize = Annotated[float, typer.Option("--voxel-size", help="Edge of a voxel in angstrom.")]
Seed = Annotated[int, typer.Option(help="Which random numbers; the same seed, the same files.")]
OutputFolder = Annotated[Path, typer.Option("--output", "-o", help="Folder for the files.")]
Stem = Annotated[str, typer.Option(help="How the names of all files start.")]
Overwrite = Annotated[bool, typer.Option("--overwrite", help="Replace existing files.")]
AsJson = Annotated[bool, typer.Option("--json", help="Print paths and truth as JSON.")]
Thresholds = Annotated[
    list[float] | None,
    typer.Option(
        "--threshold", help="FSC threshold of a truth map; repeatable.", show_default="0.5 0.143"
    ),
]
NoiseColour = Annotated[
    tuple[float, float] | None,
    typer.Option(
        metavar="EXCESS B",
        help="Colour the noise: power 1 + EXCESS exp(-B k^2 / 2) times that of white noise.",
        rich_help_panel=_NOISE,
    ),
]


@phantom.command()
def blob(
    shape: Shape = "128",
    voxel_size: VoxelSize = 1.0,
    b_factors: Annotated[
        tuple[float, float, float, float],
        typer.Option(
            metavar="B B B B",
            help="B-factors in square angstrom of the quadrants y<0 x<0, y<0 x>0, y>0 x<0, "
            "y>0 x>0, seen from the centre.",
        ),
    ] = (40.0, 120.0, 300.0, 700.0),
    noise: Annotated[
        float, typer.Option(help="Standard deviation in each half.", rich_help_panel=_NOISE)
    ] = 0.2442,
    noise_colour: NoiseColour = None,
    threshold: Thresholds = None,
    seed: Seed = 0,
    output: OutputFolder = Path("phantom_blob"),
    stem: Stem = "blob",
    overwrite: Overwrite = False,
    as_json: AsJson = False,
) -> None:
    """Random atoms in a lumpy ball, blurred differently in four quadrants.

    Any size fits in memory: the volume is made block by block.

    Example: distres phantom blob --shape 128 -o phantom
    """
    from distres.cli.logs import start_logging
    from distres.methods.phantom import BlobParameters, write_blob

    start_logging()
    parameters = BlobParameters(
        shape=_shape(shape or "128"),
        voxel_size_angstrom=voxel_size,
        b_factors=b_factors,
        noise_sigma=noise,
        noise_colour=noise_colour,
        seed=seed,
        thresholds=_thresholds(threshold),
    )
    _report(write_blob(parameters, output, stem=stem, overwrite=overwrite), as_json)


@phantom.command()
def model(
    structure: Annotated[Path, typer.Argument(help="PDB or mmCIF file, compressed or not.")],
    assembly: Annotated[
        str | None, typer.Option(help="Biological assembly to build, by its name in the file.")
    ] = None,
    shape: Shape = None,
    voxel_size: VoxelSize = 1.0,
    padding: Annotated[
        float, typer.Option(help="Room around the atoms in angstrom, without --shape.")
    ] = 20.0,
    b_factor: Annotated[float, typer.Option(help="B of all atoms in square angstrom.")] = 60.0,
    file_b: Annotated[bool, typer.Option("--file-b", help="Keep the file's B-factors.")] = False,
    chain_b: Annotated[
        str | None,
        typer.Option(
            metavar="A=40,B=200", help="B of single chains; added to the file's with --file-b."
        ),
    ] = None,
    chain_resolution: Annotated[
        str | None,
        typer.Option(
            metavar="A=3,B=6", help="Blur chains until their true FSC is 0.5 at a resolution."
        ),
    ] = None,
    resolution: Annotated[
        float | None, typer.Option(help="Low-pass of the whole map in angstrom.")
    ] = None,
    noise: Annotated[
        float | None,
        typer.Option(
            help="Standard deviation in each half, instead of --snr.", rich_help_panel=_NOISE
        ),
    ] = None,
    snr: Annotated[
        float,
        typer.Option(
            help="Variance of the chains' density over that of the noise of a half.",
            rich_help_panel=_NOISE,
        ),
    ] = 1.0,
    noise_colour: NoiseColour = None,
    keep_waters: Annotated[bool, typer.Option("--keep-waters", help="Keep waters.")] = False,
    threshold: Thresholds = None,
    seed: Seed = 0,
    output: OutputFolder = Path("phantom_model"),
    stem: Annotated[
        str | None,
        typer.Option(help="How the names of all files start.", show_default="structure's name"),
    ] = None,
    overwrite: Overwrite = False,
    as_json: AsJson = False,
) -> None:
    """Half maps of an atomic model, with the true resolution of every chain.

    The maps lie on the structure: open both and they overlap.

    Example: distres phantom model 1f2n.cif.gz --assembly 1 --chain-resolution A=3,B=6
    """
    from distres.cli.logs import start_logging
    from distres.methods.phantom_chains import ModelParameters
    from distres.methods.phantom_model import write_model

    start_logging()
    parameters = ModelParameters(
        structure=structure,
        assembly=assembly,
        shape=None if shape is None else _shape(shape),
        voxel_size_angstrom=voxel_size,
        padding_angstrom=padding,
        b_factor=None if file_b else b_factor,
        chain_b=_by_chain(chain_b),
        chain_resolution_angstrom=_by_chain(chain_resolution),
        resolution_angstrom=resolution,
        noise_sigma=noise,
        snr=snr,
        noise_colour=noise_colour,
        keep_waters=keep_waters,
        seed=seed,
        thresholds=_thresholds(threshold),
    )
    _report(write_model(parameters, output, stem=stem, overwrite=overwrite), as_json)


@phantom.command()
def slab(
    structure: Annotated[
        Path | None, typer.Argument(help="Structure file of the particle; a blob when absent.")
    ] = None,
    assembly: Annotated[
        str | None, typer.Option(help="Biological assembly to build, by its name in the file.")
    ] = None,
    shape: Shape = "256,256,96",
    voxel_size: VoxelSize = 8.0,
    diameter: Annotated[float, typer.Option(help="Diameter of the blob in angstrom.")] = 200.0,
    b_factor: Annotated[
        float | None,
        typer.Option(help="B of the atoms.", show_default="40 square voxels"),
    ] = None,
    orientations: Annotated[int, typer.Option(help="Random orientations of the particle.")] = 16,
    ice: Annotated[float, typer.Option(help="Thickness of the slab over that of the box.")] = 0.6,
    filling: Annotated[float, typer.Option(help="Fraction of the places with a particle.")] = 0.8,
    tilt_range: Annotated[
        tuple[float, float], typer.Option(metavar="LOW HIGH", help="Tilts about y, in degrees.")
    ] = (-60.0, 60.0),
    snr: Annotated[
        float,
        typer.Option(
            help="Variance inside particles over that of the noise at the centre.",
            rich_help_panel=_NOISE,
        ),
    ] = 1.0,
    depth_gain: Annotated[
        float,
        typer.Option(
            help="Growth of the noise towards top and bottom, relative to the centre.",
            rich_help_panel=_NOISE,
        ),
    ] = 1.0,
    edge_gain: Annotated[
        float,
        typer.Option(
            help="Growth of the noise towards the sides, relative to the centre.",
            rich_help_panel=_NOISE,
        ),
    ] = 0.5,
    threshold: Thresholds = None,
    seed: Seed = 0,
    output: OutputFolder = Path("phantom_slab"),
    stem: Stem = "slab",
    overwrite: Overwrite = False,
    as_json: AsJson = False,
) -> None:
    """Even and odd tomograms: particles in ice, a missing wedge, noise that varies.

    Any size fits in memory: the volume is made a few rows at a time.

    Example: distres phantom slab --shape 512,512,160 --tilt-range -60 60 -o tomogram
    """
    from distres.cli.logs import start_logging
    from distres.methods.phantom_particle import SlabParameters
    from distres.methods.phantom_slab import write_slab

    start_logging()
    parameters = SlabParameters(
        shape=_shape(shape or "256,256,96"),
        voxel_size_angstrom=voxel_size,
        structure=structure,
        assembly=assembly,
        diameter_angstrom=diameter,
        b_factor=b_factor,
        orientations=orientations,
        ice=ice,
        filling=filling,
        depth_gain=depth_gain,
        edge_gain=edge_gain,
        tilt_range_degrees=tilt_range,
        snr=snr,
        seed=seed,
        thresholds=_thresholds(threshold),
    )
    _report(write_slab(parameters, output, stem=stem, overwrite=overwrite), as_json)


def _shape(text: str) -> tuple[int, int, int]:
    """Read ``N`` or ``X,Y,Z`` as (z, y, x)."""
    try:
        edges = [int(part) for part in text.replace("x", ",").split(",")]
    except ValueError:
        edges = []
    if len(edges) == 1:
        edges *= 3
    if len(edges) != 3 or min(edges) < 1:
        raise UsageError(f"'{text}' is no shape; write one edge (128) or three (256,256,64)")
    x, y, z = edges
    return z, y, x


def _by_chain(text: str | None) -> dict[str, float]:
    """Read ``A=40,B=200``."""
    values: dict[str, float] = {}
    for part in (text or "").split(",") if text else ():
        name, equals, value = part.strip().rpartition("=")
        try:
            values[name] = float(value)
        except ValueError:
            equals = ""
        if not equals or not name:
            raise UsageError(f"'{part}' gives no chain a value; write for instance A=40,B=200")
    return values


def _thresholds(given: list[float] | None) -> tuple[float, ...]:
    return tuple(dict.fromkeys(given)) if given else (0.5, 0.143)


def _report(files: "PhantomFiles", as_json: bool) -> None:
    """Say what was written, for people or for programs."""
    if as_json:
        paths = {role: str(path) for role, path in files.volumes.items()}
        content = {**files.truth, "files": paths, "truth": str(files.truth_path)}
        typer.echo(json.dumps(content, indent=2))
        return
    for role, path in files.volumes.items():
        typer.echo(f"{role:12s} {path}")
    typer.echo(f"{'truth':12s} {files.truth_path}")


def register(app: typer.Typer) -> None:
    """Add the commands to the application."""
    app.add_typer(phantom, name="phantom")
