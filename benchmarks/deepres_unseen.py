"""What the DeepRes benchmarks share: structures that no network has seen, and reading them.

Density is that of atoms with B = 0. Noise is given where the 99th percentile of the filtered
density within 2 angstrom of an atom is 1, and answers count at the voxels there.
"""

import argparse
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch

from distres.io.deepres_weights import load_model, load_weights
from distres.kernels.answers import average_answers
from distres.kernels.deepres import HALO_VOX, DeepResNetwork
from distres.kernels.deepres_synthesis import INSIDE, RIM, FilteredMap, Piece
from distres.methods.deepres_data import prepare, structure_files
from distres.methods.deepres_place import neighbourhood
from distres.methods.deepres_plan import SMOOTH_RESOLUTIONS
from distres.methods.deepres_recipe import read_recipe, shipped_recipe

CROP_VOX = 33


def make_parser(description: str | None) -> argparse.ArgumentParser:
    """Return a parser that knows the structures, the network and where to write."""
    parser = argparse.ArgumentParser(
        description=description, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("structures", type=Path)
    parser.add_argument("--model", choices=("A", "B"), default="A")
    parser.add_argument("--weights", type=Path, help="instead of the shipped ones")
    parser.add_argument("--folder", type=Path, default=Path("deepres_benchmark"))
    parser.add_argument(
        "--smooth", type=float, default=SMOOTH_RESOLUTIONS, help="resolutions to average over"
    )
    return parser


def parse(parser: argparse.ArgumentParser) -> argparse.Namespace:
    """Read the command line, make the folder, and keep to one thread."""
    options = parser.parse_args()
    options.folder.mkdir(parents=True, exist_ok=True)
    torch.set_num_threads(1)
    return options


def network_of(options: argparse.Namespace) -> DeepResNetwork:
    return load_weights(options.weights) if options.weights else load_model(options.model)


def held_out(options: argparse.Namespace) -> Iterator[tuple[str, bool, Piece]]:
    """Yield name, whether nucleic, and density of the held-out structures."""
    recipe = read_recipe(shipped_recipe(options.model))
    files = structure_files(options.structures)
    names = [name for name in recipe.data.held_out if name in files]
    data = replace(recipe.data, validation=tuple(names), held_out=(), most_pieces=1)
    folder = options.folder / f"pieces_{options.model}"
    voxel = recipe.network.voxel_size_angstrom
    chosen = {name: files[name] for name in names}
    for piece in prepare(chosen, data, voxel, folder):
        yield piece.structure, piece.nucleic, piece.load(folder)


@dataclass(frozen=True, slots=True, kw_only=True)
class Crop:
    """A part of a map around some answers that count.

    Attributes
    ----------
    density
        (z, y, x) float32.
    mask
        Of the answers to it, those within 3 angstrom of an atom; averages are made of them.
    inner
        Where the answers that count lie among them.
    counts
        Which of those do: within 2 angstrom of an atom.
    """

    density: np.ndarray
    mask: np.ndarray
    inner: tuple[slice, ...]
    counts: np.ndarray


def crop_of(one: FilteredMap, rng: np.random.Generator, margin: int = 0) -> Crop:
    """Take a part around a random voxel inside, and a margin of further answers."""
    edge = min(CROP_VOX, len(one.density))
    centres = np.argwhere(one.distance == INSIDE)
    start = np.clip(centres[rng.integers(len(centres))] - edge // 2, 0, len(one.density) - edge)
    wide = [(max(s - margin, 0), min(s + edge + margin, len(one.density))) for s in start]
    place = tuple(slice(*ends) for ends in wide)
    distance = one.distance[place][(slice(HALO_VOX, -HALO_VOX),) * 3]
    inner = tuple(
        slice(s - first, s - first + edge - 2 * HALO_VOX)
        for s, (first, _) in zip(start, wide, strict=True)
    )
    return Crop(
        density=one.density[place],
        mask=distance <= RIM,
        inner=inner,
        counts=distance[inner] == INSIDE,
    )


def read(network: DeepResNetwork, density: np.ndarray) -> np.ndarray:
    """Return resolutions and uncertainties, (2, z, y, x)."""
    with torch.no_grad():
        answer = network(torch.from_numpy(np.ascontiguousarray(density))[None, None])[0]
    return answer.numpy()


def averaged(
    network: DeepResNetwork,
    answer: np.ndarray,
    mask: np.ndarray,
    inner: tuple[slice, ...],
    smooth: float,
) -> np.ndarray:
    """Average answers in a mask over so many resolutions, as the command does."""
    voxel = network.config.voxel_size_angstrom
    around = neighbourhood(smooth, 1, voxel, network.config.range_angstrom)
    held = torch.from_numpy(np.where(mask, answer, np.float32(np.nan)))
    return average_answers(held, inner, around, voxel).numpy()
