"""Atoms of structure files (PDB, mmCIF, compressed or not), with their biological assemblies."""

from dataclasses import dataclass, replace
from pathlib import Path

import gemmi
import numpy as np
import numpy.typing as npt

from distres.errors import InputError, UsageError
from distres.kernels.density import Scatterers

_LAST_ELEMENT = 98  # the table ends at californium

# The chains an operator of an assembly applies to, and the operator.
Operator = tuple[set[str], gemmi.Transform]


@dataclass(frozen=True, slots=True, kw_only=True)
class Structure:
    """The atoms of a model that scatter.

    Attributes
    ----------
    path
        File.
    atoms
        Positions in the file's own frame, in (z, y, x) order.
    chain_of
        (n,) index into `chains`.
    copy_of
        (n,) which copy of the assembly an atom belongs to; 0 for the chain as it is in the file.
    chains
        Chain names of the file.
    nucleic
        (n,) True for atoms of RNA and DNA.
    assembly
        Name of the assembly that was built, None for the atoms as they stand.
    """

    path: Path
    atoms: Scatterers
    chain_of: npt.NDArray[np.intp]
    copy_of: npt.NDArray[np.intp]
    chains: tuple[str, ...]
    nucleic: npt.NDArray[np.bool_]
    assembly: str | None = None


def read_structure(
    path: Path | str, *, assembly: str | None = None, keep_waters: bool = False
) -> Structure:
    """Read the first model of a structure file.

    Parameters
    ----------
    path
        PDB or mmCIF file, `.gz` or not.
    assembly
        Biological assembly to build, by its name in the file (``1``, ``2``, ...).
    keep_waters
        Keep water molecules.

    Returns
    -------
    Structure
        Hydrogens and every other atom with a known electron scattering factor
        (International Tables C, table 4.3.2.2) are kept.

    Raises
    ------
    InputError
        The file cannot be read or holds no atoms.
    UsageError
        The file has no assembly of that name.
    """
    path = Path(path)
    if not path.is_file():
        raise InputError(f"the structure {path} does not exist")
    try:
        document = gemmi.read_structure(str(path))
    except (RuntimeError, ValueError, OSError) as error:
        raise InputError(f"{path} is no structure file that can be read: {error}") from error
    document.setup_entities()
    if len(document) == 0:
        raise InputError(f"{path} holds no atoms; give a PDB or mmCIF coordinate file")
    if not keep_waters:
        document.remove_waters()
    model = document[0]
    operators = _assembly(document, assembly, path) if assembly is not None else None
    return _collect(path, model, operators, assembly)


def _assembly(document: gemmi.Structure, name: str, path: Path) -> list[Operator]:
    """Return (chains, operator) pairs of an assembly."""
    found = [entry for entry in document.assemblies if entry.name == name]
    if not found:
        names = ", ".join(entry.name for entry in document.assemblies) or "none"
        raise UsageError(f"{path} has no assembly '{name}'; it has: {names}")
    pairs: list[Operator] = []
    for generator in found[0].generators:
        names_of = _chains_of(document[0], generator)
        pairs.extend((names_of, operator.transform) for operator in generator.operators)
    return pairs


def _chains_of(model: gemmi.Model, generator: gemmi.Assembly.Gen) -> set[str]:
    """Return the keys (chain, subchain) a generator applies to; mmCIF names subchains."""
    chains, subchains = set(generator.chains), set(generator.subchains)
    keys = set()
    for chain in model:
        for residue in chain:
            if chain.name in chains or residue.subchain in subchains:
                keys.add(f"{chain.name}/{residue.subchain}")
    return keys


def _collect(
    path: Path, model: gemmi.Model, operators: list[Operator] | None, assembly: str | None
) -> Structure:
    """Gather the arrays of a model, once for every operator that applies."""
    elements: dict[str, int] = {}
    factors: list[list[list[float]]] = []
    positions, kinds, b_factors, occupancies, chain_of, keys = [], [], [], [], [], []
    nucleic: list[bool] = []
    chains = tuple(dict.fromkeys(chain.name for chain in model))
    unknown: set[str] = set()
    for chain in model:
        for residue in chain:
            is_nucleic = gemmi.find_tabulated_residue(residue.name).is_nucleic_acid()
            for atom in residue:
                symbol = atom.element.name
                if atom.occ <= 0:
                    continue
                if symbol not in elements:
                    table = _form_factor(atom.element)
                    if table is None:
                        unknown.add(symbol)
                        continue
                    elements[symbol] = len(factors)
                    factors.append(table)
                positions.append((atom.pos.z, atom.pos.y, atom.pos.x))
                kinds.append(elements[symbol])
                b_factors.append(atom.b_iso)
                occupancies.append(atom.occ)
                chain_of.append(chains.index(chain.name))
                keys.append(f"{chain.name}/{residue.subchain}")
                nucleic.append(is_nucleic)
    if not positions:
        what = f" with known scattering factors ({', '.join(sorted(unknown))})" if unknown else ""
        raise InputError(f"{path} holds no atoms{what}; give a file with atomic coordinates")
    atoms = Scatterers(
        positions_angstrom=np.array(positions),
        kinds=np.array(kinds, np.intp),
        form_factors=np.array(factors),
        b_factors=np.array(b_factors),
        occupancies=np.array(occupancies),
    )
    alone = Structure(
        path=path,
        atoms=atoms,
        chain_of=np.array(chain_of, np.intp),
        copy_of=np.zeros(len(atoms), np.intp),
        chains=chains,
        nucleic=np.array(nucleic),
    )
    return alone if operators is None else _assemble(alone, keys, operators, assembly)


def _form_factor(element: gemmi.Element) -> list[list[float]] | None:
    """Return amplitudes and widths of the electron scattering factor; None when not tabulated."""
    if element.atomic_number > _LAST_ELEMENT:
        return None
    symbol = "H" if element.name == "D" else element.name
    coefficients = gemmi.Element(symbol).c4322
    values = [float(v) for v in coefficients.get_coefs()]
    half = len(values) // 2
    return [values[:half], values[half:]] if any(values[:half]) else None


def _assemble(
    alone: Structure, keys: list[str], operators: list[Operator], assembly: str | None
) -> Structure:
    """Copy atoms under the operators of an assembly."""
    names = np.array(keys)
    moved, chosen, copies = [], [], []
    count: dict[str, int] = {}
    for members, transform in operators:
        which = np.flatnonzero(np.isin(names, list(members)))
        if which.size == 0:
            continue
        # gemmi works in x, y, z: reversing rows and columns gives the operator for z, y, x.
        rotation = np.array(transform.mat.tolist())[::-1, ::-1]
        shift = np.array(transform.vec.tolist())[::-1]
        moved.append(alone.atoms.positions_angstrom[which] @ rotation.T + shift)
        chosen.append(which)
        number = max(count.get(key, 0) for key in members)
        copies.append(np.full(which.size, number, np.intp))
        count.update(dict.fromkeys(members, number + 1))
    if not chosen:
        raise InputError(
            f"assembly '{assembly}' of {alone.path} names no chain that the file holds"
        )
    which = np.concatenate(chosen)
    return replace(
        alone,
        atoms=replace(alone.atoms.select(which), positions_angstrom=np.concatenate(moved)),
        chain_of=alone.chain_of[which],
        copy_of=np.concatenate(copies),
        nucleic=alone.nucleic[which],
        assembly=assembly,
    )
