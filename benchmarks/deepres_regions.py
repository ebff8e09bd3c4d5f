"""What DeepRes says of one map whose chains have different resolutions, pictured.

Usage: python benchmarks/deepres_regions.py STRUCTURES [--model A|B]

The four chains of haemoglobin (5NI1, held out) at 3, 5, 7 and 9 angstrom, with white noise of
0.08 and 0.2: what single windows say, and what averages of several widths do, as medians and SD of
each chain, and as mean absolute errors near another chain (6 angstrom) and far from all (10).
"""

import argparse
from dataclasses import replace
from pathlib import Path

import numpy as np
from common import table
from deepres_unseen import averaged, make_parser, network_of, parse, read
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

RESOLUTIONS = (3.0, 5.0, 7.0, 9.0)
NEAR_ANGSTROM, FAR_ANGSTROM = 6.0, 10.0


def regions(options: argparse.Namespace) -> None:
    """One map of the four chains of haemoglobin, each at its own resolution."""
    network = network_of(options)
    voxel = network.config.voxel_size_angstrom
    clean, truth, nearest, second = four_chains(options.structures, voxel)
    inner = (slice(HALO_VOX, -HALO_VOX),) * 3
    truth, nearest, second = truth[inner], nearest[inner], second[inner]
    inside, within = (nearest <= reach for reach in RANGES_ANGSTROM[:2])
    white = np.random.default_rng(0).standard_normal(clean.shape, np.float32)
    rows = []
    for noise in (0.08, 0.2):
        density = clean + np.float32(noise) * white
        raw = read(network, density)
        everything = tuple(slice(0, n) for n in raw.shape[1:])
        found = {0.0: raw[0]}
        for smooth in options.widths:
            found[smooth] = averaged(network, raw, within, everything, smooth)[0]
        for smooth, values in found.items():
            cells = [chain_cells(values, truth, inside, second, r) for r in RESOLUTIONS]
            rows.append((f"{noise:g}", f"{smooth:g}", *cells))
        if noise == 0.08:
            known = np.where(inside, truth, np.nan)
            path = options.folder / "regions.png"
            draw_regions(density[inner], known, raw[0], found[options.smooth], path)
    print(table(rows, ("noise", "averaged over", *(f"{r:g} A" for r in RESOLUTIONS))))


def four_chains(structures: Path, voxel: float) -> tuple[np.ndarray, ...]:
    """Return density, true resolution, and distance to the nearest and to the second chain."""
    structure = read_structure(structure_files(structures)["5ni1"])
    edge = len(make_piece(structure.atoms, voxel, 16.0).density)
    positions = structure.atoms.positions_angstrom
    shift = (edge - 1) / 2 * voxel - (positions.min(axis=0) + positions.max(axis=0)) / 2
    density = np.zeros((edge,) * 3, np.float32)
    distances = []
    for chain, resolution in zip(np.unique(structure.chain_of)[:4], RESOLUTIONS, strict=True):
        atoms = structure.atoms.select(structure.chain_of == chain).moved(np.eye(3), shift)
        part, away = chain_density(atoms, edge, voxel)
        density += filtered(part, resolution, voxel)
        distances.append(away)
    truth = np.array(RESOLUTIONS, np.float32)[np.argmin(distances, axis=0)]
    nearest, second = np.sort(distances, axis=0)[:2]
    density /= np.percentile(density[nearest <= RANGES_ANGSTROM[0]], 99)
    return density, truth, nearest, second


def chain_cells(
    values: np.ndarray, truth: np.ndarray, inside: np.ndarray, second: np.ndarray, resolution: float
) -> str:
    mine = inside & (truth == resolution)
    near, far = (
        np.abs(values[mine & chosen] - resolution).mean()
        for chosen in (second <= NEAR_ANGSTROM, second > FAR_ANGSTROM)
    )
    return f"{np.median(values[mine]):.2f} ± {values[mine].std():.2f}, {near:.2f}, {far:.2f}"


def chain_density(atoms, edge: int, voxel: float) -> tuple[np.ndarray, np.ndarray]:
    still = replace(atoms, b_factors=np.zeros(len(atoms)))
    empty = np.ones((edge,) * 3, bool)
    empty[tuple(np.rint(atoms.positions_angstrom / voxel).astype(int).T)] = False
    return density_map(still, (edge,) * 3, voxel), ndimage.distance_transform_edt(empty) * voxel


def filtered(density: np.ndarray, resolution: float, voxel: float) -> np.ndarray:
    gain = raised_cosine(radial_frequency(density.shape, (voxel,) * 3).numpy(), resolution, voxel)
    return np.asarray(fft.irfftn(fft.rfftn(density) * gain, density.shape), np.float32)


def draw_regions(
    density: np.ndarray, truth: np.ndarray, raw: np.ndarray, answer: np.ndarray, path: Path
) -> None:
    ramp = LinearSegmentedColormap.from_list("resolution", RAMP)
    figure = Figure(figsize=(11.6, 3.2), layout="constrained")
    panels = figure.subplots(1, 4)
    depth = int(np.argmax(np.isfinite(truth).sum(axis=(1, 2))))
    raw, answer = (np.where(np.isfinite(truth), v, np.nan) for v in (raw, answer))
    panels[0].imshow(density[depth], cmap="gray")
    for axes, values in zip(panels[1:], (truth, raw, answer), strict=True):
        picture = axes.imshow(values[depth], cmap=ramp, vmin=2.5, vmax=10, interpolation="nearest")
    for axes, title in zip(
        panels, ("map, noise 0.08", "true", "single windows", "averaged"), strict=True
    ):
        axes.set(title=title, xticks=[], yticks=[])
    figure.colorbar(picture, ax=panels, label="resolution (Å)", shrink=0.9)
    figure.savefig(path, dpi=160)


if __name__ == "__main__":
    parser = make_parser(__doc__)
    parser.add_argument("--widths", type=float, nargs="+", default=(1.0, 1.25, 1.5, 2.0))
    regions(parse(parser))
