"""Turn a model so that the 2-fold axes of its assembly lie along x, y and z, about the origin.

Usage: python benchmarks/upright.py STRUCTURE OUT.cif [--assembly 1]

Capsids in the PDB lie as their crystal had them; maps, and `--symmetry`, want a standard setting.
The assembly's operators are turned along, so that ``distres phantom model OUT.cif --assembly 1``
builds the particle in setting I1 or I2, which is printed.
"""

import argparse

import gemmi
import numpy as np


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("structure")
    parser.add_argument("out")
    parser.add_argument("--assembly", default="1")
    args = parser.parse_args()
    structure = gemmi.read_structure(args.structure)
    structure.setup_entities()
    assembly = next(a for a in structure.assemblies if a.name == args.assembly)
    operators = [op for part in assembly.generators for op in part.operators]
    matrices = np.array([op.transform.mat.tolist() for op in operators])
    shifts = np.array([op.transform.vec.tolist() for op in operators])
    # The centre is what all operators leave where it is.
    rows = np.concatenate([np.eye(3) - m for m in matrices])
    centre = np.linalg.lstsq(rows, shifts.ravel(), rcond=None)[0]
    first, *others = axes(matrices, 2)
    second = next(axis for axis in others if abs(axis @ first) < 1e-3)
    turn = np.array([second, np.cross(first, second), first])
    five = axes(matrices, 5) @ turn.T
    nearest = five[np.argmax(np.abs(five[:, 2]))]
    print(f"centre {centre.round(2)}, setting {'I2' if abs(nearest[0]) > 0.1 else 'I1'}")
    move = gemmi.Transform()
    move.mat.fromlist(turn.tolist())
    move.vec.fromlist((-turn @ centre).tolist())
    for model in structure:
        model.transform_pos_and_adp(move)
    for op in operators:
        op.transform = move.combine(op.transform).combine(move.inverse())
    for index in reversed(range(len(structure.assemblies))):
        if structure.assemblies[index].name != args.assembly:
            del structure.assemblies[index]
    structure.cell = gemmi.UnitCell(1, 1, 1, 90, 90, 90)
    structure.spacegroup_hm = "P 1"
    structure.ncs.clear()
    structure.make_mmcif_document().write_file(args.out)


def axes(matrices: np.ndarray, fold: int) -> np.ndarray:
    """Return the axes of all turns by 360 / fold degrees, (n, 3)."""
    trace = 1 + 2 * np.cos(2 * np.pi / fold)
    found = []
    for matrix in matrices:
        if abs(np.trace(matrix) - trace) < 1e-3:
            values, vectors = np.linalg.eig(matrix)
            found.append(np.real(vectors[:, np.argmin(np.abs(values - 1))]))
    return np.array(found)


if __name__ == "__main__":
    main()
