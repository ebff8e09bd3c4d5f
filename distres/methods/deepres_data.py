"""Densities to train DeepRes on, made once from structure files and kept on disk."""

import hashlib
import json
import logging
from collections.abc import Iterator
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import numpy as np
import numpy.typing as npt
from scipy import fft, ndimage

from distres.errors import InputError, UsageError
from distres.io.structures import Structure, read_structure
from distres.kernels.deepres_synthesis import RANGES_ANGSTROM, Piece
from distres.kernels.density import Scatterers, density_map

logger = logging.getLogger(__name__)

TRAINING, VALIDATION, HELD_OUT = "training", "validation", "held out"
_SUFFIXES = (".pdb", ".pdb.gz", ".ent", ".ent.gz", ".cif", ".cif.gz")
_NUCLEIC_ATOMS = 0.3  # of a piece: from here on it counts as nucleic acid
_FEWEST_ATOMS = 100
_EDGE_STEP_VOX = 12
_INDEX = "pieces.json"


@dataclass(frozen=True, slots=True, kw_only=True)
class DataRecipe:
    """How structures become densities.

    Parameters
    ----------
    cube_angstrom
        A piece holds the atoms of a cube of this edge around a random atom.
    margin_angstrom
        Empty room on every side.
    atoms_per_piece, most_pieces
        A structure gives one piece for so many atoms, up to a limit.
    nucleic_share
        Share of the training maps that shows nucleic acids; they are 4 % of the structures.
    validation, held_out
        Names of the structures for validation, and of those that nothing is learnt from.
    seed
        Chooses cubes and orientations.
    """

    cube_angstrom: float
    margin_angstrom: float
    atoms_per_piece: int
    most_pieces: int
    nucleic_share: float = 0.25
    validation: tuple[str, ...] = ()
    held_out: tuple[str, ...] = ()
    seed: int = 0

    def __post_init__(self) -> None:
        both = sorted(set(self.validation) & set(self.held_out))
        if both:
            raise UsageError(
                f"structures {', '.join(both)} are both for validation and held out; name each once"
            )

    def split_of(self, name: str) -> str:
        """Return what a structure is for."""
        if name in self.held_out:
            return HELD_OUT
        return VALIDATION if name in self.validation else TRAINING


@dataclass(frozen=True, slots=True, kw_only=True)
class PieceFile:
    """A density on disk."""

    file: str
    structure: str
    split: str
    nucleic: bool

    def load(self, folder: Path) -> Piece:
        """Read it."""
        with np.load(folder / self.file) as arrays:
            return Piece(density=arrays["density"], distance=arrays["distance"])


def structure_files(folder: Path) -> dict[str, Path]:
    """Find structure files in a folder, by the name before the first dot.

    Raises
    ------
    InputError
        There is no such folder, it holds none, or two have the same name.
    """
    if not folder.is_dir():
        raise InputError(f"the folder of structures {folder} does not exist")
    found: dict[str, Path] = {}
    for path in sorted(folder.iterdir()):
        if path.name.lower().endswith(_SUFFIXES):
            name = path.name.split(".")[0]
            if name in found:
                raise InputError(f"{found[name]} and {path} are both '{name}'; keep one of them")
            found[name] = path
    if not found:
        raise InputError(f"{folder} holds no structures; give a folder of PDB or mmCIF files")
    return found


def write_manifest(path: Path, files: dict[str, Path], recipe: DataRecipe) -> None:
    """Write which structures there are, their SHA-256, and what each is for."""
    lines = ["structure\tfile\tsha256\tsplit"]
    for name, file in files.items():
        digest = hashlib.sha256(file.read_bytes()).hexdigest()
        lines.append(f"{name}\t{file.name}\t{digest}\t{recipe.split_of(name)}")
    path.write_text("\n".join(lines) + "\n")


def prepare(
    files: dict[str, Path], recipe: DataRecipe, voxel_size_angstrom: float, folder: Path
) -> list[PieceFile]:
    """Make all densities for training and validation that are not there yet.

    Parameters
    ----------
    files
        Structures by name.
    recipe
        How; held-out structures are never read.
    voxel_size_angstrom
        Edge of a voxel.
    folder
        Where the densities go, one `.npz` each, and `pieces.json`.

    Returns
    -------
    list of PieceFile
    """
    folder.mkdir(parents=True, exist_ok=True)
    index = folder / _INDEX
    key = {"recipe": asdict(recipe), "voxel_size_angstrom": voxel_size_angstrom}
    if index.exists():
        stored = json.loads(index.read_text())
        # Through JSON, whose tuples are lists.
        if stored["key"] != json.loads(json.dumps(key)):
            raise InputError(
                f"{folder} holds densities of another recipe; give another output folder"
            )
        return [PieceFile(**entry) for entry in stored["pieces"]]
    pieces: list[PieceFile] = []
    names = [name for name in files if recipe.split_of(name) != HELD_OUT]
    for number, name in enumerate(names):
        pieces.extend(_pieces_of(name, files[name], recipe, voxel_size_angstrom, folder))
        if number % 20 == 19:
            logger.info("densities of %d of %d structures", number + 1, len(names))
    partial = index.with_suffix(".partial")
    partial.write_text(json.dumps({"key": key, "pieces": [asdict(p) for p in pieces]}, indent=1))
    partial.replace(index)
    return pieces


def _pieces_of(
    name: str, path: Path, recipe: DataRecipe, voxel_size_angstrom: float, folder: Path
) -> Iterator[PieceFile]:
    structure = read_structure(path)
    words = np.frombuffer(hashlib.sha256(name.encode()).digest()[:8], np.uint32)
    rng = np.random.default_rng([recipe.seed, *words.tolist()])
    count = max(1, min(recipe.most_pieces, round(len(structure.atoms) / recipe.atoms_per_piece)))
    for number in range(count):
        atoms, nucleic = _cut(structure, recipe.cube_angstrom, rng)
        if len(atoms) < _FEWEST_ATOMS:
            continue
        file = f"{name}_{number}.npz"
        if not (folder / file).exists():
            piece = make_piece(atoms, voxel_size_angstrom, recipe.margin_angstrom)
            partial = folder / f"{name}_{number}.partial.npz"
            np.savez(partial, density=piece.density, distance=piece.distance)
            partial.replace(folder / file)
        yield PieceFile(file=file, structure=name, split=recipe.split_of(name), nucleic=nucleic)


def _cut(
    structure: Structure, cube_angstrom: float, rng: np.random.Generator
) -> tuple[Scatterers, bool]:
    """Turn a structure at random and take the atoms of a cube around a random atom."""
    turned = structure.atoms.moved(random_rotation(rng), np.zeros(3))
    positions = turned.positions_angstrom
    low, high = positions.min(axis=0), positions.max(axis=0)
    centre = positions[rng.integers(len(positions))]
    # A cube that sticks out of the structure moves back in: no half-empty pieces.
    half = np.minimum(cube_angstrom, high - low) / 2
    centre = np.clip(centre, low + half, high - half)
    inside = np.all(np.abs(positions - centre) <= cube_angstrom / 2, axis=1)
    nucleic = bool(structure.nucleic[inside].mean() > _NUCLEIC_ATOMS) if inside.any() else False
    return turned.select(inside), nucleic


def random_rotation(rng: np.random.Generator) -> npt.NDArray[np.float64]:
    """Return a rotation matrix, uniform over all rotations."""
    q, r = np.linalg.qr(rng.standard_normal((3, 3)))
    q *= np.sign(np.diag(r))
    q[:, 0] *= np.linalg.det(q)
    return np.asarray(q)


def make_piece(atoms: Scatterers, voxel_size_angstrom: float, margin_angstrom: float) -> Piece:
    """Compute the density of atoms at rest (B = 0) in a cube with a margin."""
    positions = atoms.positions_angstrom
    low, high = positions.min(axis=0), positions.max(axis=0)
    least = float((high - low).max() + 2 * margin_angstrom) / voxel_size_angstrom
    edge = fft.next_fast_len(int(np.ceil(least / _EDGE_STEP_VOX)) * _EDGE_STEP_VOX, real=True)
    centre = (edge - 1) / 2 * voxel_size_angstrom
    atoms = replace(
        atoms,
        positions_angstrom=positions - (low + high) / 2 + centre,
        b_factors=np.zeros(len(atoms)),
    )
    density = density_map(atoms, (edge,) * 3, voxel_size_angstrom)
    empty = np.ones((edge,) * 3, bool)
    empty[tuple(np.rint(atoms.positions_angstrom / voxel_size_angstrom).astype(int).T)] = False
    distance = ndimage.distance_transform_edt(empty, sampling=voxel_size_angstrom)
    steps = np.digitize(distance, RANGES_ANGSTROM, right=True).astype(np.uint8)
    return Piece(density=density.astype(np.float16), distance=steps)
