"""Structure files give their atoms, in our axis order, with their assemblies."""

import gzip

import gemmi
import numpy as np
import pytest

from distres.errors import InputError, UsageError
from distres.io.structures import read_structure
from distres.kernels.density import density_map

ATOM = (
    "ATOM  {serial:5d}  {name:<3s} ALA {chain}{res:4d}    "
    "{x:8.3f}{y:8.3f}{z:8.3f}{occ:6.2f}{b:6.2f}          {element:>2s}"
)


def pdb_lines():
    """Two chains, one water, and an assembly that turns both by 90 degrees about z."""
    lines = [
        "REMARK 350",
        "REMARK 350 BIOMOLECULE: 1",
        "REMARK 350 APPLY THE FOLLOWING TO CHAINS: A, B",
    ]
    matrices = [
        ((1, 0, 0, 0), (0, 1, 0, 0), (0, 0, 1, 0)),
        ((0, -1, 0, 0), (1, 0, 0, 0), (0, 0, 1, 30)),
    ]
    for number, rows in enumerate(matrices, start=1):
        for axis, (a, b, c, t) in enumerate(rows, start=1):
            lines.append(
                f"REMARK 350   BIOMT{axis} {number:3d} {a:9.6f} {b:9.6f} {c:9.6f} {t:14.5f}"
            )
    atoms = [
        ("C", "A", 1, 1.0, 2.0, 3.0),
        ("N", "A", 1, 2.0, 2.0, 3.0),
        ("O", "B", 2, 5.0, 9.0, 7.0),
    ]
    for serial, (element, chain, res, x, y, z) in enumerate(atoms, start=1):
        lines.append(
            ATOM.format(
                serial=serial,
                name=element,
                chain=chain,
                res=res,
                x=x,
                y=y,
                z=z,
                occ=1,
                b=20 + serial,
                element=element,
            )
        )
    lines.append("HETATM    4  O   HOH W   3       0.000   0.000   0.000  1.00 10.00           O")
    lines.append("END")
    return lines


@pytest.fixture
def pdb(tmp_path):
    path = tmp_path / "tiny.pdb"
    path.write_text("\n".join(pdb_lines()) + "\n")
    return path


def test_atoms_come_in_z_y_x_order(pdb):
    structure = read_structure(pdb)
    np.testing.assert_allclose(
        structure.atoms.positions_angstrom, [[3, 2, 1], [3, 2, 2], [7, 9, 5]]
    )
    np.testing.assert_allclose(structure.atoms.b_factors, [21, 22, 23])
    assert [structure.chains[i] for i in structure.chain_of] == ["A", "A", "B"]


def test_waters_are_left_out_unless_asked_for(pdb):
    assert len(read_structure(pdb).atoms) == 3
    assert len(read_structure(pdb, keep_waters=True).atoms) == 4


def test_assembly_of_remark_350_is_built(pdb):
    structure = read_structure(pdb, assembly="1")
    np.testing.assert_array_equal(structure.copy_of, [0, 0, 0, 1, 1, 1])
    # (x, y, z) -> (-y, x, z + 30)
    np.testing.assert_allclose(
        structure.atoms.positions_angstrom[3:], [[33, 1, -2], [33, 2, -2], [37, 5, -9]]
    )


@pytest.mark.parametrize("suffix", [".cif", ".pdb.gz", ".cif.gz"])
def test_every_format_gives_the_same_atoms_and_assembly(pdb, tmp_path, suffix):
    document = gemmi.read_structure(str(pdb))
    document.setup_entities()
    document.assign_label_seq_id()
    text = pdb.read_text() if "pdb" in suffix else document.make_mmcif_document().as_string()
    path = tmp_path / f"copy{suffix}"
    path.write_bytes(gzip.compress(text.encode()) if suffix.endswith("gz") else text.encode())
    for assembly in (None, "1"):
        one, two = read_structure(pdb, assembly=assembly), read_structure(path, assembly=assembly)
        np.testing.assert_allclose(
            sorted(map(tuple, one.atoms.positions_angstrom)),
            sorted(map(tuple, two.atoms.positions_angstrom)),
            atol=1e-6,
        )


def test_unknown_assembly_is_refused_with_those_that_exist(pdb):
    with pytest.raises(UsageError, match=r"no assembly '7'; it has: 1"):
        read_structure(pdb, assembly="7")


def test_files_without_atoms_are_refused(tmp_path):
    with pytest.raises(InputError, match="does not exist"):
        read_structure(tmp_path / "absent.pdb")
    empty = tmp_path / "empty.pdb"
    empty.write_text("END\n")
    with pytest.raises(InputError, match="no atoms"):
        read_structure(empty)
    garbage = tmp_path / "garbage.cif"
    garbage.write_bytes(b"\x00\x01 not a structure")
    with pytest.raises(InputError):
        read_structure(garbage)


@pytest.mark.parametrize("name", ["1f2n.pdb.gz", "1f2n.cif.gz"])
def test_capsid_has_sixty_copies_of_three_chains_and_keeps_its_symmetry(shared, name):
    path = shared / "data" / "structures" / "raw" / name
    unit, capsid = read_structure(path), read_structure(path, assembly="1")
    assert len(capsid.atoms) == 60 * len(unit.atoms)
    assert len(set(zip(capsid.chain_of.tolist(), capsid.copy_of.tolist(), strict=True))) == 180
    centre = capsid.atoms.positions_angstrom.mean(axis=0)
    # Icosahedral symmetry leaves no preferred axis: the second moments form a sphere. File
    # operators have six decimals: 1e-5 of the radius.
    offset = capsid.atoms.positions_angstrom - centre
    moments = np.linalg.eigvalsh(np.cov(offset.T))
    assert moments[0] == pytest.approx(moments[2], rel=1e-4)
    radius = np.linalg.norm(offset, axis=1)
    np.testing.assert_allclose(
        np.sort(radius[capsid.copy_of == 0]), np.sort(radius[capsid.copy_of == 37]), atol=0.02
    )


def test_capsid_density_turns_onto_itself(shared):
    path = shared / "data" / "structures" / "raw" / "1f2n.pdb.gz"
    capsid = read_structure(path, assembly="1")
    centre = capsid.atoms.positions_angstrom.mean(axis=0)
    radius = np.linalg.norm(capsid.atoms.positions_angstrom - centre, axis=1).max()
    edge = 2 * int(np.ceil(radius / 8) + 4)
    middle = np.full(3, edge / 2 * 8.0)
    one_chain = capsid.atoms.select(capsid.chain_of == 0)
    centred = one_chain.moved(np.eye(3), middle - centre)
    turn = rotation_of_copy(capsid, 23)
    turned = one_chain.moved(turn, middle - turn @ centre)

    def smooth(k):
        # Wide enough that voxels of 8 A hold it: 1e-4 at Nyquist.
        return np.exp(-(48.0**2) * k**2)

    one = density_map(centred, (edge, edge, edge), 8.0, smooth)
    two = density_map(turned, (edge, edge, edge), 8.0, smooth)
    assert np.sqrt(np.mean((one - two) ** 2)) < 1e-3 * one.std()


def rotation_of_copy(structure, number):
    """Fit the operator that takes copy 0 to another copy (Kabsch)."""
    first, other = (structure.atoms.positions_angstrom[structure.copy_of == n] for n in (0, number))
    left, _, right = np.linalg.svd((other - other.mean(0)).T @ (first - first.mean(0)))
    return left @ np.diag([1, 1, np.linalg.det(left @ right)]) @ right
