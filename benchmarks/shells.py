"""Resolution against radius of a capsid whose B-factors grow with radius, against the truth.

Usage: python benchmarks/shells.py 1f2n.cif.gz [--assembly 1] [--voxel 1.5] [--noise 0.15]
           [--thickness 6] [--folder DIR]

Half maps are made twice, the second time with a tenth of the noise, a hundredth of its power. With
signal S and noise N the FSC is C = S / (S + N); of the quiet halves, Q = S / (S + N / 100), so that
C = Q / (Q + 100 (1 - Q)): read there, the quiet halves tell the truth about the others.
"""

import argparse
import csv
import tempfile
from collections.abc import Sequence
from pathlib import Path

import gemmi
import numpy as np
import numpy.typing as npt
from common import distres, measure, table

from distres.io.volume import open_volume
from distres.kernels.bands import Band
from distres.kernels.radial import radial_resolution
from distres.methods.radial import RadialParameters
from distres.methods.radial_run import MOST_LEVELS

Float = npt.NDArray[np.float64]

INNER_ANGSTROM = 115.0
INNER_B, B_PER_ANGSTROM = 60.0, 12.0
THRESHOLDS = (0.5, 0.143)
QUIETER = 0.1
SHOWN_ANGSTROM = (111, 120, 129, 138, 147, 156)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("structure")
    parser.add_argument("--assembly", default="1")
    parser.add_argument("--voxel", default="1.5")
    parser.add_argument("--noise", type=float, default=0.15, help="deviation in each half")
    parser.add_argument("--thickness", default="6")
    parser.add_argument("--folder", type=Path, help="keep maps and runs here")
    args = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="distres-shells-") as place:
        folder = args.folder or Path(place)
        folder.mkdir(parents=True, exist_ok=True)
        model = folder / "model.cif"
        soften(args.structure, args.assembly, model)
        rows = []
        for kind, quieter in (("measured", 1.0), ("true", QUIETER)):
            radius, curves, bands = run(folder / kind, model, args, quieter * args.noise)
            curves = curves / (curves + (1 - curves) / quieter**2)
            nearest = [int(np.abs(radius - wanted).argmin()) for wanted in SHOWN_ANGSTROM]
            for threshold in THRESHOLDS:
                # Windows large enough for noise to play no part in either.
                found = radial_resolution(
                    curves, np.full(len(radius), 1e9), bands, threshold, significance=0.02
                )
                rows.append((f"{kind}, {threshold:g}", *(f"{v:.3g}" for v in found[nearest])))
    rows.sort(key=lambda row: row[0].endswith("0.143"))
    print(table(rows, ("radius (A)", *map(str, SHOWN_ANGSTROM))))


def soften(structure: str, assembly: str, out: Path) -> None:
    """Write the model with B-factors that grow with the distance from the assembly's centre."""
    found = gemmi.read_structure(structure)
    found.setup_entities()
    built = gemmi.make_assembly(
        next(a for a in found.assemblies if a.name == assembly),
        found[0],
        gemmi.HowToNameCopiedChain.Dup,
    )
    places = np.array([atom.pos.tolist() for chain in built for res in chain for atom in res])
    centre = gemmi.Position(*places.mean(axis=0))
    for chain in found[0]:
        for residue in chain:
            for atom in residue:
                beyond = max(atom.pos.dist(centre) - INNER_ANGSTROM, 0.0)
                atom.b_iso = INNER_B + B_PER_ANGSTROM * beyond
                atom.aniso = gemmi.SMat33f(0, 0, 0, 0, 0, 0)
    found.make_mmcif_document().write_file(str(out))


def run(
    place: Path, model: Path, args: argparse.Namespace, noise: float
) -> tuple[Float, Float, Sequence[Band]]:
    """Return radii, curves (bands, radii) and the bands of halves with some noise."""
    measure(
        distres(
            *("phantom", "model", model, "--assembly", args.assembly, "--file-b"),
            *("--voxel-size", args.voxel, "--noise", str(noise), "--stem", "capsid"),
            *("-o", place, "--overwrite"),
        )
    )
    output = place / "shells"
    measure(
        distres(
            *("blocres", place / "capsid_half1.mrc", place / "capsid_half2.mrc"),
            *("-m", place / "capsid_mask.mrc", "--shell", args.thickness),
            *("-o", output, "--overwrite", "--cluster", "none", "--no-pictures"),
        )
    )
    return read(output, place / "capsid_half1.mrc")


def read(output: Path, half1: Path) -> tuple[Float, Float, Sequence[Band]]:
    """Read what a run left."""
    with (output / "capsid_half1_radial.csv").open() as file:
        lines = list(csv.DictReader(file))
    names = [name for name in lines[0] if name.startswith("fsc_")]
    curves = np.array([[float(line[name]) for line in lines] for name in names])
    radius = np.array([float(line["radius_angstrom"]) for line in lines])
    # The thickness plays no part in what the bands are.
    parameters = RadialParameters(thickness_angstrom=1.0)
    return radius, curves, parameters.bands(open_volume(half1).grid, MOST_LEVELS)


if __name__ == "__main__":
    main()
