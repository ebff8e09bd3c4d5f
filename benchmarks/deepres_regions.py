"""What DeepRes says of one map whose chains have different resolutions, pictured.

Usage: python benchmarks/deepres_regions.py STRUCTURES [--model A|B]

The four chains of haemoglobin (5NI1, held out), with white noise of 0.08.
"""

import argparse
from dataclasses import replace
from pathlib import Path

import numpy as np
from deepres_unseen import make_parser, network_of, parse, read
from matplotlib.colors import LinearSegmentedColormap
from matplotlib.figure import Figure
from scipy import fft, ndimage

from distres.io.structures import read_structure
from distres.kernels.deepres import HALO_VOX
from distres.kernels.deepres_labels import raised_cosine
from distres.kernels.deepres_synthesis import RANGES_ANGSTROM
from distres.kernels.density import density_map
from distres.kernels.fourier import radial_frequency
from distres.methods.deepres_data import make_piece, structure_files
from distres.report.colours import RAMP


def regions(options: argparse.Namespace) -> None:
    """One map of the four chains of haemoglobin, at 3, 5, 7 and 9 angstrom."""
    network = network_of(options)
    voxel = network.config.voxel_size_angstrom
    structure = read_structure(structure_files(options.structures)["5ni1"])
    whole = make_piece(structure.atoms, voxel, 16.0)
    edge = len(whole.density)
    low = structure.atoms.positions_angstrom.min(axis=0)
    high = structure.atoms.positions_angstrom.max(axis=0)
    shift = (edge - 1) / 2 * voxel - (low + high) / 2
    truth = np.full(whole.density.shape, np.nan, np.float32)
    density = np.zeros(whole.density.shape, np.float32)
    chains = np.unique(structure.chain_of)[:4]
    nearest = np.full(truth.shape, np.inf)
    for chain, resolution in zip(chains, (3.0, 5.0, 7.0, 9.0), strict=True):
        atoms = structure.atoms.select(structure.chain_of == chain).moved(np.eye(3), shift)
        part, away = chain_density(atoms, edge, voxel)
        density += filtered(part, resolution, voxel)
        closer = away < nearest
        truth[closer], nearest = resolution, np.minimum(nearest, away)
    inside = nearest <= RANGES_ANGSTROM[0]
    density /= np.percentile(density[inside], 99)
    density += np.float32(0.08) * np.random.default_rng(0).standard_normal(
        density.shape, np.float32
    )
    answer, _ = read(network, density)
    inner = (slice(HALO_VOX, edge - HALO_VOX),) * 3
    truth[~inside] = np.nan
    for resolution in (3.0, 5.0, 7.0, 9.0):
        mine = answer[truth[inner] == resolution]
        print(f"chain at {resolution:g} A: median {np.median(mine):.2f}, SD {mine.std():.2f}")
    draw_regions(density[inner], truth[inner], answer, options.folder / "regions.png")


def chain_density(atoms, edge: int, voxel: float) -> tuple[np.ndarray, np.ndarray]:
    still = replace(atoms, b_factors=np.zeros(len(atoms)))
    empty = np.ones((edge,) * 3, bool)
    empty[tuple(np.rint(atoms.positions_angstrom / voxel).astype(int).T)] = False
    return density_map(still, (edge,) * 3, voxel), ndimage.distance_transform_edt(empty) * voxel


def filtered(density: np.ndarray, resolution: float, voxel: float) -> np.ndarray:
    gain = raised_cosine(radial_frequency(density.shape, (voxel,) * 3).numpy(), resolution, voxel)
    return np.asarray(fft.irfftn(fft.rfftn(density) * gain, density.shape), np.float32)


def draw_regions(density: np.ndarray, truth: np.ndarray, answer: np.ndarray, path: Path) -> None:
    ramp = LinearSegmentedColormap.from_list("resolution", RAMP)
    figure = Figure(figsize=(9.6, 3.4), layout="constrained")
    panels = figure.subplots(1, 3)
    depth = int(np.argmax(np.isfinite(truth).sum(axis=(1, 2))))
    shown = np.where(np.isfinite(truth), answer, np.nan)
    panels[0].imshow(density[depth], cmap="gray")
    for axes, values in zip(panels[1:], (truth, shown), strict=True):
        picture = axes.imshow(values[depth], cmap=ramp, vmin=2.5, vmax=10, interpolation="nearest")
    for axes, title in zip(panels, ("map, noise 0.08", "true", "DeepRes"), strict=True):
        axes.set(title=title, xticks=[], yticks=[])
    figure.colorbar(picture, ax=panels, label="resolution (Å)", shrink=0.9)
    figure.savefig(path, dpi=160)


if __name__ == "__main__":
    regions(parse(make_parser(__doc__)))
